"""What a lane keeps back: records that a former owner of its partition may still finish."""

from collections.abc import Callable, Collection, Iterable

from app_worker.arrival import Arrival
from app_worker.handover.inherited import Inherited


class HeldRecords:
    """The holds of one lane, and those of their records that have been fetched.

    These take no place in flight and no room in the lane's buffer; they have as much room again.
    """

    __slots__ = ("_arrivals", "_gone", "bytes", "inherited", "since")

    def __init__(
        self, inherited: Inherited, since: float, gone: Callable[[int], object] = lambda _: None
    ) -> None:
        """``since`` is when they were taken over, in seconds, on the clock of hand-overs. ``gone``
        is told of how many the log turns out to have no record."""
        self.inherited = inherited
        self.since = since
        self.bytes = 0
        self._arrivals: dict[int, Arrival] = {}
        self._gone = gone

    def __len__(self) -> int:
        return len(self.inherited)

    def __contains__(self, offset: int) -> bool:
        return offset in self.inherited

    @property
    def fetched(self) -> int:
        """How many of them have been fetched."""
        return len(self._arrivals)

    def keep(self, arrival: Arrival) -> None:
        """A held record was fetched."""
        self._arrivals[arrival.record.offset] = arrival
        self.bytes += arrival.size

    def let_go(self, offset: int) -> Arrival | None:
        """It is held no longer. Return its record; None if that has not been fetched."""
        arrival = self._arrivals.pop(offset, None)
        if arrival is not None:
            self.bytes -= arrival.size
        return arrival

    def let_all_go(self) -> list[Arrival]:
        """Nothing is held any longer; return what has been fetched."""
        return [arrival for offset in sorted(self._arrivals) if (arrival := self.let_go(offset))]

    def pass_gone(self, position: int) -> None:
        """Everything below ``position`` has been fetched: end the holds of what is not there."""
        if gone := self.inherited.pass_gone(position, self._arrivals):
            self._gone(len(gone))


def with_one_more(runs: Iterable[tuple[int, int]], offset: int) -> Collection[tuple[int, int]]:
    """Return these ascending runs of offsets and one offset more, which is in none of them."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted((*runs, (offset, offset + 1))):
        first = merged.pop()[0] if merged and merged[-1][1] == start else start
        merged.append((first, end))
    return merged
