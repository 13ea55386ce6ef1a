"""A consumer with logs in memory and rebalances on command."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from aiokafka import ConsumerRecord, OffsetAndMetadata, TopicPartition
from aiokafka.errors import (
    ConsumerStoppedError,
    IllegalStateError,
    KafkaTimeoutError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

Message = ConsumerRecord[bytes, bytes]


def message(partition: TopicPartition, offset: int, value: bytes = b"v", **more: Any) -> Message:
    return ConsumerRecord(
        topic=partition.topic,
        partition=partition.partition,
        offset=offset,
        timestamp=more.get("timestamp", 0),
        timestamp_type=0,
        key=more.get("key", b"k"),
        value=value,
        checksum=None,
        serialized_key_size=1,
        serialized_value_size=len(value),
        headers=more.get("headers", ()),
    )


class ScriptedConsumer:
    """Behaves as the group's consumer does, with logs in memory and rebalances on command."""

    def __init__(self) -> None:
        self.logs: dict[TopicPartition, list[Message]] = {}
        self.log_starts: dict[TopicPartition, int] = {}
        self.ends: dict[TopicPartition, int] = {}
        self.group: dict[TopicPartition, int] = {}
        self.metadata: dict[TopicPartition, str] = {}
        """Of what the group has committed, where there is some."""
        self.started: dict[TopicPartition, OffsetAndMetadata] = {}
        self.positions: dict[TopicPartition, int | None] = {}
        self.commits: list[dict[TopicPartition, int]] = []
        self.refuse_commit: Callable[[], Awaitable[None]] | None = None
        self.unanswered = False
        """Whether commits are stored, and no answer comes."""
        self.asked_to_commit: dict[TopicPartition, tuple[int, str]] = {}
        """By the last commit, refused or not."""
        self.errors: list[Exception] = []
        self.lose_with_error: Exception | None = None
        self.lookup_errors: list[Exception] = []
        self.leaderless: set[TopicPartition] = set()
        self.questions: list[list[TopicPartition]] = []
        self.question_errors: list[Exception] = []
        self.unreadable: dict[tuple[TopicPartition, int], Exception] = {}
        self.polls: list[tuple[TopicPartition, ...]] = []
        self.delivered: list[tuple[TopicPartition, int]] = []
        self.fetching: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.relief_seconds: float | None = 0.001
        """How long after it asked to be relieved it is; None: never."""
        self.relief_error: Exception | None = None
        self.hold_stop: asyncio.Event | None = None
        self.stop_error: Exception | None = None
        self.happened: list[tuple[str, float]] = []
        """What became of the membership, and when."""
        self.partitions: dict[str, set[int]] = {}
        """What the metadata says of topics."""
        self.closed = False
        self._committing = False
        self._silent: set[TopicPartition] = set()
        """Assigned, but nothing of these is handed over (yet or any more)."""
        self._changed = asyncio.Event()
        self._one_revoke = asyncio.Lock()
        self._revoking: set[TopicPartition] = set()
        self._relief: asyncio.Task[None] | None = None
        self._listener: Any = None

    # What a test does.

    def share_with(self, other: "ScriptedConsumer") -> None:
        """Be of the same group, and read the same logs."""
        self.logs, self.log_starts, self.ends = other.logs, other.log_starts, other.ends
        self.group, self.metadata = other.group, other.metadata
        self._changed = other._changed

    def wake(self) -> None:
        """Whoever waits for records looks again: something was put into a field of this."""
        self._changed.set()

    def append(self, partition: TopicPartition, *offsets: int, **more: Any) -> None:
        self.put(partition, *(message(partition, offset, **more) for offset in offsets))

    def put(self, partition: TopicPartition, *messages: Message) -> None:
        self.logs.setdefault(partition, []).extend(messages)
        self.ends[partition] = messages[-1].offset + 1
        self._changed.set()

    async def assign(self, *partitions: TopicPartition) -> None:
        """A plan adds these; those that are held already go on."""
        self.positions |= {partition: self.group.get(partition) for partition in partitions}
        self.started |= {
            here: OffsetAndMetadata(self.group[here], self.metadata.get(here, ""))
            for here in partitions
            if here in self.group
        }
        self._silent |= set(partitions)
        await self._listener.on_partitions_assigned(set(partitions))
        self._silent -= set(partitions)
        self._changed.set()

    async def revoke(self, *partitions: TopicPartition) -> None:
        """A plan takes these away; all, if none are named."""
        async with self._one_revoke:
            taken = set(partitions or self.positions) & self.positions.keys()
            if not taken:
                return
            self._silent |= taken
            self._revoking = taken
            await self._listener.on_partitions_revoked(set(taken))
            self._forget(self._revoking)
            self._revoking = set()

    def take_back(self, *partitions: TopicPartition) -> set[TopicPartition]:
        """A newer plan leaves these here, which are being revoked; return those that go on."""
        kept = set(self._listener.on_partitions_kept(set(partitions)))
        self._revoking -= kept
        self._silent -= kept
        self._changed.set()
        return kept

    async def lose(self, *partitions: TopicPartition) -> None:
        """Others have these already."""
        self._forget(partitions)
        await self._listener.on_partitions_lost(set(partitions))

    async def rebalance(self, *partitions: TopicPartition) -> None:
        """As with an eager assignor: everything is given back first."""
        await self.revoke()
        await self.assign(*partitions)

    def when(self, what: str) -> float:
        return dict(self.happened)[what]

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self.positions.pop(partition, None)
            self.started.pop(partition, None)
            self._silent.discard(partition)

    def _note(self, what: str) -> None:
        self.happened.append((what, asyncio.get_running_loop().time()))

    async def _relieve(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._note("relieved")
        await self.revoke()

    # What the controller uses.

    def subscribe(self, topics: Sequence[str], listener: Any) -> None:
        assert topics
        self._topics = frozenset(topics)
        self._listener = listener

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return self.partitions.get(topic)

    def subscription(self) -> frozenset[str]:
        return self._topics

    async def relinquish(self) -> None:
        self._note("asked")
        if self.relief_error:
            raise self.relief_error
        if self.positions:
            if self.relief_seconds is None:
                await asyncio.Event().wait()
                raise AssertionError
            # The plan comes, and its revoke goes on, also for one that has ceased to wait for it.
            self._relief = asyncio.create_task(self._relieve(self.relief_seconds))
            await asyncio.shield(self._relief)
        self._note("left")

    async def stop(self) -> None:
        self.closed = True
        self._note("stopped")
        await self.revoke()
        if self.hold_stop:
            await self.hold_stop.wait()
        if self.stop_error:
            raise self.stop_error

    def assignment(self) -> set[TopicPartition]:
        return set(self.positions)

    def highwater(self, partition: TopicPartition) -> int | None:
        return self.ends.get(partition)

    async def position(self, partition: TopicPartition) -> int:
        if partition not in self.positions:
            raise IllegalStateError(partition)
        position = self.positions[partition]
        if position is None:
            await asyncio.Event().wait()
            raise AssertionError
        return position

    async def committed_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int | None]:
        self.questions.append(list(partitions))
        await asyncio.sleep(0.01)
        if self.question_errors:
            raise self.question_errors.pop(0)
        return {partition: self.group.get(partition) for partition in partitions}

    async def beginning_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        await asyncio.sleep(0.01)
        if self.lookup_errors:
            raise self.lookup_errors.pop(0)
        if not self.leaderless.isdisjoint(partitions):
            await asyncio.sleep(30)
            raise KafkaTimeoutError
        return {partition: self.log_starts.get(partition, 0) for partition in partitions}

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        await asyncio.sleep(0.01)
        return {partition: self.ends.get(partition, 0) for partition in partitions}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        if partition not in self.positions:
            raise IllegalStateError(partition)
        self.positions[partition] = offset
        self._changed.set()

    async def committed_now(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        await asyncio.sleep(0.01)
        if self.question_errors:
            raise self.question_errors.pop(0)
        return {
            here: OffsetAndMetadata(self.group[here], self.metadata.get(here, ""))
            for here in partitions
            if here in self.group
        }

    def committed_at_start(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        return self.started.get(partition)

    async def commit(self, offsets: dict[TopicPartition, tuple[int, str]]) -> None:
        for partition in offsets:
            if partition not in self.positions:
                raise IllegalStateError(f"Partition {partition} is not assigned")
        self.asked_to_commit = offsets
        assert not self._committing, "one commit at a time"
        self._committing = True
        try:
            await asyncio.sleep(0.005)
            if self.refuse_commit:
                await self.refuse_commit()
            if self.unanswered:
                self._store(offsets)
                await asyncio.Event().wait()
        finally:
            self._committing = False
        self._store(offsets)

    def _store(self, offsets: dict[TopicPartition, tuple[int, str]]) -> None:
        committed = {partition: offset for partition, (offset, _) in offsets.items()}
        self.commits.append(committed)
        self.group.update(committed)
        self.metadata.update({partition: said for partition, (_, said) in offsets.items()})

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Message]]:
        self.polls.append(partitions)
        if self.closed:
            raise ConsumerStoppedError
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_ms / 1000
        while True:
            if self.errors:
                raise self.errors.pop(0)
            self._changed.clear()
            taken = self._take(partitions, max_records)
            if self.lose_with_error and taken:
                error, self.lose_with_error = self.lose_with_error, None
                raise error
            if taken or not timeout_ms:
                return taken
            try:
                async with asyncio.timeout_at(until):
                    await self._changed.wait()
            except TimeoutError:
                return {}

    def _take(
        self, partitions: Sequence[TopicPartition], most: int
    ) -> dict[TopicPartition, list[Message]]:
        taken: dict[TopicPartition, list[Message]] = {}
        for partition in partitions:
            if partition not in self.positions or partition in self._silent:
                continue
            position = self.positions[partition]
            start, end = self.log_starts.get(partition, 0), self.ends.get(partition, 0)
            if position is None or not start <= position <= end:
                if taken:
                    break  # It is told of when nothing would be lost by that.
                if position is None:
                    raise NoOffsetForPartitionError(partition)
                raise OffsetOutOfRangeError({partition: position})
            log = [one for one in self.logs.get(partition, ()) if one.offset >= position][:most]
            for one in log:
                if error := self.unreadable.get((partition, one.offset)):
                    raise error
            most -= len(log)
            self.positions[partition] = log[-1].offset + 1 if log else end
            if log:
                taken[partition] = log
                self.delivered += [(partition, one.offset) for one in log]
            if not most:
                break
        return taken
