"""Tells of each attempt: metrics, a log line, the endpoint's state, and topics for others."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from app_worker.handler import DeadLetter, Done, Outcome
from app_worker.record import Record
from webhook_worker.announcement import Announcement, message_exhausted
from webhook_worker.attempt import Answered, Attempt
from webhook_worker.attempt_log import AttemptMade, detail_of, logged, result_of, told_of
from webhook_worker.endpoint import Endpoint
from webhook_worker.endpoint_state.keeper import EndpointStates
from webhook_worker.event import Event
from webhook_worker.metrics import WebhookMetrics
from webhook_worker.outcome import GONE

_log = logging.getLogger("webhook_worker.delivery")


@dataclass(frozen=True, slots=True)
class Topics:
    """What is written besides."""

    announce: Callable[[Announcement], object] = lambda _: None
    """Takes operational events."""
    log_attempt: Callable[[bytes, bytes], object] | None = None
    """Takes an endpoint's id and a line of the attempt log, if there is one."""


class Journal:
    """Is told of every attempt, and of every delivery that is given up without one."""

    def __init__(
        self,
        metrics: WebhookMetrics,
        states: EndpointStates,
        topics: Topics = Topics(),
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``now`` gives unix seconds."""
        self._metrics = metrics
        self._states = states
        self._topics = topics
        self._now = now

    @property
    def tells_of_each(self) -> bool:
        """Whether more is said of an attempt that succeeded than that it did."""
        return self._topics.log_attempt is not None or _log.isEnabledFor(logging.DEBUG)

    def delivered(self, record: Record, endpoint: Endpoint, seconds: float) -> None:
        """An attempt that took so long has succeeded. All that is told of it unless each is."""
        self._metrics.made_attempt("2xx", seconds)
        self._states.succeeded(endpoint)
        if record.timestamp_ms > 0:
            self._metrics.delivered(self._now() - record.timestamp_ms / 1000)

    def made(self, made: AttemptMade) -> None:
        """An attempt is over."""
        if isinstance(made.outcome, Done):
            self.delivered(made.record, made.endpoint, made.seconds)
        else:
            self._metrics.made_attempt(result_of(made.attempt), made.seconds)
            self._failed(made)
        _tell(made)
        if self._topics.log_attempt:
            line = logged(made, self._now_ms())
            self._topics.log_attempt(made.endpoint.id.encode(), line)

    def given_up(self, event: Event, outcome: Outcome, last: str) -> None:
        """A delivery has this outcome; it is announced if all patience with it is over."""
        if not isinstance(outcome, DeadLetter) or outcome.reason != "exhausted":
            return
        if outcome.delivery is None:
            return
        announcement = message_exhausted(
            event, outcome.delivery, outcome.attempts, last, self._now_ms()
        )
        if announcement:
            self._topics.announce(announcement)

    def _failed(self, made: AttemptMade) -> None:
        attempt, detail = made.attempt, detail_of(made.attempt)
        if _is_gone(attempt):
            self._states.gone(made.endpoint, detail)
        elif isinstance(attempt, Answered) or not attempt.ours:
            self._states.failed(made.endpoint, detail)
        self.given_up(made.event, made.outcome, detail)

    def _now_ms(self) -> int:
        return round(self._now() * 1000)


def _is_gone(attempt: Attempt) -> bool:
    return isinstance(attempt, Answered) and attempt.status == GONE


def _tell(made: AttemptMade) -> None:
    """One log line for each attempt, without URL, payload and secrets."""
    attempt, outcome = made.attempt, made.outcome
    level = logging.DEBUG if isinstance(outcome, Done) else logging.INFO
    if not isinstance(attempt, Answered) and attempt.ours:
        level = logging.WARNING
    if not _log.isEnabledFor(level):
        return
    fields: dict[str, object] = {
        "event": made.event.id,
        "endpoint": made.endpoint.id,
        "attempt": made.number,
        "seconds": round(made.seconds, 4),
        **told_of(outcome),
    }
    if isinstance(attempt, Answered):
        fields["status"] = attempt.status
    else:
        fields |= {"failure": attempt.kind, "detail": attempt.detail, "ours": attempt.ours}
    _log.log(level, "attempt", extra=fields)
