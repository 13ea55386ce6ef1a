"""Decides whether an endpoint that fails is to be tried at all: a circuit breaker."""

FAILURES = 3
"""So many in a row open the circuit."""
FIRST_OPEN_SECONDS = 5.0
LONGEST_OPEN_SECONDS = 300.0
MOST_JITTER = 0.2


class Breaker:
    """Closed, then open for a while that grows from probe to probe, then half-open for one probe.

    Times are on one clock, in seconds.
    """

    __slots__ = ("_failures", "_open_until", "_opened", "_opens", "is_closed")

    def __init__(self) -> None:
        self.is_closed = True
        """Whether attempts may be made as if nothing was wrong."""
        self._failures = 0
        self._opens = 0
        self._opened = float("-inf")
        self._open_until = float("-inf")

    @property
    def is_spotless(self) -> bool:
        """Whether there is nothing to remember."""
        return not self._failures

    def seconds_open(self, now: float) -> float:
        """How long no attempt may be made; 0 if one may, which is a probe unless it is closed."""
        return max(0.0, self._open_until - now) if self._opens else 0.0

    def answered(self) -> bool:
        """The endpoint has answered: close. Return whether that changed anything."""
        was_closed = self.is_closed
        self._failures = self._opens = 0
        self.is_closed = True
        return not was_closed

    def failed(self, began: float, now: float, jitter: float) -> bool:
        """An attempt that began then has failed; ``jitter`` is from 0 to 1.

        Return whether it opened the circuit. What began before that opens it no longer.
        """
        if began < self._opened:
            return False
        self._failures += 1
        if self._failures < FAILURES:
            return False
        seconds = min(LONGEST_OPEN_SECONDS, FIRST_OPEN_SECONDS * 2.0 ** min(self._opens, 16))
        self._opens += 1
        self.is_closed = False
        self._opened = now
        self._open_until = now + seconds * (1 + MOST_JITTER * jitter)
        return True
