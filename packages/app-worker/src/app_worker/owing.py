"""Finishes what was in flight when its partition was handed over: tells of it, or gives it up."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from app_worker.backoff import Backoff
from app_worker.handover import Release
from app_worker.handover.needs import Writer
from app_worker.lanes import Lane, Running
from app_worker.observability.logs import error_text
from app_worker.observability.metrics import WorkerMetrics
from app_worker.send_gate import SendGate

BACKOFF = Backoff(first=0.2, longest=1.0)
"""Between two words of one release, once the writer has given up one of them."""

SPOKEN = (KafkaError, OSError)
"""Exceptions whose text may be logged."""

_log = logging.getLogger(__name__)


Clock = Callable[[], float]
"""Seconds; goes on while the machine is suspended."""


@dataclass(slots=True, eq=False)
class _Debt:
    """What is owed of one release."""

    release: Release
    lanes: Mapping[TopicPartition, Lane]
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    telling: asyncio.Task[None] | None = None


class Owing:
    """What one controller owes of partitions that it gave up with work in flight.

    Nothing that is revoked, lost or assigned later touches it.
    """

    def __init__(self, group: str, gate: SendGate, metrics: WorkerMetrics, clock: Clock) -> None:
        self._group = group
        self._gate = gate
        self._clock = clock
        self._given = metrics.holds.labels(group, "given")
        self._debts: dict[Release, _Debt] = {}
        self._timer: asyncio.TimerHandle | None = None
        metrics.obligations.labels(group).set_function(lambda: self.open)

    @property
    def open(self) -> int:
        """Records that keep the process from ending."""
        return sum(release.open for release in self._debts)

    def freeze(
        self,
        release: Release,
        lanes: Collection[Lane],
        seconds_left: Callable[[Running], float],
        writer: Writer,
    ) -> None:
        """Nothing more is begun in these lanes; what is in work there is owed from now on."""
        now = self._clock()
        for lane in lanes:
            lane.freeze(release)
            left = {offset: seconds_left(running) for offset, running in lane.running.items()}
            release.freeze(lane.partition, left, now)
            may_send = partial(release.may_send, lane.partition)
            for running in lane.running.values():
                self._gate.ask(running.arrival.record, may_send)
            self._given.inc(len(left))
        if not release.open:
            return
        debt = self._debts[release] = _Debt(release, {lane.partition: lane for lane in lanes})
        debt.telling = asyncio.create_task(self._tell(debt, writer))
        debt.telling.add_done_callback(lambda _: self._debts.pop(release, None))
        self._look_later()

    def stored(self, running: Running) -> None:
        """Every outcome of a record of a lane that is handed over is stored."""
        lane, record = running.lane, running.arrival.record
        self._gate.forget(record)
        if lane.release is not None and (debt := self._debts.get(lane.release)):
            lane.release.stored(lane.partition, record.offset, self._clock())
            debt.changed.set()

    def without_outcome(self, running: Running) -> None:
        """Nobody works any more on a record of a lane that is handed over."""
        self._gate.forget(running.arrival.record)

    def give_up_late(self) -> None:
        """Give up at once what is over its time, before anything else is decided."""
        now = self._clock()
        for debt in list(self._debts.values()):
            late = debt.release.give_up(now)
            for partition, offset in late:
                if running := debt.lanes[partition].running.get(offset):
                    running.call.task.cancel()
            if late:
                detail = {"group": self._group, "records": len(late)}
                _log.warning("handed over, and not finished in time: given up", extra=detail)
            if not debt.release.open and debt.telling:
                debt.telling.cancel()

    async def finished(self) -> None:
        """Return when nothing is owed any more; what is over its time is given up."""
        while tasks := [debt.telling for debt in self._debts.values() if debt.telling]:
            await asyncio.wait(tasks)

    def close(self) -> None:
        """The process ends now: what is owed is left undone."""
        if self._timer:
            self._timer.cancel()
        for debt in self._debts.values():
            if debt.telling:
                debt.telling.cancel()
            for lane in debt.lanes.values():
                for running in lane.running.values():
                    running.call.task.cancel()

    async def _tell(self, debt: _Debt, writer: Writer) -> None:
        release, failures = debt.release, 0
        while release.open:
            debt.changed.clear()
            for word in tuple(release.words(self._clock())):
                try:
                    await writer.tell(release.words_partition, word)
                except Exception as error:
                    # Whatever it is: without this task nothing would end by its time what is owed.
                    failures += 1
                    detail = {"group": self._group, "error": error_text(error, SPOKEN)}
                    _log.warning("a word could not be written and will be again", extra=detail)
                    await asyncio.sleep(BACKOFF.seconds(failures))
                    debt.changed.set()
                    break
                failures = 0
                release.told(word)
            if release.open:
                await debt.changed.wait()

    def _look_later(self) -> None:
        deadlines = [each for release in self._debts if (each := release.next_deadline) is not None]
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if deadlines:
            seconds = max(0.0, min(deadlines) - self._clock())
            self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        self.give_up_late()
        self._look_later()
