"""The account of a drill, drawn up from what was sent and what arrived; pure."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from deploy.demo.ledger import percentile
from deploy.drill.notes import Note

LATE_SECONDS = 1.0
COMMITTED_AFTER_SECONDS = 1.0
"""What was answered longer before a crash than this is committed, and must not come again."""
MOST_SECONDS_TOLD = 10
READ_AFTER_SECONDS = 1.0
"""So much later a busy receiver may read what a process had sent before it was killed."""


class Sent(NamedTuple):
    """An event that the brokers acknowledged."""

    number: int
    partition: int
    at_ns: int
    """When it was produced, in unix nanoseconds."""
    acknowledged_ns: int
    """From when on a consumer could have it: all replicas in sync did."""


class Crash(NamedTuple):
    """Workers were ended or stopped without a chance to commit; unix nanoseconds."""

    began_ns: int
    over_ns: int
    """By when it had happened to all of them."""
    partitions: frozenset[int]
    """What they owned: nothing else may come again for it."""


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
    """Events that were never answered: that one arrived is not yet a delivery."""
    repeated: int
    """Arrivals beyond the first."""
    unexplained: Mapping[str, int]
    """Those of them beyond one for each crash that had it in flight, or not yet committed, by what
    is wrong about them."""
    late: int
    """Events whose first arrival was more than a second after they were produced."""
    worst_seconds: float | None
    p99_seconds: float | None
    least_in_time: float | None
    """In each second that many of the events produced in it arrived in time; the least share."""
    longest_silence: float | None
    """On the partitions that were not touched: how long events waited and none arrived."""
    slowest_resumption: float | None = None
    """The same, counted from a new leader, on the partitions that got one."""

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
        """Acknowledged events that were never answered."""
        return sum(each.number not in self._answered for each in self._sent)

    def figures(
        self,
        window: Window,
        untouched: Collection[int],
        crashes: Sequence[Crash] = (),
        led_anew_ns: Mapping[int, int] = MappingProxyType({}),
    ) -> Figures:
        """The events produced in the window; by partition, when a new leader was seen."""
        sent = [each for each in self._sent if each.at_ns in window]
        delays = sorted(
            (self._arrived[each.number][0] - each.at_ns) / 1e9
            for each in sent
            if each.number in self._arrived
        )
        again = [each for each in sent if len(self._arrived.get(each.number, ())) > 1]
        return Figures(
            events=len(sent),
            lost=sum(each.number not in self._answered for each in sent),
            repeated=sum(len(self._arrived[each.number]) - 1 for each in again),
            unexplained=sum((self._unexplained(each, crashes) for each in again), Counter[str]()),
            late=sum(delay > LATE_SECONDS for delay in delays),
            worst_seconds=delays[-1] if delays else None,
            p99_seconds=percentile(delays, 99),
            least_in_time=self._least_in_time(sent),
            longest_silence=self._longest_silence(sent, dict.fromkeys(untouched, 0)),
            slowest_resumption=self._longest_silence(sent, led_anew_ns),
        )

    def deliveries_by_second(self) -> Counter[int]:
        """First arrivals in each unix second."""
        return Counter(times[0] // 1_000_000_000 for times in self._arrived.values())

    def _unexplained(self, event: Sent, crashes: Sequence[Crash]) -> Counter[str]:
        """How often it came again, beyond once for each crash that can be the reason, and why not.

        A crash of a later step counts as well: what was in flight may have been sent long before.
        """
        first, *again = self._arrived[event.number]
        answered = self._answered.get(event.number)
        complaints = [_complaint(crash, event.partition, first, answered) for crash in crashes]
        reasons = complaints.count(None)
        beyond = max(0, len(again) - reasons)
        told = zip(crashes, complaints, strict=True)
        followed = [why for crash, why in told if crash.over_ns >= first]
        said = next(filter(None, [*followed, *reversed(complaints)]), "without a crash")
        return Counter({("once more for one crash" if reasons else said): beyond} if beyond else {})

    def _least_in_time(self, sent: Sequence[Sent]) -> float | None:
        seconds: defaultdict[int, list[bool]] = defaultdict(list)
        for each in sent:
            times = self._arrived.get(each.number)
            in_time = bool(times) and times[0] - each.at_ns <= LATE_SECONDS * 1e9  # type: ignore[index]
            seconds[each.at_ns // 1_000_000_000].append(in_time)
        # The first and the last second are parts of one.
        whole = [seconds[second] for second in sorted(seconds)[1:-1]]
        return min((sum(each) / len(each) for each in whole), default=None)

    def _longest_silence(self, sent: Sequence[Sent], since_ns: Mapping[int, int]) -> float | None:
        """The longest on these partitions, each from its time on."""
        by_partition: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for each in sent:
            if each.partition in since_ns and each.number in self._arrived:
                arrived = self._arrived[each.number][0]
                by_partition[each.partition].append((arrived, each.acknowledged_ns))
        silences = [_silence(sorted(pairs), since_ns[here]) for here, pairs in by_partition.items()]
        return max(silences, default=None)


def _complaint(crash: Crash, partition: int, first_ns: int, answered_ns: int | None) -> str | None:
    """Why a crash does not explain that an event came again; None if it does."""
    if partition not in crash.partitions:
        return "on a partition that the crash did not concern"
    if first_ns > crash.over_ns + READ_AFTER_SECONDS * 1e9:
        return "first sent after the crash"
    if answered_ns is None or answered_ns > crash.began_ns - COMMITTED_AFTER_SECONDS * 1e9:
        return None
    before = min(MOST_SECONDS_TOLD, (crash.began_ns - answered_ns) // 1_000_000_000)
    return f"answered {before} s or more before the crash"


def _silence(arrivals: Sequence[tuple[int, int]], since_ns: int) -> float:
    """Of arrivals in order of time, each with the time its event could be had from; seconds.

    It begins with the arrival before, or when the oldest event that waits could be had.
    """
    waiting_since: list[int] = []
    for _, could_be_had in reversed(arrivals):
        oldest = min(could_be_had, waiting_since[-1]) if waiting_since else could_be_had
        waiting_since.append(oldest)
    waiting_since.reverse()
    longest, previous = 0, since_ns
    for (arrived, _), since in zip(arrivals, waiting_since, strict=True):
        longest = max(longest, arrived - max(previous, since))
        previous = max(previous, arrived)
    return longest / 1e9
