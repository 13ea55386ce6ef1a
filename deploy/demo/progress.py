"""Live progress: a block that is redrawn on a terminal, elsewhere one line a second."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

BAR_WIDTH = 30
PODS_IN_A_ROW = 5


@dataclass(frozen=True, slots=True)
class PodProgress:
    """One pod at a moment."""

    name: str
    owned: int
    """Partitions that its processes own."""
    running: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """The fleet at a moment."""

    seconds: float
    """Since the first event."""
    state: str
    """What is unusual about the group, in a few words; empty when nothing is."""
    pods: Sequence[PodProgress]
    events: int
    """Events that the brokers acknowledged."""
    delivered: int
    per_second: float
    """Deliveries in the last second."""
    backlog: int
    """Fresh records not yet committed."""
    parked: int
    """Records in delay topics not yet committed."""


def as_line(progress: Progress) -> str:
    """All of it in one line, for a log."""
    if len(progress.pods) <= PODS_IN_A_ROW:
        owned = "  ".join(f"{pod.name} {_owned(pod)}" for pod in progress.pods)
    else:
        running = sum(pod.running for pod in progress.pods)
        owned = f"{running} of {len(progress.pods)} pods own {_total_owned(progress)}"
    return f"{progress.seconds:4.0f} s  {owned}  |  {_flow(progress)}{_state(progress)}"


def as_block(progress: Progress, width: int) -> list[str]:
    """All of it in a few lines, for a terminal of that width."""
    lines = [f"{progress.seconds:4.0f} s  {_flow(progress)}{_state(progress)}"]
    if len(progress.pods) <= PODS_IN_A_ROW:
        most = max(1, _total_owned(progress))
        lines += [
            f"        {pod.name:<8} {_bar(pod.owned / most):<{BAR_WIDTH}} {_owned(pod)}"
            for pod in progress.pods
        ]
    else:
        cells = [f"{pod.name:>7} {_owned(pod):<6}" for pod in progress.pods]
        rows = range(0, len(cells), PODS_IN_A_ROW)
        lines += ["      " + "".join(cells[row : row + PODS_IN_A_ROW]) for row in rows]
    return [line[: width - 1] for line in lines]


def _flow(progress: Progress) -> str:
    return (
        f"{progress.events:>6,} events  {progress.delivered:>6,} delivered  "
        f"{progress.per_second:>5,.0f}/s  backlog {progress.backlog:,}, parked {progress.parked:,}"
    )


def _state(progress: Progress) -> str:
    return f"  ({progress.state})" if progress.state else ""


def _bar(share: float) -> str:
    return "#" * round(BAR_WIDTH * share)


def _owned(pod: PodProgress) -> str:
    return str(pod.owned) if pod.running else f"{pod.owned} DOWN"


def _total_owned(progress: Progress) -> int:
    return sum(pod.owned for pod in progress.pods)


class Display:
    """Prints steps as they happen, and progress below them."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._redraws = out.isatty()
        self._drawn = 0
        self._noted = ""

    def say(self, text: str) -> None:
        """A step, in plain words; it stays on the screen."""
        self._erase()
        self._write([text])

    def note(self, text: str) -> None:
        """How far something is that takes a while; on a terminal the next output replaces it."""
        if text == self._noted:
            return
        self._noted = text
        self._draw([text])

    def show(self, progress: Progress) -> None:
        """The present moment."""
        if self._redraws:
            self._draw(as_block(progress, shutil.get_terminal_size().columns))
        else:
            self._draw([as_line(progress)])

    def _draw(self, lines: Sequence[str]) -> None:
        self._erase()
        self._write(lines)
        self._drawn = len(lines) if self._redraws else 0

    def _erase(self) -> None:
        if self._drawn:
            self._out.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _write(self, lines: Sequence[str]) -> None:
        self._out.write("\n".join([*lines, ""]))
        self._out.flush()
