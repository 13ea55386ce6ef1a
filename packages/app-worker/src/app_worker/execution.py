"""Carries one record from the handler to stored outcomes, whatever the handler does."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from app_worker.handler import DeadLetter, Done, Handler, Outcome, Park, SetsAside
from app_worker.lanes import Arrival
from app_worker.observability.logs import frames
from app_worker.observability.metrics import WorkerMetrics
from app_worker.parking import Parking
from app_worker.record import Record

Place = tuple[str, int, int]

_log = logging.getLogger(__name__)


ANYTHING = (Exception, SystemExit)
"""What a handler may raise and no more than its record suffers. A library's ``sys.exit`` would end
one process after the other, each time that the record is delivered again."""


class HandlerFault(Exception):  # noqa: N818 - what a handler did wrong, as a value for the log
    """The handler returned what is no sequence of outcomes, or an outcome that cannot be stored."""


@dataclass(slots=True)
class _Attempt:
    """One call of a handler that may be set aside."""

    limit: asyncio.Timeout
    aside: bool = False


class Execution:
    """Calls the handler within its time, and stores what comes of it."""

    def __init__(
        self, handler: Handler, parking: Parking, metrics: WorkerMetrics, timeout_seconds: float
    ) -> None:
        self._handler = handler
        self._parking = parking
        self._timeout = timeout_seconds
        self._seconds = metrics.handler_seconds
        self._errors = metrics.handler_errors
        self._done = metrics.outcomes.labels("done")
        self._gives_up = handler if isinstance(handler, SetsAside) else None
        self._attempts: dict[Place, _Attempt] = {}

    def set_aside(self, record: Record) -> bool:
        """Wait for the handler no longer; return whether it is one that allows that."""
        attempt = self._attempts.get(_place(record))
        if attempt is None or attempt.limit.expired():
            return False
        attempt.aside = True
        attempt.limit.reschedule(asyncio.get_running_loop().time())
        return True

    async def complete(self, arrival: Arrival) -> None:
        """Return when every outcome of the record is safely stored.

        If this is cancelled the record is not complete.
        """
        record = arrival.record
        if arrival.unfit is not None:
            outcomes: Sequence[Outcome] = [arrival.unfit]
        else:
            outcomes = await self._outcomes(record)
        await self._store(record, outcomes)

    async def _outcomes(self, record: Record) -> Sequence[Outcome]:
        began = perf_counter()
        time_limit = asyncio.timeout(self._timeout)
        attempt = None
        if self._gives_up is not None:
            attempt = self._attempts[_place(record)] = _Attempt(time_limit)
        try:
            async with time_limit:
                return self._checked(await self._handler.handle(record))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return [self._after_error(record, "CancelledError", "")]
        except ANYTHING as error:
            if self._gives_up is not None and attempt is not None and attempt.aside:
                return self._set_aside(self._gives_up, record)
            return [self._after_failure(record, error, timeout=time_limit.expired())]
        finally:
            # The same record may be in work again already, in a later assignment.
            if attempt is not None and self._attempts.get(_place(record)) is attempt:
                del self._attempts[_place(record)]
            self._seconds.observe(perf_counter() - began)

    def _set_aside(self, handler: SetsAside, record: Record) -> Sequence[Outcome]:
        try:
            return self._checked(handler.set_aside(record))
        except ANYTHING as error:
            return [self._after_failure(record, error, timeout=False)]

    def _after_failure(self, record: Record, error: BaseException, *, timeout: bool) -> Outcome:
        name = "timeout" if timeout else type(error).__name__
        where = str(error) if isinstance(error, HandlerFault) else " < ".join(frames(error))
        return self._after_error(record, name, where)

    def _checked(self, outcomes: object) -> Sequence[Outcome]:
        if not isinstance(outcomes, Sequence):
            raise HandlerFault(f"it returned {type(outcomes).__name__}, not a sequence of outcomes")
        for outcome in outcomes:
            if not isinstance(outcome, Done | Park | DeadLetter):
                raise HandlerFault(f"it returned {type(outcome).__name__} as an outcome")
            if isinstance(outcome, Park) and outcome.delay not in self._parking.schedule.delays:
                raise HandlerFault("it parked with a delay that is not in the schedule")
            if isinstance(outcome, Park | DeadLetter):
                _check_storable(outcome)
        return outcomes

    def _after_error(self, record: Record, name: str, where: str) -> Outcome:
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
        delay = self._parking.schedule.after(attempts)
        if delay is None:
            return DeadLetter(record.delivery, attempts, "handler_error", detail)
        return Park(record.delivery, attempts, delay, "handler_error", detail)

    async def _store(self, record: Record, outcomes: Sequence[Outcome]) -> None:
        to_store = [outcome for outcome in outcomes if not isinstance(outcome, Done)]
        if len(to_store) == 1:
            await self._parking.store(record, to_store[0])
        elif to_store:
            async with asyncio.TaskGroup() as storing:
                for outcome in to_store:
                    storing.create_task(self._parking.store(record, outcome))
        self._done.inc(len(outcomes) - len(to_store))


def _place(record: Record) -> Place:
    return record.topic, record.partition, record.offset


def _check_storable(outcome: Park | DeadLetter) -> None:
    """Raise HandlerFault unless everything in it can be written into headers."""
    kind = type(outcome).__name__
    texts = {"reason": outcome.reason, "detail": outcome.detail}
    if outcome.delivery is not None:
        texts["delivery"] = outcome.delivery
    for name, text in texts.items():
        if not isinstance(text, str):
            raise HandlerFault(f"the {name} of its {kind} is {type(text).__name__}, not str")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise HandlerFault(f"the {name} of its {kind} cannot be written as UTF-8") from None
    attempts: object = outcome.attempts
    if not isinstance(attempts, int) or attempts < 0:
        raise HandlerFault(f"the attempts of its {kind} are no whole number from 0")
