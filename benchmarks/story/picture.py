"""The drill's picture of each fleet, one below the other, all on one scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from deploy.drill.timeline import HEIGHT, LEFT, WIDTH, drawn

GAP = 40


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happened to one fleet; times are unix nanoseconds, arrivals by unix second."""

    owned: Sequence[tuple[int, Mapping[int, str]]]
    arrivals: Mapping[int, int]
    marks: Sequence[tuple[int, str]]


def stacked(timelines: Mapping[str, Timeline], partitions: int) -> str:
    """An SVG picture of several, each with its title."""
    most = max((max(each.arrivals.values(), default=0) for each in timelines.values()), default=0)
    parts = []
    for number, (title, told) in enumerate(timelines.items()):
        y = number * (HEIGHT + GAP)
        picture = drawn(told.owned, told.arrivals, told.marks, partitions, most)
        parts.append(f'<text x="{LEFT}" y="{y + GAP - 12}" font-size="20">{escape(title)}</text>')
        parts.append(picture.replace("<svg ", f'<svg y="{y + GAP}" ', 1))
    height = len(timelines) * (HEIGHT + GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
