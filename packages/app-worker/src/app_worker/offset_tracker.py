"""Knows, for one assignment of a partition, the offset below which every record is complete."""

from collections import deque
from itertools import compress


class OffsetTracker:
    """Records are opened in the order of the log and completed in any order.

    Offsets of a log have gaps (compaction, transaction markers), so what counts is which offsets
    were delivered, not that they follow each other. Every operation is O(1) amortised; memory is
    constant per record that is delivered but not committable.
    """

    __slots__ = ("_completed", "_delivered", "_position", "completions")

    def __init__(self, position: int | None = None) -> None:
        self._delivered: deque[int] = deque()
        self._completed: set[int] = set()
        self._position = position
        self.completions = 0
        """How many records have been completed."""

    @property
    def position(self) -> int | None:
        """Everything below it was delivered or is no record; None before anything is known."""
        return self._position

    @property
    def committable(self) -> int | None:
        """The offset below which every record is complete; None before anything is known."""
        return self._delivered[0] if self._delivered else self._position

    @property
    def span(self) -> int:
        """How many records were delivered from the oldest open one on."""
        return len(self._delivered)

    @property
    def open_count(self) -> int:
        """How many records were delivered and are not complete."""
        return len(self._delivered) - len(self._completed)

    @property
    def out_of_order(self) -> bool:
        """Whether any record above the committable offset is complete."""
        return bool(self._completed)

    def open(self, offset: int) -> None:
        """A record was delivered. Raises ValueError if it is not above all before it."""
        if self._position is not None and offset < self._position:
            raise ValueError(f"offset {offset} was delivered after position {self._position}")
        self._delivered.append(offset)
        self._position = offset + 1

    def complete(self, offset: int) -> None:
        """A record is complete. To be called once for each that was opened."""
        self.completions += 1
        delivered, completed = self._delivered, self._completed
        if delivered[0] != offset:
            completed.add(offset)
            return
        delivered.popleft()
        while delivered and delivered[0] in completed:
            completed.remove(delivered.popleft())

    def advance_to(self, position: int) -> None:
        """There are no more records to be delivered below ``position``; never goes back."""
        if self._position is None or position > self._position:
            self._position = position

    def completed_runs(self) -> list[tuple[int, int]]:
        """Offsets above the committable one whose records are complete, as half-open runs.

        Between two records that were delivered one after the other there is no third, so a gap
        parts nothing. Each commit asks: what is looked at record by record is left to C.
        """
        delivered = list(self._delivered)
        flags = int.from_bytes(bytes(map(self._completed.__contains__, delivered)), "little")
        firsts = (flags & ~(flags << 8)).to_bytes(len(delivered), "little")
        lasts = (flags & ~(flags >> 8)).to_bytes(len(delivered), "little")
        ends = zip(compress(delivered, firsts), compress(delivered, lasts), strict=True)
        return [(first, last + 1) for first, last in ends]
