"""Moments as people read them."""

from datetime import UTC, datetime


def time_of(milliseconds: int) -> str:
    """Unix milliseconds as people read them."""
    try:
        moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(milliseconds)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
