"""Commits what is committable: coalesced, one commit at a time, only for lanes that are alive."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    InvalidCommitOffsetSizeError,
    KafkaError,
    OffsetMetadataTooLargeError,
)

from app_worker.handover import Answer, say
from app_worker.lanes import Lane, Lanes
from app_worker.observability.metrics import WorkerMetrics
from app_worker.offset_map import MapTooLongError, Scope, encode
from kafka_utils import GroupError

SHORTEST_INTERVAL_SECONDS = 0.8
"""From one commit to the next, and between two looks whether anything moved. What was completed
within it, and while the next commit is on its way, is what a crash repeats: a second of work at
most, as long as a commit takes no longer than what is left of that."""

LONGEST_INTERVAL_SECONDS = 10.0
"""From one commit to the next of a slow coordinator, and between two tries while it refuses."""

SHARE_OF_TIME = 0.2
"""The most of its time that a process waits for commits. A coordinator of 100 processes is kept
busy by 20 of them then; and where processors are scarce, the answer to a commit of a few
milliseconds may well take a tenth of a second, which is no reason to commit less often."""

ATTEMPT_SECONDS = 5.0
"""After so long without an answer a commit is given up, and tried again with newer offsets."""

FLUSH_BACKOFF_SECONDS = 0.2

TOO_LARGE = (OffsetMetadataTooLargeError, InvalidCommitOffsetSizeError)
"""For one partition's metadata, and for all of a commit together."""

RECENT = 3
"""Commits whose times are remembered."""

PASSING = frozenset({"failed", "timeout"})
"""Results after which the same commit may still succeed."""

ANSWERS = {
    "ok": Answer.ACKNOWLEDGED,
    "failed": Answer.RETRIABLE,
    "not_owner": Answer.REFUSED,
    "timeout": Answer.UNKNOWN,
    "abandoned": Answer.UNKNOWN,
}
"""What the results say to whoever hands over: an abandoned commit may have been sent."""

_log = logging.getLogger(__name__)


class Committer(Protocol):
    """The part of a consumer that commits."""

    async def commit(self, offsets: dict[TopicPartition, tuple[int, str]]) -> None:
        """Commit offsets, with their metadata, of partitions that are assigned now.

        Raises KafkaError.
        """


class Snapshot(NamedTuple):
    """What one commit says of one lane."""

    offset: int
    completions: int
    """How many records of the lane were complete, in or out of order."""
    metadata: str = ""
    hands_over: bool = False
    """Whether it says what is in flight there, since the lane is handed over."""


def interval_after(seconds: float, interval: float, *, passing: bool) -> float:
    """Return how long after the begin of a commit that took so many seconds the next one begins.

    ``interval`` is the one before it. After a trouble that may pass it doubles. A coordinator that
    answers slowly is overloaded, perhaps by commits: it is asked the less often, the longer it
    takes.
    """
    wanted = 2 * interval if passing else seconds / SHARE_OF_TIME
    return min(max(wanted, SHORTEST_INTERVAL_SECONDS), LONGEST_INTERVAL_SECONDS)


