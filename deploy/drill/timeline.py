"""Draws a drill: who owned what over time, and how many events arrived in each second; pure."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

WIDTH, OWNERS_HEIGHT, RATE_HEIGHT, TOP, LEFT = 1_400, 400, 140, 110, 50
MOST_LABELS = 40


def drawn(
    owned: Sequence[tuple[int, Mapping[int, str]]],
    arrivals: Mapping[int, int],
    marks: Sequence[tuple[int, str]],
    partitions: int,
) -> str:
    """An SVG picture. Times are unix nanoseconds; ``arrivals`` are by unix second."""
    if not owned:
        return _svg([])
    begin, end = owned[0][0], max(owned[-1][0], owned[0][0] + 1)

    def x(at_ns: int) -> float:
        return LEFT + (WIDTH - LEFT) * (at_ns - begin) / (end - begin)

    pods = sorted({pod for _, owners in owned for pod in owners.values()})
    hues = {pod: 360 * number / len(pods) for number, pod in enumerate(pods)}
    row = OWNERS_HEIGHT / partitions
    parts = [
        f'<rect x="{x(start):.1f}" y="{TOP + row * partition:.1f}" '
        f'width="{x(until) - x(start):.1f}" height="{row:.1f}" '
        f'fill="hsl({hues[pod]:.0f},60%,{55 + 15 * (pods.index(pod) % 2)}%)"/>'
        for partition in range(partitions)
        for start, until, pod in _stretches(owned, partition)
    ]
    parts += _rate(arrivals, begin, end)
    step = max(1, len(marks) // MOST_LABELS)
    for number, (at_ns, what) in enumerate(marks):
        here = x(at_ns)
        bottom = TOP + OWNERS_HEIGHT + RATE_HEIGHT
        parts.append(
            f'<line x1="{here:.1f}" y1="{TOP}" x2="{here:.1f}" y2="{bottom}" stroke="#0006"/>'
        )
        if number % step == 0:
            parts.append(
                f'<text x="{here:.1f}" y="{TOP - 4}" font-size="9" '
                f'transform="rotate(-40 {here:.1f} {TOP - 4})">{escape(what)}</text>'
            )
    parts.append(f'<text x="2" y="{TOP + 12}" font-size="10">owners</text>')
    parts.append(f'<text x="2" y="{TOP + OWNERS_HEIGHT + 20}" font-size="10">per s</text>')
    return _svg(parts)


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


def _rate(arrivals: Mapping[int, int], begin_ns: int, end_ns: int) -> list[str]:
    seconds = range(begin_ns // 10**9, end_ns // 10**9 + 1)
    most = max((arrivals.get(second, 0) for second in seconds), default=0) or 1
    bottom = TOP + OWNERS_HEIGHT + RATE_HEIGHT
    points = " ".join(
        f"{LEFT + (WIDTH - LEFT) * (second - seconds[0]) / max(1, len(seconds) - 1):.1f},"
        f"{bottom - (RATE_HEIGHT - 20) * arrivals.get(second, 0) / most:.1f}"
        for second in seconds
    )
    return [
        f'<polyline points="{points}" fill="none" stroke="#036" stroke-width="1"/>',
        f'<text x="2" y="{TOP + OWNERS_HEIGHT + 34}" font-size="10">{most}</text>',
    ]


def _svg(parts: Sequence[str]) -> str:
    height = TOP + OWNERS_HEIGHT + RATE_HEIGHT + 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
