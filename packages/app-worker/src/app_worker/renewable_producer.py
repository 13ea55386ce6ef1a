"""A producer that is replaced when it has become useless."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder

from app_worker.clients import Client, stop_client

_PARTITIONER = DefaultPartitioner()
"""The one that aiokafka's producer has; without a key it takes any partition."""

_log = logging.getLogger(__name__)

Headers = Sequence[tuple[str, bytes | None]]


class Producer(Client, Protocol):
    """The part of aiokafka's producer that is used here."""

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        *,
        headers: Headers | None = None,
    ) -> asyncio.Future[Any]:
        """Hand a record over; the future is done when the brokers have acknowledged it."""

    async def partitions_for(self, topic: str) -> set[int]:
        """The partitions of a topic."""

    def create_batch(self) -> BatchBuilder:
        """A batch to be filled and handed over."""

    async def send_batch(
        self, batch: BatchBuilder, topic: str, *, partition: int
    ) -> asyncio.Future[Any]:
        """Hand a batch over; the future is done when the brokers have acknowledged it."""


class RenewableProducer:
    """Sends through one idempotent producer, and through a new one once that one has failed.

    aiokafka counts a batch's sequence number when it takes the batch up, also if the batch fails
    afterwards (refused as too large, expired without a leader). From then on the brokers find a gap
    in front of every batch for that partition, and refuse them all.
    """

    def __init__(self, create: Callable[[], Producer]) -> None:
        self._create = create
        self._producer: Producer | None = None
        self._renewing = asyncio.Lock()
        self._retired: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect. Raises KafkaError if no broker can be reached."""
        await self._current()

    async def stop(self) -> None:
        """Send what was handed over, as far as the brokers take it, and close all connections."""
        if self._producer:
            self._retire(self._producer)
        if self._retired:
            await asyncio.wait(self._retired)

    async def send_and_wait(
        self, topic: str, *, value: bytes | None, key: bytes | None, headers: Headers
    ) -> None:
        """Return when the brokers have acknowledged the record. Raises KafkaError.

        An error does not always mean that the record was not stored.
        """
        await self._through(lambda one: one.send(topic, value, key, headers=headers))

    async def send_alone(
        self, topic: str, *, value: bytes | None, key: bytes | None, headers: Headers
    ) -> None:
        """The same in a request of its own: no other record is to blame.

        It goes where all records of its key go, which may stand in an order there.
        """

        async def send(producer: Producer) -> asyncio.Future[Any]:
            partitions = sorted(await producer.partitions_for(topic))
            partition = _PARTITIONER(key, partitions, partitions)
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None, headers=headers)
            batch.close()
            return await producer.send_batch(batch, topic, partition=partition)

        await self._through(send)

    async def partitions_for(self, topic: str) -> set[int]:
        """The partitions of a topic. Raises KafkaError, after the producer's request timeout, if
        there is none."""
        return await (await self._current()).partitions_for(topic)

    async def send_to(self, topic: str, partition: int, value: bytes) -> int:
        """Store a record in this partition, which must exist; return its offset.

        Raises KafkaError as ``send_and_wait`` does.
        """
        stored = await self._through(lambda one: one.send(topic, value, partition=partition))
        offset: int = stored.offset
        return offset

    def renew(self) -> None:
        """Send what comes next through a new one: this one has been silent for too long."""
        if self._producer:
            self._retire(self._producer)

    async def _through(self, send: Callable[[Producer], Awaitable[asyncio.Future[Any]]]) -> Any:
        producer = await self._current()
        try:
            acknowledged = await send(producer)
        except KafkaError as error:
            if not (
                error.retriable or isinstance(error, MessageSizeTooLargeError | KafkaTimeoutError)
            ):
                self._retire(producer)
            raise
        try:
            return await acknowledged
        except KafkaError:
            self._retire(producer)
            raise

    async def _current(self) -> Producer:
        if self._producer:
            return self._producer
        async with self._renewing:
            if self._producer is None:
                producer = self._create()
                try:
                    await producer.start()
                except BaseException:
                    await stop_client(producer)
                    raise
                self._producer = producer
            return self._producer

    def _retire(self, producer: Producer) -> None:
        if producer is not self._producer:
            return
        self._producer = None
        stopping = asyncio.create_task(self._finish(producer))
        self._retired.add(stopping)
        stopping.add_done_callback(self._retired.discard)

    async def _finish(self, producer: Producer) -> None:
        # What it has for other partitions it still sends, however long that takes.
        try:
            await producer.stop()
        except (KafkaError, OSError) as error:
            _log.warning("a producer was not closed in order", extra={"error": str(error)})
