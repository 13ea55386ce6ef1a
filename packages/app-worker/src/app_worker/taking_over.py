"""Waits for words about what a former owner may still finish; lets go what nobody tells of."""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from app_worker.backoff import Backoff
from app_worker.handover import Word
from app_worker.handover.needs import Reader, Words
from app_worker.lanes import Lane, Lanes
from app_worker.observability.logs import error_text
from app_worker.observability.metrics import WorkerMetrics
from app_worker.owing import SPOKEN, Clock

LOOK_SECONDS = 0.2
"""Between two looks at holds whose time has passed, until their words are read."""

BACKOFF = Backoff(first=0.2, longest=2.0)

_log = logging.getLogger(__name__)


class TakingOver:
    """The lanes of one controller that began with holds."""

    def __init__(
        self,
        group: str,
        lanes: Lanes,
        words: Words | None,
        metrics: WorkerMetrics,
        *,
        offer: Callable[[Lane], None],
        give_up_late: Callable[[], None],
        clock: Clock,
    ) -> None:
        """``offer`` is called with lanes that may have something to start, ``give_up_late`` before
        anything is begun that others may have given up."""
        self._group = group
        self._lanes = lanes
        self._words = words
        self._offer = offer
        self._give_up_late = give_up_late
        self._clock = clock
        self._changes = {
            change: metrics.holds.labels(group, change)
            for change in ("taken", "settled", "expired")
        }
        self._seconds = metrics.hold_seconds
        self._holding: list[Lane] = []
        self._reader: Reader | None = None
        self._read_to: dict[int, int] = {}
        self._asking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        metrics.held_records.labels(group).set_function(lambda: self.held)

    @property
    def held(self) -> int:
        """Records that are waited for."""
        return sum(len(lane.held) for lane in self._alive() if lane.held is not None)

    def begin(self, lane: Lane) -> None:
        """A lane begins with holds."""
        if lane.held is None:
            return
        self._changes["taken"].inc(len(lane.held))
        detail = {"topic": lane.partition.topic, "partition": lane.partition.partition}
        _log.info("taken over with records in flight", extra=detail | {"records": len(lane.held)})
        self._holding.append(lane)
        places = lane.held.inherited.read_from()
        for partition, place in places.items():
            if place < self._read_to.get(partition, place):
                del self._read_to[partition]  # It goes back.
        if self._reader is None and self._words is not None:
            self._reader = self._words.reader(self._deliver)
        if self._reader is not None:
            self._reader.read_from(places)
        self._look_later()

    def look(self) -> None:
        """Let go whatever may be handled here by now; lanes may have been dropped."""
        if not self._holding:
            return
        self._give_up_late()
        now = self._clock()
        for lane in self._alive():
            if lane.held is not None and (over := lane.held.inherited.open_up(now, self._read_to)):
                self._log_expired(lane, len(over))
                self._ended(lane, "expired", len(over), now)
                lane.open_up(over)
                self._offer(lane)
        self._holding = [lane for lane in self._alive() if lane.held is not None]
        if self._ends_to_ask() and self._asking is None and self._reader is not None:
            self._asking = asyncio.create_task(self._ask(self._reader))
            self._asking.add_done_callback(self._asked)
        self._look_later()

    async def close(self) -> None:
        """Wait for nothing any more."""
        self._holding = []
        self._look_later()
        if self._asking:
            self._asking.cancel()
        if self._reader is not None:
            await self._reader.close()
            self._reader = None

    def _alive(self) -> list[Lane]:
        return [lane for lane in self._holding if self._lanes.alive(lane)]

    def _deliver(self, partition: int, words: Sequence[Word], next_offset: int) -> None:
        self._read_to[partition] = next_offset
        now = self._clock()
        for lane in self._alive():
            for word in words:
                if lane.held is None:
                    break
                if settled := lane.held.inherited.settle(word):
                    self._ended(lane, "settled", len(settled), now)
                    lane.settle(settled)
                    self._offer(lane)
        self.look()

    def _ended(self, lane: Lane, change: str, count: int, now: float) -> None:
        self._changes[change].inc(count)
        if lane.held is not None:
            for _ in range(count):
                self._seconds.observe(now - lane.held.since)

    def _log_expired(self, lane: Lane, count: int) -> None:
        detail = {"topic": lane.partition.topic, "partition": lane.partition.partition}
        _log.warning(
            "nobody has told of records that were in flight when their partition was handed over, "
            "and nobody can any more: they are handled here",
            extra=detail | {"records": count},
        )

    def _look_later(self) -> None:
        """At the next moment when something can change by itself."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        deadlines = [
            deadline
            for lane in self._holding
            if lane.held is not None and (deadline := lane.held.inherited.next_deadline) is not None
        ]
        if deadlines:
            seconds = max(LOOK_SECONDS, min(deadlines) - self._clock())
            self._timer = asyncio.get_running_loop().call_later(seconds, self.look)
        elif self._reader is not None:
            self._reader.rest()

    def _ends_to_ask(self) -> Collection[int]:
        now = self._clock()
        wanted: set[int] = set()
        for lane in self._alive():
            if lane.held is not None:
                wanted |= lane.held.inherited.ends_to_ask(now)
        return wanted

    async def _ask(self, reader: Reader) -> None:
        """Where the words end, of which no more can come: up to there they are to be read."""
        failures = 0
        while wanted := self._ends_to_ask():
            asked_at = self._clock()
            try:
                ends = await reader.ends(wanted)
            except SPOKEN as error:
                failures += 1
                detail = {"group": self._group, "error": error_text(error, SPOKEN)}
                _log.warning("where the words end cannot be found out yet", extra=detail)
                await asyncio.sleep(BACKOFF.seconds(failures))
                continue
            for lane in self._alive():
                for partition, end in ends.items():
                    if lane.held is not None:
                        lane.held.inherited.end_found(partition, end, asked_at)

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled():
            task.result()
            self.look()
