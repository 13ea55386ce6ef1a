"""A dashboard as values: a board of rows of panels, each with its queries."""

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

Kind = Literal["stat", "timeseries", "bargauge"]
Colour = Literal["green", "orange", "red"]


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, and what its series are called: ``{{label}}`` stands for a label's value."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture. Its title says what it shows, its description what is good."""

    kind: Kind
    title: str
    description: str
    queries: tuple[Query, ...]
    _: KW_ONLY
    unit: str = "short"
    """Grafana's name of a unit, such as ``s``, ``bytes``, ``percentunit`` or ``reqps``."""
    width: int
    """In 24ths of the board."""
    decimals: int | None = None
    limits: tuple[tuple[float, Colour], ...] = ()
    """From which value on it has which colour; green below the first."""
    words: Mapping[int, tuple[str, Colour]] | None = None
    """What is shown instead of a value."""
    stacked: bool = False
    text: Literal["value", "name", "value_and_name"] = "value"
    """What a ``stat`` shows of its series."""


def stat(title: str, description: str, *queries: Query, width: int = 6, **options: Any) -> Panel:
    """One figure, of now; ``options`` are fields of the panel."""
    return Panel("stat", title, description, queries, width=width, **options)


def bars(title: str, description: str, *queries: Query, width: int = 6, **options: Any) -> Panel:
    """A bar for each series, of now; ``options`` are fields of the panel."""
    return Panel("bargauge", title, description, queries, width=width, **options)


def timeseries(
    title: str, description: str, *queries: Query, width: int = 8, **options: Any
) -> Panel:
    """A line for each series; ``options`` are fields of the panel."""
    return Panel("timeseries", title, description, queries, width=width, **options)


@dataclass(frozen=True, slots=True)
class Row:
    """A question, and the panels that answer it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of the board: the values of one label."""

    name: str
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard. ``uid`` is its address in Grafana, and the name of its file."""

    uid: str
    title: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]

    def queries(self) -> Iterable[tuple[str, Query]]:
        """Each query, with the title of its panel."""
        for row in self.rows:
            for panel in row.panels:
                for query in panel.queries:
                    yield panel.title, query
