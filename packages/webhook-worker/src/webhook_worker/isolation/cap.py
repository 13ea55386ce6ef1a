"""Decides how many attempts an endpoint may have at one time, by how it answers."""

FIRST = 2
"""Attempts at one time at an endpoint that nothing is known of."""


class Cap:
    """Additive increase and multiplicative decrease, with a slow start, as TCP does (RFC 5681)."""

    __slots__ = (
        "_decreased",
        "_exactly",
        "_most",
        "_peak",
        "_peak_before",
        "_round",
        "_threshold",
        "allowed",
    )

    def __init__(self, most: int) -> None:
        """Never above ``most``, and never below 1."""
        self._most = most
        self._allow(float(min(FIRST, most)))
        self._threshold = float(most)
        self._decreased = self._round = float("-inf")
        self._peak = self._peak_before = 0
        """The most in flight in this round of answers, and in the one before."""

    @property
    def is_full(self) -> bool:
        """Whether it cannot grow."""
        return self._exactly >= self._most

    def bound(self, most: int) -> None:
        """Its bound was configured anew."""
        if most != self._most:
            self._most, self._threshold = most, float(most)
            self._allow(min(self._exactly, float(most)))

    def begun(self, in_flight: int) -> None:
        """An attempt was begun, the last of so many."""
        self._peak = max(self._peak, in_flight)

    def answered(self, began: float, in_flight: int, now: float) -> None:
        """An attempt was answered and left so many in flight: grow, if the cap is made use of."""
        exactly, peak = self._exactly, max(self._peak, self._peak_before)
        if exactly < self._threshold:
            if exactly < 2 * peak:
                self._allow(min(self._threshold, exactly + 1))
        elif peak >= self.allowed and exactly < self._most:
            self._allow(min(self._most, exactly + 1 / exactly))
        if began >= self._round:
            self._round, self._peak_before, self._peak = now, self._peak, in_flight

    def failed(self, began: float, now: float) -> None:
        """An attempt failed: halve, once for all that were in flight together."""
        if began >= self._decreased:
            self._decreased = now
            self._allow(max(1.0, self._exactly / 2))
            self._threshold = min(float(self._most), max(float(FIRST), self._exactly))

    def _allow(self, exactly: float) -> None:
        self._exactly = exactly
        self.allowed = int(exactly)
        """Attempts that may be made at one time."""
