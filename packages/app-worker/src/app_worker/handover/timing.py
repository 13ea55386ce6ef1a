"""How long a delivery is held, and by when its former owner must have done what: in seconds.

Each side counts on its own clock, from a moment that the other one's cannot be later than: no two
clocks are compared. The former owner's must go on while the machine is suspended.
"""

from app_worker.holds import LONGEST_SECONDS

OPENED_SECONDS = 1.0
"""How long the word that a release begins may take; after that the partition is drained."""

STORE_SECONDS = 2.0
"""That storing the last outcome of an attempt may take."""

WORD_SECONDS = 2.0
"""That writing the word about it may take."""

MARGIN_SECONDS = 1.0
"""Between the moment by which the former owner is done and the one when others may begin."""

AFTER_ATTEMPT_SECONDS = STORE_SECONDS + WORD_SECONDS + MARGIN_SECONDS

LONGEST_ATTEMPT_SECONDS = LONGEST_SECONDS - AFTER_ATTEMPT_SECONDS
"""A handler that may take longer cannot have its work handed over: no hold is read as longer."""

CATCH_UP_SECONDS = 30.0
"""How long a hold whose time has passed waits for words that cannot be read."""


def held_until(frozen_at: float, attempt_left: float) -> float:
    """When others may begin, if what is in flight may go on for ``attempt_left`` at most."""
    return frozen_at + attempt_left + AFTER_ATTEMPT_SECONDS


def send_by(until: float) -> float:
    """When the last byte of a request may begin to be sent."""
    return until - AFTER_ATTEMPT_SECONDS


def settle_by(until: float) -> float:
    """When the former owner gives up what it has not told of."""
    return until - MARGIN_SECONDS


def seconds_left(until: float, now: float) -> float:
    """What a commit says of it."""
    return max(0.0, until - now)


def opens_at(asked_at: float, seconds: float) -> float:
    """When the hold's time has passed, on the clock of who asked for the commit at ``asked_at``.

    It was committed before that, and ``seconds`` was what was left then.
    """
    return asked_at + seconds
