"""Draws a drill: who owned what over time, and how many events arrived in each second; pure."""

from collections.abc import Mapping, Sequence
from colorsys import hls_to_rgb
from html import escape
from itertools import pairwise

WIDTH, OWNERS_HEIGHT, RATE_HEIGHT, TOP, LEFT, RIGHT = 1_400, 400, 140, 110, 60, 80
BOTTOM = TOP + OWNERS_HEIGHT + RATE_HEIGHT
HEIGHT = BOTTOM + 30
MOST_LABELS = 40
MOST_TICKS = 15
TICKS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_800, 3_600)
"""Seconds that may lie between two figures below the picture."""


def drawn(
    owned: Sequence[tuple[int, Mapping[int, str]]],
    arrivals: Mapping[int, int],
    marks: Sequence[tuple[int, str]],
    partitions: int,
    most: int | None = None,
) -> str:
    """An SVG picture. Times are unix nanoseconds; ``arrivals`` are by unix second.

    ``most`` arrivals a second are the upper end of their scale; as a rule, the most there were.
    """
    if not owned:
        return _svg([])
    begin, end = owned[0][0], max(owned[-1][0], owned[0][0] + 1)

    def x(at_ns: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (at_ns - begin) / (end - begin)

    pods = sorted({pod for _, owners in owned for pod in owners.values()})
    colours = {pod: _colour(number, len(pods)) for number, pod in enumerate(pods)}
    row = OWNERS_HEIGHT / partitions
    parts = [
        f'<rect x="{x(start):.1f}" y="{TOP + row * partition:.1f}" '
        f'width="{x(until) - x(start):.1f}" height="{row:.1f}" '
        f'fill="{colours[pod]}"/>'
        for partition in range(partitions)
        for start, until, pod in _stretches(owned, partition)
    ]
    parts += _rate(arrivals, begin, end, most or max(arrivals.values(), default=0) or 1)
    parts += [
        f'<text x="{x(begin + seconds * 10**9):.1f}" y="{BOTTOM + 16}" font-size="11" '
        f'text-anchor="middle">{seconds} s</text>'
        for seconds in _ticks((end - begin) / 1e9)
    ]
    step = max(1, len(marks) // MOST_LABELS)
    for number, (at_ns, what) in enumerate(marks):
        here = x(max(at_ns, begin))
        parts.append(
            f'<line x1="{here:.1f}" y1="{TOP}" x2="{here:.1f}" y2="{BOTTOM}" '
            'stroke="black" stroke-opacity="0.4"/>'
        )
        if number % step == 0:
            parts.append(
                f'<text x="{here:.1f}" y="{TOP - 4}" font-size="11" '
                f'transform="rotate(-40 {here:.1f} {TOP - 4})">{escape(what)}</text>'
            )
    parts.append(f'<text x="2" y="{TOP + 12}" font-size="11">owner</text>')
    parts.append(f'<text x="2" y="{TOP + OWNERS_HEIGHT + 20}" font-size="11">a second</text>')
    return _svg(parts)


def _colour(number: int, of: int) -> str:
    """Neighbours differ in lightness too."""
    light = 0.55 + 0.15 * (number % 2)
    return "#" + "".join(f"{round(255 * part):02x}" for part in hls_to_rgb(number / of, light, 0.6))


def _stretches(
    owned: Sequence[tuple[int, Mapping[int, str]]], partition: int
) -> list[tuple[int, int, str]]:
    """From when until when a partition was owned by which pod."""
    found: list[tuple[int, int, str]] = []
    for (at, owners), (later, _) in pairwise(owned):
        pod = owners.get(partition)
        if pod is None:
            continue
        if found and found[-1][1] == at and found[-1][2] == pod:
            found[-1] = (found[-1][0], later, pod)
        else:
            found.append((at, later, pod))
    return found


def _ticks(seconds: float) -> range:
    step = next((each for each in TICKS if seconds / each <= MOST_TICKS), TICKS[-1])
    return range(0, int(seconds) + 1, step)


def _rate(arrivals: Mapping[int, int], begin_ns: int, end_ns: int, most: int) -> list[str]:
    seconds = range(begin_ns // 10**9, end_ns // 10**9 + 1)
    points = " ".join(
        f"{LEFT + (WIDTH - LEFT - RIGHT) * (second - seconds[0]) / max(1, len(seconds) - 1):.1f},"
        f"{BOTTOM - (RATE_HEIGHT - 20) * arrivals.get(second, 0) / most:.1f}"
        for second in seconds
    )
    return [
        f'<polyline points="{points}" fill="none" stroke="#036" stroke-width="1"/>',
        f'<text x="2" y="{TOP + OWNERS_HEIGHT + 34}" font-size="11">{most}</text>',
        f'<text x="2" y="{BOTTOM}" font-size="11">0</text>',
    ]


def _svg(parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
