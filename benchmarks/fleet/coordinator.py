"""The coordinator of a fleet's group beside the mean of the other brokers; pure."""

from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.fleet.connections import Totals
from benchmarks.rebalance.table import Column


class Phase(NamedTuple):
    """A time in which the traffic with the brokers is counted."""

    name: str
    per_second: bool = False

    @property
    def whats(self) -> tuple[str, str, str, str]:
        """What is told of the coordinator and of the others."""
        per = "/s" if self.per_second else ""
        return (f"requests{per}", "the others'", f"KB{per}", f"the others' KB{per}")


START, IDLE, AT_WORK = PHASES = (Phase("start"), Phase("idle", True), Phase("at work"))

COLUMNS = (
    *(
        Column(f"{phase.name}: {what}", "", 1 if phase.per_second else 0)
        for phase in PHASES
        for what in phase.whats
    ),
    Column("idle: its CPU", " %", 1),
    Column("idle: the others' CPU", " %", 1),
)


def beside(
    now: Totals | None,
    earlier: Totals | None,
    brokers: Iterable[int],
    coordinator: int,
    phase: Phase,
    seconds: float = 1.0,
) -> dict[str, float | None]:
    """What was exchanged in that phase with the coordinator, and with the others on the mean.

    ``brokers`` and ``coordinator`` are ports; None where nothing could be counted.
    """
    if now is None or earlier is None:
        return {}
    each = now.since(earlier, brokers)
    it, others = each.pop(coordinator), list(each.values())
    figures = (
        it.requests,
        sum(other.requests for other in others) / len(others),
        (it.sent + it.received) / 1e3,
        sum(other.sent + other.received for other in others) / len(others) / 1e3,
    )
    per = seconds if phase.per_second else 1.0
    return {
        f"{phase.name}: {what}": figure / per
        for what, figure in zip(phase.whats, figures, strict=True)
    }
