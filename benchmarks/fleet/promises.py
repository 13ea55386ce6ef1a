"""What was promised of a fleet beside a careful stock worker, and whether it is so; pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.rebalance.table import Figures, medians


@dataclass(frozen=True, slots=True)
class Promise:
    """A figure and its bound."""

    column: str
    bound: float
    least: bool = False
    """Whether the bound is from below."""
    of_careful: bool = False
    """Whether it is a multiple of the careful worker's."""
    unit: str = ""


PROMISES = (
    Promise("deliveries/s", 1.5, least=True, of_careful=True, unit="x"),
    Promise("CPU each", 0.6, of_careful=True, unit="x"),
    Promise("MB", 55.0, unit=" MB"),
    Promise("idle", 0.4, unit=" %"),
    Promise("all ready", 20.0, unit=" s"),
    Promise("max/mean", 1.2),
)


def judged(rows: Mapping[str, Sequence[Figures] | str]) -> Iterator[str]:
    """A line for each promise that these rows can tell of."""
    found = {name: medians(row) for name, row in rows.items() if not isinstance(row, str)}
    ours, careful = found.get("ours", {}), found.get("careful", {})
    for promise in PROMISES:
        value = ours.get(promise.column)
        if promise.of_careful and value is not None:
            beside = careful.get(promise.column)
            value = value / beside if beside else None
        if value is None:
            continue
        kept = value >= promise.bound if promise.least else value <= promise.bound
        beside_careful = " of the careful worker's" if promise.of_careful else ""
        yield (
            f"{promise.column}: {value:.2f}{promise.unit}{beside_careful}, "
            f"{'at least' if promise.least else 'at most'} {promise.bound:g}{promise.unit} "
            f"wanted: {'kept' if kept else 'NOT KEPT'}"
        )
