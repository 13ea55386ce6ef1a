"""Follows a compacted topic, which every process reads as a whole and goes on reading."""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from itertools import chain
from typing import Generic, Protocol, TypeVar

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from app_worker.backoff import Backoff
from kafka_utils import has_reached

CHECK_SECONDS = 10.0
"""How often the brokers are asked whether all that there is has been read."""
POLL_MS = 1_000
IDLE_POLL_MS = 5_000
"""Once all has been read: what comes ends it."""
MOST_RECORDS = 500
"""Taken in at a time; other work goes on in between."""
SHORT_POLL_MS = 10
"""While there is other work to do with the table."""
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


class Table(Protocol):
    """What the topic says, by key."""

    def put(self, key: str, value: bytes, /) -> None:
        """Take a value in place of the one with this key."""
        ...

    def delete(self, key: str, /) -> None:
        """Forget the value with this key, if there is one."""
        ...


T = TypeVar("T", bound=Table)
T_told_contra = TypeVar("T_told_contra", bound=Table, contravariant=True)


class Follower(Protocol[T_told_contra]):
    """Who is told what becomes of the table."""

    def is_whole(self, table: T_told_contra) -> None:
        """It is in use from now on: all has been read that was there when the reading began."""
        ...

    def changed(self, table: T_told_contra) -> bool:
        """Something has changed. Return whether to be called again soon, changes or not."""
        ...

    def is_current(self) -> None:
        """All that the topic holds has been read."""
        ...

    def cannot_be_read(self, error: Exception) -> None:
        """What was read before stays in use, and it will be tried again."""
        ...


class CompactedTopic(Generic[T]):
    """A table that says what the topic says; to be used once ``caught_up`` is set.

    A reading that has failed for good begins anew, and what it reads takes the place of the old
    table in one step when it has come to where the topic ended at its beginning.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[Reader]],
        new_table: Callable[[], T],
        follower: Follower[T],
    ) -> None:
        """``connect`` gives a reader of all partitions, from their beginning."""
        self._connect = connect
        self._new_table = new_table
        self._follower = follower
        self.table = new_table()
        self.caught_up = asyncio.Event()

    async def follow(self) -> None:
        """Read until cancelled."""
        failures = 0
        while True:
            try:
                async with self._connect() as reader:
                    self.table = await self._whole(reader)
                    self.caught_up.set()
                    failures = 0
                    await self._changes(reader)
            except (KafkaError, OSError) as error:
                self._follower.cannot_be_read(error)
            failures += 1
            await asyncio.sleep(BACKOFF.seconds(failures, random.random()))

    async def _whole(self, reader: Reader) -> T:
        table = self._new_table()
        ends = await reader.end_offsets(list(reader.assignment()))
        while not await has_reached(reader, ends):
            await take(table, reader, POLL_MS)
        self._follower.is_whole(table)
        self._follower.is_current()
        return table

    async def _changes(self, reader: Reader) -> None:
        clock = asyncio.get_running_loop().time
        check_at = clock() + CHECK_SECONDS
        table = self.table
        goes_on = True
        while True:
            if await take(table, reader, SHORT_POLL_MS if goes_on else IDLE_POLL_MS) or goes_on:
                goes_on = self._follower.changed(table)
            if clock() >= check_at:
                await self._tell_if_current(reader)
                check_at = clock() + CHECK_SECONDS

    async def _tell_if_current(self, reader: Reader) -> None:
        try:
            ends = await reader.end_offsets(list(reader.assignment()))
            if await has_reached(reader, ends):
                self._follower.is_current()
        except (KafkaError, OSError) as error:
            self._follower.cannot_be_read(error)


async def take(table: Table, reader: Reader, timeout_ms: int) -> bool:
    """Take the next records into the table, if any come within the time; whether any did."""
    fetched = await reader.getmany(timeout_ms=timeout_ms, max_records=MOST_RECORDS)
    for record in chain.from_iterable(fetched.values()):
        enter(table, record)
    return bool(fetched)


def enter(table: Table, record: ConsumerRecord[bytes, bytes]) -> None:
    """Take a record into the table.

    One without a key, which a compacted topic does not take, belongs to nothing.
    """
    key = (record.key or b"").decode("utf-8", "replace")
    if record.value is None:
        table.delete(key)
    else:
        table.put(key, record.value)
