"""Carries one record from the handler to stored outcomes, whatever the handler does."""

import asyncio
import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from app_worker.admission import Admission
from app_worker.handler import (
    Block,
    DeadLetter,
    Done,
    Enqueue,
    Handler,
    Outcome,
    Park,
    SetsAside,
)
from app_worker.lanes import Lane, Running
from app_worker.loop_clock import loop_clock
from app_worker.observability.logs import frames
from app_worker.observability.metrics import WorkerMetrics
from app_worker.observability.task_stacks import stack_of
from app_worker.ordered_lane import OrderedLane
from app_worker.parking import Parking
from app_worker.record import Record
from app_worker.send_gate import GivenUpError
from app_worker.time_limit import Call, Cut, TimeLimit

_log = logging.getLogger(__name__)


ANYTHING = (Exception, SystemExit)
"""What a handler may raise and no more than its record suffers. A library's ``sys.exit`` would end
one process after the other, each time that the record is delivered again."""


class Blocked(NamedTuple):
    """A record is to be tried again in its lane, and its key waits for it."""

    lane: OrderedLane
    block: Block


class HandlerFault(Exception):  # noqa: N818 - what a handler did wrong, as a value for the log
    """The handler returned what is no sequence of outcomes, or an outcome that cannot be stored."""


class Execution:
    """Calls the handler within its time, and stores what comes of it."""

    def __init__(
        self,
        handler: Handler,
        parking: Parking,
        limits: Admission,
        metrics: WorkerMetrics,
        timeout_seconds: float,
    ) -> None:
        self._handler = handler
        self._parking = parking
        self._limits = limits
        self._limit = TimeLimit(timeout_seconds, self._goes_on)
        self._clock = loop_clock()
        self._seconds = metrics.handler_seconds
        self._errors = metrics.handler_errors
        self._done = metrics.outcomes.labels("done")
        self._uncounted = 0
        self._gives_up = handler if isinstance(handler, SetsAside) else None

    def set_aside(self, call: Call) -> bool:
        """Wait for the handler no longer; return whether it is one that allows that."""
        return self._gives_up is not None and self._limit.cut(call, "aside")

    def seconds_left(self, running: Running) -> float:
        """The most that the handler may still take with it."""
        return self._limit.seconds_left(running.call, running.since, self._clock())

    def count(self) -> None:
        """Publish how many deliveries were done: a counter for each of them would cost too much."""
        if self._uncounted:
            self._done.inc(self._uncounted)
            self._uncounted = 0

    def close(self) -> None:
        """Nothing more will be completed."""
        self.count()
        self._limit.close()

    async def complete(self, running: Running) -> Blocked | None:
        """Return when every outcome of the record is safely stored, or its key is to be blocked.

        If this is cancelled the record is not complete.
        """
        arrival, call, lane = running.arrival, running.call, running.lane
        record = arrival.record
        if arrival.unfit is not None:
            self._limits.store(running.slot)
            await self._parking.store(record, arrival.unfit)
            return None
        self._limit.begin(call, self._clock())
        try:
            outcomes = self._checked(await self._handler.handle(record), record, lane)
        except asyncio.CancelledError as error:
            if call.task.cancelling() > (call.cut is not None) and lane.stopped:
                raise  # By somebody else, for whom the record is not complete.
            outcomes = self._after_failure(record, error, call.cut, lane)
        except ANYTHING as error:
            if lane.release is not None and _has_given_up(error):
                # Others begin it, or have begun: to store anything of it would make it twice.
                raise asyncio.CancelledError from error
            outcomes = self._after_failure(record, error, call.cut, lane)
        finally:
            self._limit.end(call)
            if call.cut is not None:
                call.task.uncancel()
            self._seconds.observe(self._clock() - call.began)
        if call.task.cancelling() and not lane.stopped:
            await _go_on(call.task)
        if len(outcomes) == 1 and type(outcomes[0]) is Done:
            self._uncounted += 1
            return None
        to_store = [outcome for outcome in outcomes if not isinstance(outcome, Done)]
        if to_store:
            if isinstance(to_store[0], Block) and isinstance(lane, OrderedLane):
                return Blocked(lane, to_store[0])
            if isinstance(to_store[0], Enqueue):
                queued = [each for each in outcomes if isinstance(each, Enqueue)]
                # The very object that the handler has: the send gate knows it by that.
                arrival.record = await self._enqueue(lane, record, queued)
                return await self.complete(running)
            self._limits.store(running.slot)
            stored = [each for each in outcomes if isinstance(each, Park | DeadLetter)]
            await self._store(record, stored)
        self._uncounted += len(outcomes) - len(to_store)
        return None

    async def _enqueue(self, lane: Lane, record: Record, queued: Sequence[Enqueue]) -> Record:
        """Put these into the ordered topic, when it is their turn; return what is left."""
        async with lane.turns.turn(record.key, record.offset):
            if len(queued) == 1:
                await self._parking.enqueue(record, queued[0])
            else:
                async with asyncio.TaskGroup() as storing:
                    for each in queued:
                        storing.create_task(self._parking.enqueue(record, each))
        names = record.enqueued.union(each.delivery for each in queued)
        return record._replace(enqueued=names)

    def _after_failure(
        self, record: Record, error: BaseException, cut: Cut | None, lane: Lane
    ) -> Sequence[Outcome]:
        if cut == "aside" and self._gives_up is not None:
            try:
                return self._checked(self._gives_up.set_aside(record), record, lane)
            except ANYTHING as its_own:
                error, cut = its_own, None
        name = "timeout" if cut == "over" else type(error).__name__
        where = str(error) if isinstance(error, HandlerFault) else " < ".join(frames(error))
        return [self._after_error(record, name, where, lane)]

    def _checked(self, outcomes: object, record: Record, lane: Lane) -> Sequence[Outcome]:
        # A list, as it nearly always is, is told from others without asking an abstract class.
        if type(outcomes) is not list and not isinstance(outcomes, Sequence):
            raise HandlerFault(f"it returned {type(outcomes).__name__}, not a sequence of outcomes")
        for outcome in outcomes:
            if isinstance(outcome, Done):
                continue
            if isinstance(outcome, Enqueue | Block):
                self._check_alone(outcome, outcomes, record, lane)
                continue
            if not isinstance(outcome, Park | DeadLetter):
                raise HandlerFault(f"it returned {type(outcome).__name__} as an outcome")
            if isinstance(outcome, Park) and outcome.delay not in self._parking.schedule.delays:
                raise HandlerFault("it parked with a delay that is not in the schedule")
            _check_storable(outcome)
        return outcomes

    def _goes_on(self, call: Call) -> None:
        """Nothing can end it: its record stays open, and keeps its place in flight."""
        self._errors.labels("does_not_end").inc()
        _log.error(
            "a call of the handler goes on although it was told to end",
            extra={"frames": stack_of(call.task)},
        )

    def _check_alone(
        self, outcome: Enqueue | Block, beside: Sequence[object], record: Record, lane: Lane
    ) -> None:
        in_line = isinstance(lane, OrderedLane)
        kind = type(outcome)
        if any(type(each) is not kind for each in beside):
            raise HandlerFault(f"it returned something beside {kind.__name__}")
        _check_storable(outcome)
        if isinstance(outcome, Block):
            if not in_line or len(beside) > 1:
                raise HandlerFault("it blocked a key outside of the ordered topic")
        elif in_line or not self._parking.orders or outcome.delivery in record.enqueued:
            raise HandlerFault("it put into the ordered topic what cannot go there, or is there")

    def _after_error(self, record: Record, name: str, where: str, lane: Lane) -> Outcome:
        """Through the schedule first: one bug must not dead-letter a topic at full rate."""
        self._errors.labels(name).inc()
        origin = record.origin
        _log.error(
            "the handler failed on a record",
            extra={
                "error": name,
                "frames": where,
                "topic": origin.topic,
                "partition": origin.partition,
                "offset": origin.offset,
                "attempts": record.attempts + 1,
            },
        )
        attempts = record.attempts + 1
        detail = f"{name} {where}".strip()
        if isinstance(lane, OrderedLane):
            seconds = lane.seconds_after_error(record, self._parking.schedule)
            if seconds is not None:
                return Block(record.delivery, attempts, seconds)
            return DeadLetter(record.delivery, attempts, "handler_error", detail)
        delay = self._parking.schedule.after(attempts)
        if delay is None:
            return DeadLetter(record.delivery, attempts, "handler_error", detail)
        return Park(record.delivery, attempts, delay, "handler_error", detail)

    async def _store(self, record: Record, outcomes: Sequence[Park | DeadLetter]) -> None:
        if len(outcomes) == 1:
            await self._parking.store(record, outcomes[0])
            return
        async with asyncio.TaskGroup() as storing:
            for outcome in outcomes:
                storing.create_task(self._parking.store(record, outcome))


