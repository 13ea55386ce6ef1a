"""Decides how long to pause before what has failed is tried again."""

from typing import NamedTuple

MOST_DOUBLINGS = 20


class Backoff(NamedTuple):
    """A pause that doubles with each failure in a row, from ``first`` to ``longest`` seconds."""

    first: float
    longest: float

    def seconds(self, failures: int, jitter: float = 0.0) -> float:
        """The pause after so many failures (1 is the first); ``jitter`` is from 0 to 1.

        Jitter takes off up to a half, so that what failed together is not tried again together.
        """
        doubled = self.first * 2.0 ** min(failures - 1, MOST_DOUBLINGS)
        return min(doubled, self.longest) * (1 - jitter / 2)
