"""Decides what an attempt leads to: delivered, parked for a later one, or given up."""

from functools import lru_cache
from typing import Literal

from app_worker.delays import DelaySchedule
from app_worker.handler import DeadLetter, Done, Outcome, Park
from app_worker.record import Record
from webhook_worker.attempt import Answered, Attempt
from webhook_worker.retry import next_delay, postponed_delay

PostponedReason = Literal["circuit_open", "endpoint_busy", "rate_limited"]
"""Why no attempt is made."""

GONE = 410
MOST_SAID_CHARACTERS = 200
"""How much of an answer goes into the detail of its outcome."""


def outcome_of(
    attempt: Attempt,
    endpoint_id: str,
    attempts: int,
    schedule: DelaySchedule,
    *,
    postponed: int = 0,
) -> Outcome:
    """The outcome of a delivery after so many attempts, this one included.

    Only 2xx is delivered: a redirect is not followed, so it is a failure. 410 says that nobody
    wants it any more, so it is given up at once; all else is tried again until the schedule ends.
    What failed by our own fault is postponed, as it was ``postponed`` times in a row before.
    """
    if not isinstance(attempt, Answered):
        detail = f"{attempt.kind}: {attempt.detail}"
        if attempt.ours:
            charged = attempts - 1
            delay = postponed_delay(schedule, charged, postponed + 1, 0.0)
            if delay is None:
                return _postponed_too_often(endpoint_id, charged, postponed, detail)
            return Park(endpoint_id, charged, delay, attempt.kind, detail, postponed + 1)
        return park_or_give_up(endpoint_id, attempts, schedule, attempt.kind, detail)
    if attempt.is_success:
        return done(endpoint_id)
    said = _one_line(attempt.body_start)
    detail = f"status {attempt.status}: {said}" if said else f"status {attempt.status}"
    if attempt.status == GONE:
        return DeadLetter(endpoint_id, attempts, "gone", detail)
    return park_or_give_up(
        endpoint_id, attempts, schedule, "status", detail, retry_after=attempt.retry_after
    )


done = lru_cache(4096)(Done)
# A frozen value, and nearly every outcome is one.


def park_or_give_up(
    endpoint_id: str,
    attempts: int,
    schedule: DelaySchedule,
    reason: str,
    detail: str,
    *,
    retry_after: float | None = None,
) -> Park | DeadLetter:
    """Park the delivery for ``reason``; dead-letter it as ``exhausted`` at the schedule's end."""
    delay = next_delay(schedule, attempts, retry_after)
    if delay is None:
        return DeadLetter(endpoint_id, attempts, "exhausted", detail)
    return Park(endpoint_id, attempts, delay, reason, detail)


def postpone(
    endpoint_id: str,
    record: Record,
    schedule: DelaySchedule,
    reason: PostponedReason,
    seconds: float,
    chance: float,
) -> Park | DeadLetter:
    """Park the delivery without an attempt, and charge none; it should wait ``seconds`` at least.

    ``chance``, from 0 to 1 (excluded), spreads what waits for a rate limit over time. What was
    postponed too often is given up as ``exhausted``.
    """
    postponed = record.postponed + 1
    spread_by = chance if reason == "rate_limited" else None
    delay = postponed_delay(schedule, record.attempts, postponed, seconds, spread_by)
    if delay is None:
        return _postponed_too_often(endpoint_id, record.attempts, record.postponed, reason)
    return Park(endpoint_id, record.attempts, delay, reason, "no attempt was made", postponed)


def _postponed_too_often(endpoint_id: str, attempts: int, times: int, why: str) -> DeadLetter:
    detail = f"postponed {times} times in a row, the last time as {why}"
    return DeadLetter(endpoint_id, attempts, "exhausted", detail)


def _one_line(body: bytes) -> str:
    """The start of an answer as one line that is safe to show."""
    shown = printable(body.decode(errors="replace"))
    return " ".join(shown.split())[:MOST_SAID_CHARACTERS]


def printable(text: str) -> str:
    """The same with spaces for what a terminal or a log could take for more than a character."""
    return "".join(character if character.isprintable() else " " for character in text)
