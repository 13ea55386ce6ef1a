"""What an attempt can come back with."""

import re
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

MAX_RETRY_AFTER_SECONDS = 7 * 86_400.0
"""Longer waits are read as this: it is beyond any delay that a schedule has."""
_MAX_DATE_CHARACTERS = 64

FailureKind = Literal[
    "dns", "connect", "tls", "timeout", "reset", "protocol", "blocked", "proxy", "internal"
]


class Answered(NamedTuple):
    """The receiver answered. Outside of 2xx the status is known and the body perhaps cut short."""

    status: int
    retry_after: float | None = None
    """Seconds that the receiver asks us to wait, 0 to MAX_RETRY_AFTER_SECONDS; not read for 2xx."""
    body_start: bytes = b""
    """The first bytes of the answer's body. They can repeat the payload: never log them."""

    def __repr__(self) -> str:
        """All but the body."""
        return f"Answered(status={self.status}, retry_after={self.retry_after})"

    @property
    def is_success(self) -> bool:
        """Whether the receiver has accepted the delivery: 2xx (RFC 9110, 15.3)."""
        return 200 <= self.status <= 299  # noqa: PLR2004 - the classes of HTTP


@dataclass(frozen=True, slots=True)
class Failed:
    """There was no answer."""

    kind: FailureKind
    detail: str
    """What happened, in a few words. No payload, no secret."""
    ours: bool = False
    """Whether the fault is on our side, so that the customer is not charged with it."""


Attempt = Answered | Failed


def parse_retry_after(value: str | None, now: float) -> float | None:
    """The wait, in seconds from ``now`` (unix seconds), that a Retry-After header asks for.

    Reads whole seconds and every form of an HTTP-date (RFC 9110, 10.2.3); None for anything else.
    """
    if value is None or len(value) > _MAX_DATE_CHARACTERS:
        return None
    text = value.strip(" \t")
    if re.fullmatch("[0-9]+", text):
        seconds = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
