"""State of a partition of the ordered topic: one record of a key at a time, failed ones kept."""

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Iterable

from aiokafka import TopicPartition

from app_worker.arrival import Arrival
from app_worker.delays import DelaySchedule, spread
from app_worker.handler import Block, DeadLetter
from app_worker.key_queues import KeyQueues
from app_worker.lanes import LANE_BUFFER_RECORDS, Lane, Lanes
from app_worker.observability.metrics import WorkerMetrics
from app_worker.record import Record

MOST_HELD_RECORDS = 10_000
"""So many records of one partition are kept in memory at most."""

ORDERED_SPAN_RECORDS = 24_000
"""So many are delivered from the oldest open record on at most: what is done of so many a commit
can always say, whatever the pattern, so that a clean move repeats nothing."""

LONGEST_AFTER_ERROR_SECONDS = 1_800.0
"""A key whose record the handler failed on is tried again after so long at the latest."""

LONGEST_BEHIND_SECONDS = 900.0
"""So late, at most, others of a partition are for one that fills it without having failed."""

OVERFLOW = "order_overflow"
"""The reason of what was given up so that others go on."""

_log = logging.getLogger(__name__)


class OrderedLane(Lane):
    """A lane in which records of one key are started one after the other, in the log's order.

    A record that is to be tried again stays open and in memory, and its key waits. Once the lane
    has taken as much as it may, whoever keeps it full is given up: others' deliveries, which share
    the partition, never wait for a blocked key. Who only has more than can be delivered at once
    makes room by itself, and is waited for, but not for ever.
    """

    most_span = ORDERED_SPAN_RECORDS

    def __init__(
        self,
        partition: TopicPartition,
        epoch: int,
        position: int | None,
        *,
        bytes_of_all: Callable[[], int],
        count_of_all: Callable[[], int],
        now: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        """``bytes_of_all`` and ``count_of_all`` are of this lane and those beside it."""
        super().__init__(partition, epoch, position)
        self._bytes_of_all = bytes_of_all
        self._count_of_all = count_of_all
        self._queues = KeyQueues()
        self._now = now
        self._jitter = jitter
        self._clock = asyncio.get_running_loop().time
        self._shares = (math.inf, math.inf)
        """Of this lane, and of all together, in bytes."""
        self._newest_ms = 0
        """When, in unix ms, the record that came last was put in line."""

    def take(self, arrivals: Iterable[Arrival]) -> int:
        """See Lane; what is more than may be kept makes somebody give way."""
        before = super().take(arrivals)
        while self._buffered:
            arrival = self._buffered.popleft()
            self._newest_ms = max(self._newest_ms, arrival.record.queued_ms)
            self._queues.add(arrival)
        self._give_way()
        return before

    def admits(self, offset: int) -> bool:  # noqa: ARG002 - of a map too large the end is left out
        """Always: a head that is tried again is what makes the map smaller."""
        return True

    def head(self) -> Arrival | None:
        """See Lane."""
        return None if self.stopped else self._queues.head(self._clock())

    def start_head(self) -> Arrival:
        """See Lane; its bytes are kept in memory until it is complete."""
        return self._queues.start(self._clock())

    def complete(self, arrival: Arrival) -> None:
        """See Lane; the next record of its key may start."""
        super().complete(arrival)
        self.buffered_bytes -= arrival.size
        self._queues.complete(arrival)
        self._give_way()

    def block(self, arrival: Arrival, block: Block) -> None:
        """Its key is blocked: it is tried again after its delay, and those behind it wait."""
        seconds = spread(block.seconds, self._jitter())
        record = arrival.record._replace(
            attempts=block.attempts,
            postponed=block.postponed,
            not_before_ms=round((self._now() + seconds) * 1000),
        )
        due = self._clock() + seconds
        again = Arrival(record, due=due)
        self.buffered_bytes += again.size - arrival.size
        self._queues.block(again, due)
        if self.alarm:
            # It may be set for a later one.
            self.alarm.cancel()
            self.alarm = None
        self._give_way()

    def seconds_after_error(self, record: Record, schedule: DelaySchedule) -> float | None:
        """How long to wait once the handler itself has failed on it; None if it did for too long.

        That is the whole length of the schedule, as elsewhere. Attempts made here are others, and
        more: they do not count for it.
        """
        delays = [schedule.seconds(delay) for delay in schedule.delays]
        if self._now() - record.queued_ms / 1000 >= sum(delays):
            return None
        delay = delays[min(record.attempts, len(delays) - 1)]
        return min(delay, LONGEST_AFTER_ERROR_SECONDS)

    def has_room(self, share_bytes: int, now_ms: float, clock: float) -> bool:  # noqa: ARG002
        """See Lane; what is held back does not keep others from being fetched, within bounds."""
        self._shares = (share_bytes, share_bytes * self._count_of_all())
        return self.readable and self._queues.ready < LANE_BUFFER_RECORDS and not self._is_full

    def make_room(self) -> bool:
        """See Lane; what is in other lanes may have filled this one."""
        return self.readable and self._give_way()

    @property
    def buffered(self) -> int:
        """See Lane."""
        return self._queues.held - len(self.running)

    @property
    def blocked_keys(self) -> int:
        """See Lane."""
        return self._queues.blocked_keys

    @property
    def held_back(self) -> int:
        """Records of blocked keys."""
        return self._queues.held_back

    def oldest_blocked_ms(self) -> int | None:
        """When, in unix ms, that head of a blocked key was enqueued that has waited the longest."""
        return min((each.record.queued_ms for each in self._queues.blocked_heads()), default=None)

    @property
    def _is_full(self) -> bool:
        return (
            self._queues.held >= MOST_HELD_RECORDS
            or self.tracker.span >= self.most_span
            or self._has_too_many_bytes
        )

    @property
    def _has_too_many_bytes(self) -> bool:
        """Whether it has more than its share of what all may keep, and that is used up."""
        share, of_all = self._shares
        return self.buffered_bytes >= max(share, 1) and self._bytes_of_all() >= of_all

    def _give_way(self) -> bool:
        """Make room, if there is none and nothing that may start makes any.

        Return whether somebody was given up now.
        """
        queues = self._queues
        if not self._is_full or queues.ready or queues.leaving or not queues.waiting:
            return False
        name = self._who_fills_it()
        count = queues.waiting[name]
        if not count or (queues.goes_on(name) and not self._is_behind):
            return False
        detail = f"its key waited with {count} deliveries, and others of the partition for them"
        queues.give_up(
            name, lambda record: DeadLetter(record.delivery, record.attempts, OVERFLOW, detail)
        )
        _log.error(
            "what waits for its turn is given up, so that others go on",
            extra={
                "topic": self.partition.topic,
                "partition": self.partition.partition,
                "delivery": name,
                "records": count,
            },
        )
        return True

    @property
    def _is_behind(self) -> bool:
        """Whether what came last had waited too long before it could; so has what is behind it."""
        return self._now() - self._newest_ms / 1000 > LONGEST_BEHIND_SECONDS

    def _who_fills_it(self) -> str | None:
        """The name of the deliveries without which there would be room."""
        if self.tracker.span >= self.most_span:
            oldest = self.oldest
            if oldest is not None:
                return oldest.arrival.record.delivery
            heads = [each.record for each in self._queues.blocked_heads()]
            return min(heads, key=lambda each: each.offset).delivery if heads else None
        bytes_too = self._queues.held < MOST_HELD_RECORDS
        waiting = self._queues.waiting_bytes if bytes_too else self._queues.waiting
        (name, _), *_ = waiting.most_common(1)
        return name


class OrderedLanes(Lanes):
    """The ordered lanes that are alive, and what is to be seen of them."""

    def __init__(
        self,
        group: str,
        metrics: WorkerMetrics,
        *,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        super().__init__()
        self._now = now
        self._jitter = jitter
        metrics.blocked_keys.labels(group).set_function(
            lambda: sum(each.blocked_keys for each in self._ordered())
        )
        metrics.held_back_records.labels(group).set_function(
            lambda: sum(each.held_back for each in self._ordered())
        )
        metrics.ordered_span_records.labels(group).set_function(
            lambda: max((each.tracker.span for each in self._ordered()), default=0)
        )
        metrics.oldest_blocked_age.labels(group).set_function(self._oldest_age)

    def make(self, partition: TopicPartition, position: int | None) -> Lane:
        """See Lanes."""
        return OrderedLane(
            partition,
            self._epoch,
            position,
            bytes_of_all=lambda: sum(lane.buffered_bytes for lane in self),
            count_of_all=lambda: len(self),
            now=self._now,
            jitter=self._jitter,
        )

    def _ordered(self) -> Iterable[OrderedLane]:
        return (lane for lane in self if isinstance(lane, OrderedLane))

    def _oldest_age(self) -> float:
        ages = [lane.oldest_blocked_ms() for lane in self._ordered()]
        oldest = min((each for each in ages if each is not None), default=None)
        return 0.0 if oldest is None else max(0.0, self._now() - oldest / 1000)
