"""Commits what is committable: coalesced, one commit at a time, only for lanes that are alive."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from typing import Protocol

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from app_worker.lanes import Lane, Lanes
from app_worker.observability.metrics import WorkerMetrics
from kafka_utils import GroupError

INTERVAL_SECONDS = 1.0
"""Between two commits, and between two looks whether anything moved."""

LONGEST_BACKOFF_SECONDS = 10.0
"""Between two tries while the coordinator refuses."""

ATTEMPT_SECONDS = 5.0
"""After so long without an answer a commit is given up, and tried again with newer offsets."""

FLUSH_BACKOFF_SECONDS = 0.2

PASSING = frozenset({"failed", "timeout"})
"""Results after which the same commit may still succeed."""

_log = logging.getLogger(__name__)


class Committer(Protocol):
    """The part of a consumer that commits."""

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        """Commit offsets of partitions that are assigned now. Raises KafkaError."""


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
        metrics: WorkerMetrics,
        group: str,
    ) -> None:
        self._committer = committer
        self._lanes = lanes
        self._position_of = position_of
        self._results = metrics.commits
        self._seconds = metrics.commit_seconds
        self._group = group
        self._under_way: asyncio.Task[None] | None = None
        self._taking_part: dict[Lane, int] = {}
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Commit what moved, again and again until cancelled."""
        pause = INTERVAL_SECONDS
        while True:
            await asyncio.sleep(pause)
            result = await self._commit()
            pause = (
                min(2 * pause, LONGEST_BACKOFF_SECONDS) if result in PASSING else INTERVAL_SECONDS
            )

    async def flush(self, seconds: float) -> bool:
        """Commit now what moved, within so many seconds. Return whether that succeeded.

        Tries again while the coordinator has a passing trouble and time is left.
        """
        try:
            async with asyncio.timeout(seconds):
                result = await self._commit()
                while result in PASSING:
                    await asyncio.sleep(FLUSH_BACKOFF_SECONDS)
                    result = await self._commit()
        except TimeoutError:
            return False
        return result == "ok"

    def drop(self, lanes: Collection[Lane]) -> None:
        """Drop lanes, and abandon a commit under way that speaks for one of them."""
        self._lanes.drop(lanes)
        if self._under_way and not self._taking_part.keys().isdisjoint(lanes):
            self._under_way.cancel()

    def collect(self) -> dict[Lane, int]:
        """What moved in the lanes alive since they last committed."""
        moved = {}
        for lane in self._lanes:
            lane.pass_gap(self._position_of)
            committable = lane.tracker.committable
            if committable is not None and committable != lane.committed:
                moved[lane] = committable
        return moved

    async def _commit(self) -> str:
        async with self._one_at_a_time:
            moved = self.collect()
            if not moved:
                return "ok"
            offsets = {lane.partition: offset for lane, offset in moved.items()}
            attempt = asyncio.ensure_future(self._committer.commit(offsets))
            self._under_way, self._taking_part = attempt, moved
            began = time.monotonic()
            try:
                await asyncio.wait({attempt}, timeout=ATTEMPT_SECONDS)
            finally:
                # Cancelled before it is sent again: aiokafka would send it in a later generation.
                attempt.cancel()
                self._under_way, self._taking_part = None, {}
            self._seconds.observe(time.monotonic() - began)
            result = self._result(attempt)
            self._results.labels(result).inc()
            if result == "ok":
                for lane, offset in moved.items():
                    lane.committed = offset
            return result

    def _result(self, attempt: asyncio.Task[None]) -> str:
        if not attempt.done():
            _log.warning("a commit was not answered in time", extra={"group": self._group})
            return "timeout"
        if attempt.cancelled():
            return "abandoned"
        error = attempt.exception()
        if error is None:
            return "ok"
        detail = {"group": self._group, "error": f"{type(error).__name__}: {error}"}
        if isinstance(error, CommitFailedError | IllegalStateError | GroupError):
            _log.warning("a commit was refused: the partitions have moved on", extra=detail)
            return "not_owner"
        if isinstance(error, KafkaError | OSError):
            _log.warning("a commit failed and will be tried again", extra=detail)
            return "failed"
        raise error
