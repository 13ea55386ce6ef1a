"""The account of a run, drawn up from its notes: silences, lateness, repeats, losses; pure."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.rebalance.notes import Kind, Note
from deploy.demo.ledger import percentile

Key = tuple[int, int]
"""A record: its partition and offset."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, in ns of the monotonic clock."""

    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end_ns - self.start_ns) / 1e9

    def __contains__(self, at_ns: int) -> bool:
        return self.start_ns <= at_ns < self.end_ns


class Account:
    """All notes of one run, sorted once."""

    def __init__(self, notes: Iterable[Note]) -> None:
        self.produced: dict[Key, int] = {}
        """When each acknowledged record was produced."""
        self.begun: dict[Key, list[int]] = defaultdict(list)
        """When the handling of each record began; more than once if it was repeated."""
        self._begins: dict[int, list[int]] = defaultdict(list)
        self._others: list[Note] = []
        self.add(notes)

    def add(self, notes: Iterable[Note]) -> None:
        """Add notes, in any order."""
        for note in notes:
            if note.kind == Kind.BEGAN:
                self.begun[note.partition, note.offset].append(note.at_ns)
                self._begins[note.partition].append(note.at_ns)
            elif note.kind == Kind.PRODUCED:
                self.produced[note.partition, note.offset] = note.produced_ns
            else:
                self._others.append(note)
        for times in self._begins.values():
            times.sort()

    @property
    def missing(self) -> int:
        """How many acknowledged records have not been begun."""
        return len(self.produced.keys() - self.begun.keys())

    def count(
        self, kinds: Collection[Kind], window: Window, partitions: Collection[int] | None = None
    ) -> int:
        """How many such notes there are of that time (and of these partitions)."""
        return sum(
            note.kind in kinds
            and note.at_ns in window
            and (partitions is None or note.partition in partitions)
            for note in self._others
        )

    def longest_silence(self, partitions: Collection[int], window: Window) -> float | None:
        """The longest of the silences of these partitions; None if there are none of these."""
        found = silences({p: self._begins[p] for p in partitions}, window, self.end_ns)
        return max(found.values(), default=None)

    @property
    def end_ns(self) -> int:
        """When the last handling began."""
        return max((times[-1] for times in self._begins.values() if times), default=0)

    def lateness(self, window: Window, late_after_seconds: float = 1.0) -> "Lateness":
        """The account of the records that were produced in that time."""
        keys = [key for key, produced in self.produced.items() if produced in window]
        times = [self.begun.get(key, []) for key in keys]
        delays = sorted(
            (min(at) - self.produced[key]) / 1e9 for key, at in zip(keys, times, strict=True) if at
        )
        late = [delay for delay in delays if delay > late_after_seconds]
        late_of = {
            key[0]
            for key, at in zip(keys, times, strict=True)
            if at and (min(at) - self.produced[key]) / 1e9 > late_after_seconds
        }
        return Lateness(
            records=len(keys),
            late=len(late),
            partitions=len(late_of),
            p50=percentile(delays, 50),
            p99=percentile(delays, 99),
            worst=max(delays, default=None),
            repeated=sum(max(0, len(at) - 1) for at in times),
            lost=sum(not at for at in times),
        )

    def first_begin_of_last_partition(self, partitions: int) -> int | None:
        """When every one of so many partitions had a record begun; None if that never was."""
        firsts = [times[0] for times in self._begins.values() if times]
        return max(firsts) if len(firsts) == partitions else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How late the handling of records began. Delays are seconds from production to begin."""

    records: int
    late: int
    partitions: int
    """How many partitions had a late record."""
    p50: float | None
    p99: float | None
    worst: float | None
    repeated: int
    """Begins beyond the first of a record."""
    lost: int
    """Never begun. They are in no other figure."""

    @property
    def late_percent(self) -> float | None:
        """Of the records; None if there were none."""
        return 100 * self.late / self.records if self.records else None


def silences(begins: Mapping[int, Sequence[int]], window: Window, end_ns: int) -> dict[int, float]:
    """The longest time in seconds, for each partition, in which no handling began.

    Of the silences that reach into the window the whole length counts, also what is outside. A
    partition that never begins again is silent until `end_ns`, the end of the run.
    """
    return {partition: _longest(times, window, end_ns) for partition, times in begins.items()}


def _longest(ascending: Sequence[int], window: Window, end_ns: int) -> float:
    edges = [*ascending, max(end_ns, window.end_ns)]
    if not ascending or ascending[0] > window.start_ns:
        edges.insert(0, window.start_ns)
    gaps = (
        later - earlier
        for earlier, later in pairwise(edges)
        if later > window.start_ns and earlier < window.end_ns
    )
    return max(gaps, default=0) / 1e9
