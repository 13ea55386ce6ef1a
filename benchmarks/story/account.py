"""What a fleet delivered in each second, and for how long it stood still; pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from benchmarks.rebalance.table import Column
from deploy.drill.account import Account, Sent, Window
from deploy.drill.notes import Note

LEAST_OVER_SECONDS = 10
COLUMNS = (
    Column("deliveries/s", "", 0),
    Column("least over 10 s", "", 0),
    Column("stood still", " s", 0, ratio=False),
    Column("of it after the death", " s", 0, ratio=False),
    Column("of it after the frost", " s", 0, ratio=False),
    Column("below half the rate", " s", 0, ratio=False),
    Column("most backlog", "", 0),
    Column("late", " %", 1),
    Column("p99", " s", 1),
    Column("worst", " s", 1),
    Column("repeated", "", 0, ratio=False),
    Column("lost", "", 0, ratio=False),
    Column("no stable group", " s", 0, ratio=False),
    Column("whole after", " s", 0, ratio=False),
    Column("died", "", 0, ratio=False),
)


@dataclass(frozen=True, slots=True)
class Parts:
    """Unix seconds in which the traffic began, a pod died, a pod froze, the traffic ended."""

    began: int
    death: int
    frost: int
    ended: int


def figures(
    sent: Sequence[Sent], notes: Sequence[Note], parts: Parts, rate: int
) -> dict[str, float | None]:
    """Of the whole seconds of the traffic; what is answered later is late, not lost."""
    account = Account(sent, notes)
    arrived = account.deliveries_by_second()
    seconds = range(parts.began + 1, parts.ended)
    still = [second for second in seconds if not arrived[second]]
    everything = account.figures(Window(0, 1 << 63), ())
    return {
        "deliveries/s": sum(arrived[second] for second in seconds) / max(1, len(seconds)),
        "least over 10 s": min(_sliding(arrived, seconds), default=None),
        "stood still": len(still),
        "of it after the death": sum(parts.death <= second < parts.frost for second in still),
        "of it after the frost": sum(second >= parts.frost for second in still),
        "below half the rate": sum(arrived[second] < rate / 2 for second in seconds),
        "most backlog": max(backlog(sent, arrived, seconds), default=0),
        "late": 100 * everything.late_share,
        "p99": everything.p99_seconds,
        "worst": everything.worst_seconds,
        "repeated": everything.repeated,
        "lost": everything.lost,
    }


def _sliding(arrived: Mapping[int, int], seconds: range) -> Iterator[float]:
    for begin in seconds[: len(seconds) - LEAST_OVER_SECONDS + 1]:
        within = range(begin, begin + LEAST_OVER_SECONDS)
        yield sum(arrived[second] for second in within) / LEAST_OVER_SECONDS


def backlog(sent: Sequence[Sent], arrived: Mapping[int, int], seconds: range) -> list[int]:
    """At the end of each second: events that were produced and have not arrived."""
    produced = Counter(each.at_ns // 1_000_000_000 for each in sent)
    more = (produced[second] - arrived.get(second, 0) for second in seconds)
    before = sum(count for second, count in produced.items() if second < seconds.start)
    before -= sum(count for second, count in arrived.items() if second < seconds.start)
    return list(accumulate(more, initial=before))[1:]
