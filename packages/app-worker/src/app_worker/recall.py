"""Reads from a commit's metadata what was complete when an assignment began."""

import logging
from collections.abc import Callable
from typing import Protocol

from aiokafka import OffsetAndMetadata, TopicPartition

from app_worker.handover import Inherited
from app_worker.held_records import HeldRecords
from app_worker.lanes import Lane
from app_worker.observability.metrics import WorkerMetrics
from app_worker.offset_map import OffsetMap, Scope, UnusableMapError, decode

_log = logging.getLogger(__name__)


class Remembering(Protocol):
    """The part of a consumer that knows what the group had committed."""

    def committed_at_start(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        """What the present assignment began with; None if nothing, or if it is not known yet."""

    def highwater(self, partition: TopicPartition) -> int | None:
        """The end of the log as the last fetch had it."""


class Recall:
    """Tells each lane once, before it takes anything, what needs no handling any more.

    What cannot be believed is ignored and counted: then records are repeated, and none is lost.
    """

    def __init__(
        self,
        consumer: Remembering,
        position_of: Callable[[TopicPartition], int | None],
        scope: Scope,
        metrics: WorkerMetrics,
        taken_over: Callable[[Lane], object],
        clock: Callable[[], float],
    ) -> None:
        """``taken_over`` is told of each lane that begins with holds; ``clock`` gives seconds."""
        self._consumer = consumer
        self._position_of = position_of
        self._scope = scope
        self._taken_over = taken_over
        self._clock = clock
        self._ignored = metrics.offset_maps_ignored
        self._gone = metrics.holds.labels(scope.group_id, "gone").inc

    def __call__(self, lane: Lane) -> None:
        """Tell the lane, if it has not been told and it is known by now.

        It is not while the map says more than a fetch has told of the log: what has come belongs
        behind ``Positions.find_end`` then.
        To be called before each time that it takes something: what was told may prove untrue.
        """
        here = lane.partition
        if lane.recalled:
            end = self._end(lane) if lane.recalled_end else None
            if end is not None and end < lane.recalled_end:
                lane.forget()
                self._ignore(here, "truncated")
            return
        if lane.positioning or self._position_of(here) is None:
            return
        start = self._consumer.committed_at_start(here)
        if start is None:
            lane.forget()
            return
        end = self._end(lane)
        if end is not None:
            believed = self._believed(lane, start, end)
            if believed is None:
                return
            done, holds = believed
            if not holds:
                lane.recall(done, start.offset)
                return
            # It was asked for before this, so this counts too much of their time, if anything.
            now = self._clock()
            inherited = Inherited(self._scope.group_id, here, holds, now)
            lane.recall(done, start.offset, HeldRecords(inherited, now, self._gone))
            self._taken_over(lane)

    def _end(self, lane: Lane) -> int | None:
        """Of its log. A replica that is read from may know of it a little later than others."""
        fetched = self._consumer.highwater(lane.partition)
        if lane.log_end is None or fetched is None:
            return fetched
        end = max(fetched, lane.log_end)
        if lane.recalled and fetched >= lane.log_end:
            lane.log_end = None  # From now on less is less.
        return end

    def _believed(self, lane: Lane, start: OffsetAndMetadata, log_end: int) -> OffsetMap | None:
        """None if the leader is to be asked first where the log ends."""
        here = lane.partition
        try:
            said = decode(start.metadata, self._scope.place(here), start.offset)
        except UnusableMapError as error:
            reason = error.reason
        else:
            if said.end <= log_end:
                return said
            if lane.log_end is None:
                return None
            reason = "truncated"  # Records went with a broker, and others get their offsets.
        self._ignore(here, reason)
        return OffsetMap()

    def _ignore(self, here: TopicPartition, reason: str) -> None:
        self._ignored.labels(reason).inc()
        detail = {"topic": here.topic, "partition": here.partition, "reason": reason}
        _log.warning("the metadata of a commit is not used", extra=detail)
