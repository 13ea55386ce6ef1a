"""Gives partitions up: hands over what is in flight there, or finishes it first."""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Collection, Mapping

from aiokafka import OffsetAndMetadata, TopicPartition

from app_worker.commits import Commits
from app_worker.draining import Draining, in_work, still
from app_worker.handover import Release, Step, after_commit, after_reading_back, may_commit
from app_worker.handover.needs import Place, Words
from app_worker.handover.timing import OPENED_SECONDS, STORE_SECONDS, WORD_SECONDS
from app_worker.lanes import Lane, Lanes, Running
from app_worker.observability.logs import error_text
from app_worker.observability.metrics import WorkerMetrics
from app_worker.owing import SPOKEN, Owing

PAUSE_SECONDS = 0.2
"""Between two commits of one release, until there is no time left for another."""

READ_BACK_SECONDS = 2.0
"""How long the coordinator may take to say what it has."""

NONCE_BITS = 64

NOTHING = (-1, "")
"""What is committed where nothing is."""

_log = logging.getLogger(__name__)

CommittedNow = Callable[
    [Collection[TopicPartition]], Awaitable[Mapping[TopicPartition, OffsetAndMetadata]]
]
"""What the group's coordinator has now; partitions of which it has nothing are left out."""


class GivingUp:
    """How the lanes of one controller end, when they are to end in order."""

    def __init__(
        self,
        group: str,
        lanes: Lanes,
        commits: Commits,
        owing: Owing,
        words: Words | None,
        metrics: WorkerMetrics,
        *,
        committed_now: CommittedNow,
        position_of: Callable[[TopicPartition], int | None],
        seconds_left: Callable[[Running], float],
        withdraw: Callable[[], None],
        dropped: Callable[[Collection[Lane]], None],
        margin_seconds: float,
        nonce: Callable[[int], int] = random.getrandbits,
    ) -> None:
        """``withdraw`` is called when lanes were stopped, ``dropped`` when they are over.

        ``margin_seconds`` is how much of the time for it is kept back for the last commit.
        """
        self._group = group
        self._lanes = lanes
        self._commits = commits
        self._owing = owing
        self._words = words
        self._releases = metrics.releases
        self._committed_now = committed_now
        self._position_of = position_of
        self._seconds_left = seconds_left
        self._withdraw = withdraw
        self._dropped = dropped
        self._margin = margin_seconds
        self._nonce = nonce
        self._clock = asyncio.get_running_loop().time
        self._draining = Draining(group, margin_seconds)
        self._opening: set[Lane] = set()
        """Those that are to be handed over and can still go on."""

    async def give_up(self, lanes: Collection[Lane], until: float, end_by: float | None) -> None:
        """Return when nothing of these is this member's concern any more.

        ``until``, on the loop's clock, is when it must be over. ``end_by`` is when the process is
        to end, if it is: nothing may be owed any more by then.
        """
        release = None
        if in_work(lanes) and self._words is not None and self._words.mode.on_revoke:
            release = await self._opened_in_line(lanes, self._words)
            lanes = [lane for lane in lanes if lane in self._opening or lane.stopped]
            self._opening.difference_update(lanes)
        lanes = [lane for lane in lanes if self._lanes.alive(lane)]
        if release is None or self._words is None or not lanes:
            await self._drain(lanes, until)
            return
        self._freeze(release, lanes, self._words, end_by)
        step = Step.LOSE
        try:
            step = await self._send_maps(lanes, until - self._margin)
            if step is Step.RELEASE and end_by is not None and not self._words.mode.at_end:
                step = Step.DRAIN  # Nobody else may take over meanwhile.
        finally:
            if step is not Step.DRAIN:
                self._drop(lanes)
        if step is Step.DRAIN:
            await self._finish(lanes, until)

    def go_on(self, lanes: Collection[Lane]) -> list[Lane]:
        """Go on with these as if they were not to be given up; return those that can.

        That is over for what was frozen: others may be at it already.
        """
        untouched = [
            lane
            for lane in lanes
            # Of one that was stopped meanwhile nobody looks for its place any more.
            if lane in self._opening and not (lane.stopped and lane.positioning)
        ]
        for lane in untouched:
            lane.go_on()
        self._opening.difference_update(untouched)
        return [*untouched, *self._draining.go_on(lane for lane in lanes if lane.release is None)]

    async def _opened_in_line(self, lanes: Collection[Lane], words: Words) -> Release | None:
        """A release by which these can be handed over; None if they are to be drained."""
        self._opening.update(lane for lane in lanes if not lane.stopped)
        try:
            release = await self._opened(lanes, words)
            if release is not None and not await self._are_in_line(lanes):
                return None
        except BaseException:
            self._opening.difference_update(lanes)
            raise
        return release

    async def _opened(self, lanes: Collection[Lane], words: Words) -> Release | None:
        """A release whose first word is acknowledged; None if it is not in time."""
        nonce, topic = self._nonce(NONCE_BITS), next(iter(lanes)).partition.topic
        try:
            async with asyncio.timeout(OPENED_SECONDS):
                place: Place = await words.writer.open(self._group, nonce, topic)
        except Exception as error:
            # Whatever it is: to drain is always possible.
            detail = {"group": self._group, "error": error_text(error, SPOKEN)}
            _log.warning("drained: no word about what is in flight can be written", extra=detail)
            self._count("not_opened")
            return None
        return Release(self._group, nonce, place.partition, place.offset)

    def _freeze(
        self, release: Release, lanes: Collection[Lane], words: Words, end_by: float | None
    ) -> None:
        """In one step: nothing is begun any more, and what is in work is owed."""
        self._owing.give_up_late()
        most = math.inf
        if end_by is not None:
            most = max(0.0, end_by - STORE_SECONDS - WORD_SECONDS - self._clock())
        self._stop(lanes)
        known = [lane for lane in lanes if may_commit(lane.standing) and lane.release is None]
        self._owing.freeze(
            release, known, lambda each: min(most, self._seconds_left(each)), words.writer
        )

    async def _are_in_line(self, lanes: Collection[Lane]) -> bool:
        """Whether what is in work has put into the ordered topic what belongs there.

        What others begin is put there behind it, so until then no commit may call it in flight:
        nothing more is begun meanwhile, and nothing is frozen yet.
        """
        still_here = [lane for lane in lanes if lane in self._opening or lane.stopped]
        self._stop(still_here)
        try:
            async with asyncio.timeout(OPENED_SECONDS):
                for lane in still_here:
                    await lane.turns.over()
        except TimeoutError:
            self._count("not_in_line")
            return False
        return True

    async def _send_maps(self, lanes: Collection[Lane], by: float) -> Step:
        """Say what is in flight until the coordinator has it for each of these lanes."""
        while waiting := [lane for lane in lanes if self._is_unsaid(lane)]:
            self._owing.give_up_late()
            step = after_commit(await self._commits.send(), in_time=self._clock() < by)
            if step is Step.READ_BACK:
                step = await self._read_back(waiting, by)
            too_long = step is Step.RELEASE and any(map(self._is_unsaid, waiting))
            if too_long and self._clock() >= by:
                step = Step.DRAIN
            if step in (Step.DRAIN, Step.LOSE):
                self._count("too_long" if too_long else "not_committed")
                return step
            if step is Step.SEND_AGAIN or too_long:
                await asyncio.sleep(PAUSE_SECONDS)
        self._count("handed_over")
        return Step.RELEASE

    def _is_unsaid(self, lane: Lane) -> bool:
        if lane.committed is not None or lane.release is None:
            return False
        # Of one that knows no place in its log yet there is nothing to be said.
        return lane.tracker.committable is not None and self._lanes.alive(lane)

    async def _read_back(self, lanes: Collection[Lane], by: float) -> Step:
        """Look which map the coordinator has: one that was sent without an answer may be there."""
        while True:
            has = await self._ask(lanes)
            in_time = self._clock() < by
            steps = set()
            for lane in lanes:
                here = None if has is None else has.get(lane.partition, NOTHING)
                step = after_reading_back(here, lane.maps_sent, in_time=in_time)
                if step is Step.RELEASE and here is not None:
                    lane.committed = (here[0], lane.tracker.completions)
                steps.add(step)
            for step in (Step.DRAIN, Step.SEND_AGAIN, Step.RELEASE):
                if step in steps and Step.READ_BACK not in steps:
                    return step
            await asyncio.sleep(PAUSE_SECONDS)

    async def _ask(self, lanes: Collection[Lane]) -> dict[TopicPartition, tuple[int, str]] | None:
        try:
            async with asyncio.timeout(READ_BACK_SECONDS):
                found = await self._committed_now([lane.partition for lane in lanes])
        except Exception as error:
            detail = {"group": self._group, "error": error_text(error, SPOKEN)}
            _log.warning("what is committed cannot be read back yet", extra=detail)
            return None
        return {here: (kept.offset, kept.metadata) for here, kept in found.items()}

    async def _drain(self, lanes: Collection[Lane], until: float) -> None:
        self._stop(lanes)
        await self._finish(lanes, until)

    def _stop(self, lanes: Collection[Lane]) -> None:
        for lane in lanes:
            lane.pass_gap(self._position_of)
            lane.stop()
        self._withdraw()

    async def _finish(self, lanes: Collection[Lane], until: float) -> None:
        try:
            await self._draining.finish(lanes, until)
        finally:
            try:
                await self._commits.flush(max(self._margin / 2, until - self._clock()))
            finally:
                self._draining.end(lanes)
                self._drop(still(lanes))

    def _drop(self, lanes: Collection[Lane]) -> None:
        self._commits.drop(lanes)
        self._dropped(lanes)

    def _count(self, outcome: str) -> None:
        self._releases.labels(self._group, outcome).inc()
