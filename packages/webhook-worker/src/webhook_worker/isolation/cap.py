"""Decides how many attempts an endpoint may have at one time, by how it answers."""

FIRST = 2
"""Attempts at one time at an endpoint that nothing is known of."""


class Cap:
    """Additive increase and multiplicative decrease, with a slow start, as TCP does (RFC 5681)."""

    __slots__ = ("_allowed", "_decreased", "_most", "_peak", "_peak_before", "_round", "_threshold")

    def __init__(self, most: int) -> None:
        """Never above ``most``, and never below 1."""
        self._most = most
        self._allowed = float(min(FIRST, most))
        self._threshold = float(most)
        self._decreased = self._round = float("-inf")
        self._peak = self._peak_before = 0
        """The most in flight in this round of answers, and in the one before."""

    @property
    def allowed(self) -> int:
        """Attempts that may be made at one time."""
        return int(self._allowed)

    @property
    def is_full(self) -> bool:
        """Whether it cannot grow."""
        return self._allowed >= self._most

    def bound(self, most: int) -> None:
        """Its bound was configured anew."""
        if most != self._most:
            self._most, self._threshold = most, float(most)
            self._allowed = min(self._allowed, float(most))

    def begun(self, in_flight: int) -> None:
        """An attempt was begun, the last of so many."""
        self._peak = max(self._peak, in_flight)

    def answered(self, began: float, in_flight: int, now: float) -> None:
        """An attempt was answered and left so many in flight: grow, if the cap is made use of."""
        allowed, peak = self._allowed, max(self._peak, self._peak_before)
        if allowed < self._threshold:
            if allowed < 2 * peak:
                self._allowed = min(self._threshold, allowed + 1)
        elif peak >= int(allowed):
            self._allowed = min(self._most, allowed + 1 / allowed)
        if began >= self._round:
            self._round, self._peak_before, self._peak = now, self._peak, in_flight

    def failed(self, began: float, now: float) -> None:
        """An attempt failed: halve, once for all that were in flight together."""
        if began >= self._decreased:
            self._decreased = now
            self._allowed = max(1.0, self._allowed / 2)
            self._threshold = min(float(self._most), max(float(FIRST), self._allowed))
