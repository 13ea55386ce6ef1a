"""Decides which dead letters are meant, and which of them can be delivered again."""

import json
from dataclasses import dataclass, replace
from typing import get_args

from app_worker.dead_letters import StoredLetter
from webhook_worker.errors import BadEventReason

WHOLE_RECORDS = ("handler_error", "unknown_customer")
"""Reasons for which a letter about a whole record, not about one delivery of it, can be replayed:
its other deliveries, if any, would be repeated."""
TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Letters by endpoint, reason and time; what is None or empty leaves nothing out.

    ``without`` are places of letters that are not meant in any case.
    """

    endpoint: str | None = None
    reasons: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None
    """Unix milliseconds, of when it became a dead letter; ``until`` is excluded."""
    without: frozenset[str] = frozenset()

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out, but for single letters."""
        return replace(self, without=frozenset()) == Selection()

    def has(self, letter: StoredLetter) -> bool:
        """Whether this letter is meant."""
        return (
            (self.endpoint is None or letter.record.delivery == self.endpoint)
            and (not self.reasons or letter.reason in self.reasons)
            and (self.since_ms is None or letter.dead_at_ms >= self.since_ms)
            and (self.until_ms is None or letter.dead_at_ms < self.until_ms)
            and letter.place not in self.without
        )


def obstacle(letter: StoredLetter) -> str | None:
    """Why this letter cannot be delivered again, in a few words; None if it can."""
    if not letter.has_value or letter.reason == TOO_LARGE:
        return "too large to be parked"
    if letter.record.value is None or letter.reason in get_args(BadEventReason):
        return "no event"
    if letter.record.delivery is None and letter.reason not in WHOLE_RECORDS:
        return "about no single delivery"
    return None


def event_id_of(letter: StoredLetter) -> str:
    """The event's id for a person to see; empty if there is none to be read."""
    try:
        event = json.loads(letter.record.value or b"")
    except (ValueError, RecursionError):
        return ""
    found = event.get("id") if isinstance(event, dict) else None
    return found if isinstance(found, str) else ""