async def _go_on(task: asyncio.Task[None]) -> None:
    """The handler has cancelled the task that it ran in, in which its outcomes are to be stored.

    Others cancel only what is in a stopped lane. Raises CancelledError if they do it now.
    """
    its_own = task.cancelling()
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)  # It may be still to come.
    for _ in range(its_own):
        task.uncancel()
    if task.cancelling():
        raise asyncio.CancelledError


def _has_given_up(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(GivenUpError) is not None
    return isinstance(error, GivenUpError)


def _check_storable(outcome: Park | DeadLetter | Enqueue | Block) -> None:
    """Raise HandlerFault unless everything in it can be written into headers, or waited for."""
    kind = type(outcome).__name__
    texts: dict[str, object] = {}
    counts: dict[str, object] = {}
    if isinstance(outcome, Enqueue) or outcome.delivery is not None:
        texts["delivery"] = outcome.delivery
    if isinstance(outcome, Park | DeadLetter):
        texts |= {"reason": outcome.reason, "detail": outcome.detail}
    if not isinstance(outcome, Enqueue):
        counts["attempts"] = outcome.attempts
    if isinstance(outcome, Park | Block):
        counts["postponed"] = outcome.postponed
    for name, text in texts.items():
        if not isinstance(text, str):
            raise HandlerFault(f"the {name} of its {kind} is {type(text).__name__}, not str")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise HandlerFault(f"the {name} of its {kind} cannot be written as UTF-8") from None
    for name, count in counts.items():
        if not isinstance(count, int) or count < 0:
            raise HandlerFault(f"the {name} of its {kind} is no whole number from 0")
    if isinstance(outcome, Block):
        seconds: object = outcome.seconds
        if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise HandlerFault("the seconds of its Block are no finite number from 0")
