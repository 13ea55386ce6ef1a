"""The account of a drill, drawn up from what was sent and what arrived; pure."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from deploy.demo.ledger import percentile
from deploy.drill.notes import Note

LATE_SECONDS = 1.0
COMMITTED_AFTER_SECONDS = 1.0
"""What was answered longer before a crash than this is committed, and must not come again."""


class Sent(NamedTuple):
    """An event that the brokers acknowledged."""

    number: int
    partition: int
    at_ns: int
    """When it was produced, in unix nanoseconds."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, in unix nanoseconds."""

    start_ns: int
    end_ns: int

    def __contains__(self, at_ns: int) -> bool:
        return self.start_ns <= at_ns < self.end_ns


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of the events that were produced in a window."""

    events: int
    lost: int
    repeated: int
    """Arrivals beyond the first."""
    unexplained: int
    """Those of them whose first arrival had been answered long before any crash, or without one."""
    late: int
    """Events whose first arrival was more than a second after they were produced."""
    worst_seconds: float | None
    p99_seconds: float | None
    least_in_time: float | None
    """In each second that many of the events produced in it arrived in time; the least share."""
    longest_silence: float | None
    """On the partitions that were not touched: how long events waited and none arrived."""

    @property
    def late_share(self) -> float:
        """Part of all."""
        return self.late / self.events if self.events else 0.0


class Account:
    """All that was sent and all that arrived."""

    def __init__(self, sent: Iterable[Sent], notes: Iterable[Note]) -> None:
        self._sent = sorted(sent, key=lambda each: each.at_ns)
        self._arrived: defaultdict[int, list[int]] = defaultdict(list)
        self._answered: dict[int, int] = {}
        for note in sorted(notes, key=lambda each: each.at_ns):
            if note.answered:
                self._answered.setdefault(note.number, note.at_ns)
            else:
                self._arrived[note.number].append(note.at_ns)

    @property
    def lost(self) -> int:
        """Acknowledged events that never arrived."""
        return sum(each.number not in self._arrived for each in self._sent)

    def figures(
        self, window: Window, untouched: Collection[int], crashes_ns: Sequence[int] = ()
    ) -> Figures:
        """The events produced in the window; ``crashes_ns`` is when processes were killed."""
        sent = [each for each in self._sent if each.at_ns in window]
        delays = sorted(
            (self._arrived[each.number][0] - each.at_ns) / 1e9
            for each in sent
            if each.number in self._arrived
        )
        again = [each.number for each in sent for _ in self._arrived.get(each.number, ())[1:]]
        return Figures(
            events=len(sent),
            lost=sum(each.number not in self._arrived for each in sent),
            repeated=len(again),
            unexplained=sum(not self._is_explained(number, crashes_ns) for number in again),
            late=sum(delay > LATE_SECONDS for delay in delays),
            worst_seconds=delays[-1] if delays else None,
            p99_seconds=percentile(delays, 99),
            least_in_time=self._least_in_time(sent),
            longest_silence=self._longest_silence([s for s in sent if s.partition in untouched]),
        )

    def deliveries_by_second(self) -> Counter[int]:
        """First arrivals in each unix second."""
        return Counter(times[0] // 1_000_000_000 for times in self._arrived.values())

    def _is_explained(self, number: int, crashes_ns: Sequence[int]) -> bool:
        """Whether it was in flight at a crash, or answered since the last commit before it."""
        first = self._arrived[number][0]
        answered = self._answered.get(number)
        spared_ns = round(COMMITTED_AFTER_SECONDS * 1e9)
        return any(
            first <= crash and (answered is None or answered > crash - spared_ns)
            for crash in crashes_ns
        )

    def _least_in_time(self, sent: Sequence[Sent]) -> float | None:
        seconds: defaultdict[int, list[bool]] = defaultdict(list)
        for each in sent:
            times = self._arrived.get(each.number)
            in_time = bool(times) and times[0] - each.at_ns <= LATE_SECONDS * 1e9  # type: ignore[index]
            seconds[each.at_ns // 1_000_000_000].append(in_time)
        # The first and the last second are parts of one.
        whole = [seconds[second] for second in sorted(seconds)[1:-1]]
        return min((sum(each) / len(each) for each in whole), default=None)

    def _longest_silence(self, sent: Sequence[Sent]) -> float | None:
        """A silence begins with the last arrival, or when the oldest that waits was produced."""
        by_partition: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for each in sent:
            if each.number in self._arrived:
                arrived = self._arrived[each.number][0]
                by_partition[each.partition].append((arrived, each.at_ns))
        silences = [_silence(sorted(pairs)) for pairs in by_partition.values()]
        return max(silences, default=None)


def _silence(arrivals: Sequence[tuple[int, int]]) -> float:
    """Of arrivals in order of time, each with the time its event was produced; seconds."""
    waiting_since: list[int] = []
    for _, produced in reversed(arrivals):
        waiting_since.append(min(produced, waiting_since[-1]) if waiting_since else produced)
    waiting_since.reverse()
    longest, previous = 0, 0
    for (arrived, _), since in zip(arrivals, waiting_since, strict=True):
        longest = max(longest, arrived - max(previous, since))
        previous = arrived
    return longest / 1e9
