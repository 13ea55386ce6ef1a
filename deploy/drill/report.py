"""The drill's table and its verdict; pure."""

from collections.abc import Iterator, Sequence

from deploy.drill.account import Figures
from deploy.drill.steps import Played

MOST_SILENCE_SECONDS = 1.0
"""Above that of the quiet step, on partitions that were not touched."""
LEAST_IN_TIME = 0.95
HEADINGS = ("step", "events", "lost", "repeated", "late", "p99", "worst", "in time", "silence")
WIDTHS = (17, 8, 6, 9, 8, 8, 8, 9, 9)


def table(rows: Sequence[tuple[Played, Figures]]) -> list[str]:
    """One line a step."""
    lines = [HEADINGS, *(_cells(played, figures) for played, figures in rows)]
    return [
        "".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, WIDTHS, strict=True))
        )
        for line in lines
    ]


def broken_promises(rows: Sequence[tuple[Played, Figures]], lost: int) -> list[str]:
    """What was promised and not kept, one sentence each; empty is good."""
    broken = [f"{lost} events are lost."] if lost else []
    usual = next((f.longest_silence for p, f in rows if p.name == "quiet"), None) or 0.0
    for played, figures in rows:
        broken += [f"{played.name}: {said}" for said in _broken(played, figures, usual)]
    return broken


def _broken(played: Played, figures: Figures, usual_silence: float) -> Iterator[str]:
    if not figures.events:
        yield "nothing was sent, so nothing was shown."
    if played.graceful and figures.repeated:
        yield f"{figures.repeated} deliveries were repeated."
    if figures.unexplained and not played.graceful:
        yield (
            f"{figures.unexplained} deliveries were repeated that were neither in flight nor "
            "answered less than a second before the crash."
        )
    silence = figures.longest_silence
    if silence is not None and silence > usual_silence + MOST_SILENCE_SECONDS:
        yield f"a partition that was not touched was silent for {silence:.2f} s."
    if played.name == "rolling" and (figures.least_in_time or 0.0) < LEAST_IN_TIME:
        share = figures.least_in_time or 0.0
        yield f"in one second only {share:.0%} of the events arrived within a second."


def _cells(played: Played, figures: Figures) -> tuple[str, ...]:
    return (
        played.name,
        f"{figures.events:,}",
        f"{figures.lost}",
        f"{figures.repeated}",
        f"{figures.late_share:.2%}",
        _seconds(figures.p99_seconds),
        _seconds(figures.worst_seconds),
        "-" if figures.least_in_time is None else f"{figures.least_in_time:.1%}",
        _seconds(figures.longest_silence),
    )


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f} s"
