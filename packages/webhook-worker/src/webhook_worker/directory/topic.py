"""Endpoints from a compacted topic, which every process reads as a whole and goes on reading."""

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from itertools import chain
from typing import Protocol

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from app_worker.backoff import Backoff
from kafka_utils import has_reached
from webhook_worker.directory import EndpointProblem
from webhook_worker.directory.table import EndpointTable
from webhook_worker.endpoint import Endpoint

CHECK_SECONDS = 10.0
"""How often the brokers are asked whether all that there is has been read."""
POLL_MS = 1_000
MOST_RECORDS = 500
"""Taken in at a time; other work goes on in between."""
SHORT_POLL_MS = 10
"""While entries are to be checked yet."""
MOST_CHECKED = 100
"""Entries at a time; it takes some milliseconds."""
BACKOFF = Backoff(first=1.0, longest=30.0)
"""After a failure that ended the reading; longer after each that came before it was whole."""


class Reader(Protocol):
    """What is asked of a consumer of all partitions; aiokafka's is one."""

    def assignment(self) -> Collection[TopicPartition]:
        """All partitions of the topic."""
        ...

    async def position(self, partition: TopicPartition) -> int:
        """The offset that is read next."""
        ...

    async def end_offsets(self, partitions: list[TopicPartition]) -> Mapping[TopicPartition, int]:
        """The offsets after the last records. Raises KafkaError."""
        ...

    async def getmany(
        self, *, timeout_ms: int, max_records: int
    ) -> Mapping[TopicPartition, list[ConsumerRecord[bytes, bytes]]]:
        """The next records, none if there are none for so long. Raises KafkaError."""
        ...


class Told(Protocol):
    """Who is told what becomes of the topic's endpoints."""

    def holds(self, counts: Mapping[str, int], problems: Iterable[EndpointProblem]) -> None:
        """So many there are now; ``problems`` have been found since the last call."""
        ...

    def is_current(self) -> None:
        """All that the topic holds has been read."""
        ...

    def cannot_be_read(self, error: Exception) -> None:
        """What was read before stays in use, and it will be tried again."""
        ...


class TopicDirectory:
    """The endpoints of a topic; a Directory once ``caught_up`` is set.

    A reading that has failed for good begins anew, and what it reads takes the place of the old
    endpoints in one step when it has come to where the topic ended at its beginning.
    """

    def __init__(
        self, connect: Callable[[], AbstractAsyncContextManager[Reader]], told: Told
    ) -> None:
        """``connect`` gives a reader of all partitions, from their beginning."""
        self._connect = connect
        self._told = told
        self._table = EndpointTable()
        self.caught_up = asyncio.Event()

    @property
    def is_checked(self) -> bool:
        """Whether all entries that came have been checked."""
        return self._table.is_checked

    async def follow(self) -> None:
        """Read until cancelled."""
        failures = 0
        while True:
            try:
                async with self._connect() as reader:
                    self._table = await self._whole(reader)
                    self.caught_up.set()
                    failures = 0
                    await self._changes(reader)
            except (KafkaError, OSError) as error:
                self._told.cannot_be_read(error)
            failures += 1
            await asyncio.sleep(BACKOFF.seconds(failures, random.random()))

    def endpoints_for(self, customer_id: str, event_type: str) -> tuple[Endpoint, ...]:
        """See Directory."""
        return self._table.endpoints_for(customer_id, event_type)

    def broken_for(self, customer_id: str, event_type: str) -> tuple[str | None, ...]:
        """See Directory."""
        return self._table.broken_for(customer_id, event_type)

    def get(self, endpoint_id: str) -> Endpoint | None:
        """See Directory."""
        return self._table.get(endpoint_id)

    def is_broken(self, endpoint_id: str) -> bool:
        """See Directory."""
        return self._table.is_broken(endpoint_id)

    def knows_customer(self, customer_id: str) -> bool:
        """See Directory."""
        return self._table.knows_customer(customer_id)

    async def _whole(self, reader: Reader) -> EndpointTable:
        table = EndpointTable()
        ends = await reader.end_offsets(list(reader.assignment()))
        while not await has_reached(reader, ends):
            await take(table, reader, POLL_MS)
        self._told.holds(table.counts, ())
        self._told.is_current()
        return table

    async def _changes(self, reader: Reader) -> None:
        clock = asyncio.get_running_loop().time
        check_at = clock() + CHECK_SECONDS
        table = self._table
        while True:
            changed = await take(table, reader, POLL_MS if table.is_checked else SHORT_POLL_MS)
            if changed or not table.is_checked:
                problems = table.check(MOST_CHECKED)
                self._told.holds(table.counts, problems)
            if clock() >= check_at:
                await self._tell_if_current(reader)
                check_at = clock() + CHECK_SECONDS

    async def _tell_if_current(self, reader: Reader) -> None:
        try:
            ends = await reader.end_offsets(list(reader.assignment()))
            if await has_reached(reader, ends):
                self._told.is_current()
        except (KafkaError, OSError) as error:
            self._told.cannot_be_read(error)


async def take(table: EndpointTable, reader: Reader, timeout_ms: int) -> bool:
    """Take the next records into the table, if any come within the time; whether any did.

    A record without a key, which a compacted topic does not take, belongs to no endpoint.
    """
    fetched = await reader.getmany(timeout_ms=timeout_ms, max_records=MOST_RECORDS)
    for record in chain.from_iterable(fetched.values()):
        key = (record.key or b"").decode("utf-8", "replace")
        if record.value is None:
            table.delete(key)
        else:
            table.put(key, record.value)
    return bool(fetched)
