"""What part of a topic's partitions a process owns."""


class Share:
    """Kept up to date by the worker, read by whoever divides a limit of the whole fleet."""

    def __init__(self) -> None:
        self._owned = 0
        self._all = 1

    def set(self, owned: int, of_all: int) -> None:
        """So many partitions of so many are owned now."""
        self._owned, self._all = owned, max(of_all, owned, 1)

    @property
    def fraction(self) -> float:
        """From 0 (excluded) to 1. Who owns none, and still has parked records, has one's part."""
        return max(self._owned, 1) / self._all
