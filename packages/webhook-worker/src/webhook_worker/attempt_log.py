"""One attempt as a compact line of the attempt log: no URL, no payload, nothing of the answer."""

import json
from typing import NamedTuple

from app_worker.handler import Block, DeadLetter, Done, Enqueue, Outcome, Park
from app_worker.record import Record
from webhook_worker.attempt import Answered, Attempt
from webhook_worker.endpoint import Endpoint
from webhook_worker.event import Event


class AttemptMade(NamedTuple):
    """An attempt with all that belongs to it."""

    record: Record
    event: Event
    endpoint: Endpoint
    number: int
    """1 is the delivery's first."""
    attempt: Attempt
    outcome: Outcome
    seconds: float
    """That it took."""


def result_of(attempt: Attempt) -> str:
    """What came back, as a word for metrics: ``2xx`` to ``5xx``, or the kind of failure."""
    if isinstance(attempt, Answered):
        return "2xx" if attempt.is_success else f"{attempt.status // 100}xx"
    return attempt.kind


def detail_of(attempt: Attempt) -> str:
    """What came back, in a word or two: ``status 503``, or the kind of failure."""
    return f"status {attempt.status}" if isinstance(attempt, Answered) else attempt.kind


def logged(made: AttemptMade, at_ms: int) -> bytes:
    """The record's value; ``at_ms``, in unix milliseconds, is when the attempt was over."""
    origin = made.record.origin
    said: dict[str, object] = {
        "at_ms": at_ms,
        "event": made.event.id,
        "type": made.event.type,
        "customer": made.event.customer_id,
        "endpoint": made.endpoint.id,
        "attempt": made.number,
        "seconds": round(made.seconds, 4),
    }
    if isinstance(made.attempt, Answered):
        said["status"] = made.attempt.status
    else:
        said |= {"failure": made.attempt.kind, "ours": made.attempt.ours}
    said |= told_of(made.outcome)
    said["origin"] = f"{origin.topic}:{origin.partition}:{origin.offset}"
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()


def told_of(outcome: Outcome) -> dict[str, object]:
    """The outcome as a word, and what belongs to it."""
    match outcome:
        case Done():
            return {"outcome": "delivered"}
        case Park():
            return {"outcome": "parked", "delay": outcome.delay}
        case Block():
            return {"outcome": "blocked", "blocked_seconds": outcome.seconds}
        case DeadLetter():
            return {"outcome": "dead_letter", "reason": outcome.reason}
        case Enqueue():
            return {"outcome": "enqueued"}
