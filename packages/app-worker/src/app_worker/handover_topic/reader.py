"""Reads words from places on, in no group, and only while somebody waits for them."""

import asyncio
import logging
import random
from collections.abc import (
    Callable,
    Collection,
    Container,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from typing import Protocol

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from app_worker.backoff import Backoff
from app_worker.clients import Client, stop_client
from app_worker.handover.needs import Deliver
from app_worker.handover.words import UnusableWordError, Word, read_word
from app_worker.observability.metrics import WorkerMetrics

POLL_MS = 100
"""How soon a place that is new is read from."""
LINGER_SECONDS = 30.0
"""How long connections are kept that nobody reads from: in a rolling restart holds come again."""
ENDS_SECONDS = 5.0
BACKOFF = Backoff(first=0.2, longest=5.0)

_log = logging.getLogger(__name__)


class Consumer(Client, Protocol):
    """What is asked of a consumer; aiokafka's is one."""

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Read these, and no others."""

    def unsubscribe(self) -> None:
        """Read nothing."""

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from here."""

    async def position(self, partition: TopicPartition) -> int:
        """The offset that is read next; waits while that is being found out."""
        ...

    async def end_offsets(self, partitions: list[TopicPartition]) -> Mapping[TopicPartition, int]:
        """The offsets after the last records. Raises KafkaError."""
        ...

    async def getmany(
        self, *, timeout_ms: int
    ) -> Mapping[TopicPartition, list[ConsumerRecord[bytes, bytes]]]:
        """The next records, none if there are none for so long. Raises KafkaError."""
        ...


class WordReader:
    """Reads the words of one hand-over topic."""

    def __init__(
        self,
        topic: str,
        create: Callable[[], Consumer],
        deliver: Deliver,
        metrics: WorkerMetrics,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """``create`` makes a consumer in no group, which resets to the beginning."""
        self._topic = topic
        self._create = create
        self._deliver = deliver
        self._failed = metrics.word_failures.labels("read")
        self._unusable = metrics.unusable_words
        self._jitter = jitter
        self._next: dict[int, int] = {}
        """The offset of the next word, of each partition that is read."""
        self._silent: set[int] = set()
        """Those of which nothing was told since they were placed."""
        self._moved = asyncio.Event()
        """That has changed, and the consumer was not told yet."""
        self._consumer: Consumer | None = None
        self._connected = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._failures = 0
        """In a row."""

    def read_from(self, places: Mapping[int, int]) -> None:
        """Read from these places on too; go back where it was read further."""
        for partition, offset in places.items():
            if offset < self._next.get(partition, offset + 1):
                self._next[partition] = offset
                self._moved.set()
        if self._next and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._read())

    def rest(self) -> None:
        """Deliver nothing from now on."""
        self._next.clear()
        self._moved.set()

    async def ends(self, partitions: Collection[int]) -> Mapping[int, int]:
        """Ask where the words of these end. Raises KafkaError or OSError."""
        wanted = [TopicPartition(self._topic, partition) for partition in partitions]
        async with asyncio.timeout(ENDS_SECONDS):
            while self._consumer is None:
                await self._connected.wait()
            found = await self._consumer.end_offsets(wanted)
        return {here.partition: end for here, end in found.items()}

    async def close(self) -> None:
        """Stop reading, and close every connection."""
        self.rest()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _read(self) -> None:
        while self._next:
            consumer = self._create()
            failed: Exception | None = None
            try:
                await consumer.start()
                self._consumer = consumer
                self._connected.set()
                await self._follow(consumer)
            except (KafkaError, OSError) as error:
                failed = error
            finally:
                self._consumer = None
                self._connected.clear()
                await stop_client(consumer)
            if failed is not None:
                await self._pause(failed)

    async def _pause(self, error: Exception) -> None:
        self._failed.inc()
        self._failures += 1
        seconds = BACKOFF.seconds(self._failures, self._jitter())
        detail = {"topic": self._topic, "error": str(error) or type(error).__name__}
        _log.warning("words cannot be read; next try in %.1f s", seconds, extra=detail)
        await asyncio.sleep(seconds)

    async def _follow(self, consumer: Consumer) -> None:
        """Deliver words until nobody has waited for any for a while."""
        self._moved.set()
        while True:
            if not self._next:
                consumer.unsubscribe()
                if not await self._moves():
                    return
            if self._moved.is_set():
                self._moved.clear()
                self._place(consumer)
                continue
            fetched = await consumer.getmany(timeout_ms=POLL_MS)
            for here, records in fetched.items():
                # It is asked for each: what is told of one may end the wait for another.
                if not self._moved.is_set():
                    self._deliver_on(here.partition, records[-1].offset + 1, records)
            await self._tell_positions(consumer, fetched)
            self._failures = 0

    async def _moves(self) -> bool:
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                self._moved.clear()
                await self._moved.wait()
        except TimeoutError:
            return bool(self._next)
        return True

    def _place(self, consumer: Consumer) -> None:
        if not self._next:
            return
        self._silent = set(self._next)
        consumer.assign([TopicPartition(self._topic, partition) for partition in self._next])
        for partition, offset in self._next.items():
            consumer.seek(TopicPartition(self._topic, partition), offset)

    async def _tell_positions(self, consumer: Consumer, fetched: Container[TopicPartition]) -> None:
        """A place that was none of the log has become another one, whether words stand there or
        not."""
        for partition in list(self._next):
            here = TopicPartition(self._topic, partition)
            if here in fetched:
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_MS / 1000):
                    position = await consumer.position(here)
                if self._moved.is_set():
                    return
                if position != self._next[partition] or partition in self._silent:
                    self._deliver_on(partition, position, ())

    def _deliver_on(
        self, partition: int, position: int, records: Sequence[ConsumerRecord[bytes, bytes]]
    ) -> None:
        self._next[partition] = position
        self._silent.discard(partition)
        self._deliver(partition, list(self._words(records)), position)

    def _words(self, records: Iterable[ConsumerRecord[bytes, bytes]]) -> Iterator[Word]:
        for record in records:
            try:
                yield read_word(record.value)
            except UnusableWordError as error:
                self._unusable.labels(error.reason).inc()
