"""Decides when the next attempt at an endpoint with a rate limit may be made."""

BURST_SECONDS = 1.0
"""What was not used of so long may be made up for at once; one attempt in any case."""


class Pace:
    """A virtual schedule (GCRA, as in ITU-T I.371): one number for each endpoint."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = float("-inf")
        """When the next attempt would be made if all kept strictly to the rate."""

    def wait(self, rate: float, now: float, before: int = 0) -> float:
        """Seconds until another attempt fits into ``rate``, in attempts a second; 0 if it does.

        So many others may be made at any time ``before`` it.
        """
        tolerance = max(0.0, BURST_SECONDS - 1 / rate)
        return max(0.0, max(self._next, now) + before / rate - tolerance - now)

    def take(self, rate: float, now: float) -> None:
        """An attempt is made."""
        self._next = max(self._next, now) + 1 / rate

    def is_idle(self, now: float) -> bool:
        """Whether there is nothing to remember."""
        return self._next <= now
