"""Medians of repetitions, and the table of all clients with ratios to ours; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Figures = Mapping[str, float | None]
"""What one repetition measured, by column; None where there was nothing to measure."""

BASELINE = "ours"


@dataclass(frozen=True, slots=True)
class Column:
    """How a figure is shown."""

    name: str
    unit: str = ""
    digits: int = 0
    ratio: bool = True
    """Whether it is compared with ours."""

    def show(self, value: float | None, base: float | None) -> str:
        """The cell; a ratio follows where both sides have a value that is more than nothing."""
        if value is None:
            return "-"
        text = f"{value:,.{self.digits}f}{self.unit}"
        if self.ratio and base and value:
            text += f" ({value / base:.2g}x)"
        return text


def medians(repetitions: Sequence[Figures]) -> dict[str, float | None]:
    """The median of each column over the repetitions that have a value there."""
    columns = dict.fromkeys(name for figures in repetitions for name in figures)
    return {name: _median([figures.get(name) for figures in repetitions]) for name in columns}


def _median(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return median(present) if present else None


def render(columns: Sequence[Column], rows: Mapping[str, Sequence[Figures] | str]) -> str:
    """A table in Markdown: a row for each client, or in one cell why it has no figures."""
    lines = [
        "| client | " + " | ".join(column.name for column in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    ours = rows.get(BASELINE)
    base = {} if ours is None or isinstance(ours, str) else medians(ours)
    for client, found in rows.items():
        if isinstance(found, str):
            cells = [found, *[""] * (len(columns) - 1)]
        else:
            against = {} if client == BASELINE else base
            middle = medians(found)
            cells = [c.show(middle.get(c.name), against.get(c.name)) for c in columns]
        lines.append(f"| {client} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
