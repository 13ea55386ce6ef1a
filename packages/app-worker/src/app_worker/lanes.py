"""State per assigned partition: what was fetched, what runs, what may be committed."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from aiokafka import TopicPartition

from app_worker.handler import DeadLetter
from app_worker.offset_tracker import OffsetTracker
from app_worker.record import Record

LANE_BUFFER_RECORDS = 100
"""A lane asks for more records while fewer than these wait in it."""

LANE_SPAN_RECORDS = 5_000
"""A lane asks for no more while so many were delivered from its oldest open record on.

It bounds what is delivered again after a crash behind a record that takes very long.
"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A record as it came, and what becomes of it if it is no record that can be handled."""

    record: Record
    unfit: DeadLetter | None = None


class Lane:
    """One assignment of one partition. A later assignment of the same partition is another lane."""

    def __init__(self, partition: TopicPartition, epoch: int, position: int | None = None) -> None:
        self.partition = partition
        self.epoch = epoch
        self.tracker = OffsetTracker(position)
        self.committed: int | None = None
        """What this lane has committed; None if nothing yet."""
        self.running: set[asyncio.Task[None]] = set()
        self.stopped = False
        """A stopped lane takes no records and starts none."""
        self.positioning = False
        """Whether it is being found out where the partition is to be read from."""
        self.queued = False
        """Whether the lane stands in the queue of those that may start a record."""
        self.alarm: asyncio.TimerHandle | None = None
        """Goes off when the time of the head has come."""
        self.buffered_bytes = 0
        self._buffered: deque[Arrival] = deque()

    @property
    def readable(self) -> bool:
        """Whether what the consumer hands over for this partition belongs in this lane."""
        return not (self.stopped or self.positioning)

    def take(self, arrivals: Iterable[Arrival]) -> None:
        """Records came, in the order of the log; they are open from now on."""
        for arrival in arrivals:
            self.tracker.open(arrival.record.offset)
            self.buffered_bytes += arrival.record.size
            self._buffered.append(arrival)

    def head(self) -> Arrival | None:
        """The next to start, whether or not its time has come; None if nothing waits."""
        return self._buffered[0] if self._buffered else None

    def start_head(self) -> Arrival:
        """Take the head out of the buffer. Raises IndexError if nothing waits."""
        arrival = self._buffered.popleft()
        self.buffered_bytes -= arrival.record.size
        return arrival

    def has_room(self, share_bytes: int, now_ms: float) -> bool:
        """Whether more records may be fetched for it, ``share_bytes`` being its part of memory.

        While the head's time has not come nothing more is fetched: a backlog of a day stays with
        the brokers.
        """
        if not self.readable or self.tracker.span >= LANE_SPAN_RECORDS:
            return False
        head = self.head()
        if head is None:
            return True
        return (
            len(self._buffered) < LANE_BUFFER_RECORDS
            and self.buffered_bytes < share_bytes
            and not self.waits(now_ms)
        )

    def waits(self, now_ms: float) -> bool:
        """Whether there is a head whose time has not come."""
        head = self.head()
        return head is not None and head.record.not_before_ms > now_ms

    def pass_gap(self, position_of: Callable[[TopicPartition], int | None]) -> None:
        """Move on to the consumer's position if all that was delivered is complete.

        Without this the offsets behind the last record (markers of transactions, compacted records)
        would stay uncommitted. Of a stopped lane the consumer may have passed on records that were
        not taken any more, and while it is positioned its old place means nothing.
        """
        if not self.readable or self.tracker.span:
            return
        position = position_of(self.partition)
        if position is not None:
            self.tracker.advance_to(position)

    def stop(self) -> None:
        """Start nothing more. What was fetched and not started stays open, so uncommitted."""
        self.stopped = True
        self._buffered.clear()
        self.buffered_bytes = 0
        if self.alarm:
            self.alarm.cancel()


class Lanes:
    """The lanes that are alive: those of the partitions assigned now."""

    def __init__(self) -> None:
        self._lanes: dict[TopicPartition, Lane] = {}
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lanes)

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def get(self, partition: TopicPartition) -> Lane | None:
        """The lane of a partition that is assigned now."""
        return self._lanes.get(partition)

    def alive(self, lane: Lane) -> bool:
        """Whether it is the lane of its partition's present assignment."""
        return self._lanes.get(lane.partition) is lane

    def begin(self, partition: TopicPartition, position: int | None = None) -> Lane:
        """A partition was assigned. A lane of an earlier assignment is dropped."""
        self._epoch += 1
        lane = self._lanes[partition] = Lane(partition, self._epoch, position)
        return lane

    def drop(self, lanes: Collection[Lane]) -> None:
        """These are over: whatever still completes in them never enters a commit."""
        for lane in lanes:
            if self.alive(lane):
                del self._lanes[lane.partition]