class Commits:
    """The commits of one consumer.

    The offsets of a commit are collected from the lanes alive, and handed on, in one step without
    an await; a commit under way is abandoned when one of its lanes is dropped.
    """

    def __init__(
        self,
        committer: Committer,
        lanes: Lanes,
        position_of: Callable[[TopicPartition], int | None],
        recall: Callable[[Lane], object],
        metrics: WorkerMetrics,
        scope: Scope,
        clock: Callable[[], float],
    ) -> None:
        """``clock`` is that of hand-overs, in seconds."""
        self._committer = committer
        self._lanes = lanes
        self._clock = clock
        self._now = asyncio.get_running_loop().time
        self._position_of = position_of
        self._recall = recall
        self._results = metrics.commits
        self._seconds = metrics.commit_seconds
        self._scope = scope
        self._with_maps = True
        self._recent: deque[float] = deque(maxlen=RECENT)
        """How many seconds the last commits took."""
        self._under_way: asyncio.Task[None] | None = None
        self._taking_part: dict[Lane, Snapshot] = {}
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Commit what moved, again and again until cancelled."""
        interval, took = SHORTEST_INTERVAL_SECONDS, 0.0
        while True:
            await asyncio.sleep(max(interval - took, interval / 2))
            began = self._now()
            result = await self._commit()
            took = self._now() - began
            # A rebalance or a start makes one commit slow, a slow coordinator all of them.
            seconds = min(self._recent) if len(self._recent) == RECENT else 0.0
            interval = interval_after(seconds, interval, passing=result in PASSING)

    async def flush(self, seconds: float) -> bool:
        """Commit now what moved, within so many seconds. Return whether that succeeded.

        Tries again while the coordinator has a passing trouble and time is left.
        """
        try:
            async with asyncio.timeout(seconds):
                result = await self._commit()
                while result in PASSING or result == "abandoned":
                    await asyncio.sleep(FLUSH_BACKOFF_SECONDS)
                    result = await self._commit()
        except TimeoutError:
            return False
        return result == "ok"

    async def send(self) -> Answer:
        """Commit once what moved; what is frozen and not acknowledged has always moved."""
        return ANSWERS[await self._commit()]

    def drop(self, lanes: Collection[Lane]) -> None:
        """Drop lanes, and abandon a commit under way that speaks for one of them."""
        self._lanes.drop(lanes)
        if self._under_way and not self._taking_part.keys().isdisjoint(lanes):
            self._under_way.cancel()

    def collect(self) -> dict[Lane, Snapshot]:
        """What moved in the lanes alive since they last committed.

        A lane that does not know yet what was complete before says nothing: it would be forgotten.
        """
        moved = {}
        for lane in self._lanes:
            self._recall(lane)
            if not lane.recalled:
                continue
            lane.pass_gap(self._position_of)
            offset = lane.tracker.committable
            completions = lane.tracker.completions if self._with_maps else 0
            if offset is None or (offset, completions) == lane.committed:
                continue
            try:
                said = self._map_of(lane, offset)
            except MapTooLongError:
                # What it leaves out would be delivered twice. There is less of it soon.
                _log.info("a map is too long for now", extra={"group": self._scope.group_id})
            else:
                moved[lane] = Snapshot(offset, completions, said, lane.release is not None)
        return moved

    def _map_of(self, lane: Lane, offset: int) -> str:
        """Raises MapTooLongError."""
        here, handed_over = lane.partition, lane.release is not None
        if not self._with_maps:
            if handed_over and lane.running:
                raise MapTooLongError("the brokers take no maps at all")
            return ""
        place, done = self._scope.place(here), lane.complete_runs()
        if lane.held is None and not handed_over:
            return encode(place, offset, done) if done else ""
        inherited = None if lane.held is None else lane.held.inherited
        return say(place, here, offset, done, inherited, lane.release, self._clock()).metadata

    async def _commit(self) -> str:
        async with self._one_at_a_time:
            moved = self.collect()
            if not moved:
                return "ok"
            offsets = {lane.partition: (now.offset, now.metadata) for lane, now in moved.items()}
            for lane, now in moved.items():
                if now.hands_over:
                    lane.maps_sent.append((now.offset, now.metadata))
            attempt = asyncio.ensure_future(self._committer.commit(offsets))
            self._under_way, self._taking_part = attempt, moved
            began = self._now()
            try:
                await asyncio.wait({attempt}, timeout=ATTEMPT_SECONDS)
            finally:
                # Cancelled before it is sent again: aiokafka would send it in a later generation.
                attempt.cancel()
                self._under_way, self._taking_part = None, {}
            self._recent.append(self._now() - began)
            self._seconds.observe(self._recent[-1])
            result = self._result(attempt)
            self._results.labels(self._scope.group_id, result).inc()
            if result == "ok":
                for lane, now in moved.items():
                    # What was sent before a lane was frozen is no answer to what it has to say.
                    if now.hands_over == (lane.release is not None):
                        lane.committed = (now.offset, now.completions)
            return result

    def _result(self, attempt: asyncio.Task[None]) -> str:
        if not attempt.done():
            _log.warning("a commit was not answered in time", extra={"group": self._scope.group_id})
            return "timeout"
        if attempt.cancelled():
            return "abandoned"
        error = attempt.exception()
        if error is None:
            return "ok"
        detail = {"group": self._scope.group_id, "error": f"{type(error).__name__}: {error}"}
        if isinstance(error, CommitFailedError | IllegalStateError | GroupError):
            _log.warning("a commit was refused: the partitions have moved on", extra=detail)
            return "not_owner"
        if isinstance(error, TOO_LARGE) and self._with_maps:
            self._with_maps = False
            _log.warning(
                "the brokers refuse maps of what is complete behind an open record (their "
                "offset.metadata.max.bytes is below 4096, perhaps): a crash repeats that",
                extra=detail,
            )
            return "failed"
        if isinstance(error, KafkaError | OSError):
            _log.warning("a commit failed and will be tried again", extra=detail)
            return "failed"
        raise error
