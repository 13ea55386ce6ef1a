"""The drill's table and its verdict; pure."""

from collections.abc import Iterator, Sequence

from deploy.drill.account import Figures
from deploy.drill.steps import Played

MOST_SILENCE_SECONDS = 1.0
"""Above that of the quiet step, on partitions that were not touched; of the quiet step itself."""
LEAST_IN_TIME = 0.95
LEAST_SENT = 0.95
"""Of the events that were to be sent: a drill at half its load shows half of it."""
HEADINGS = (
    *("step", "members", "took", "events", "lost", "repeated"),
    *("late", "p99", "worst", "in time", "silence", "resumed"),
)
WIDTHS = (17, 9, 7, 9, 6, 9, 8, 8, 8, 8, 9, 9)


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
    usual = {p.membership: f.longest_silence or 0.0 for p, f in rows if p.name == "quiet"}
    for played, figures in rows:
        said = _broken(played, figures, usual.get(played.membership, 0.0))
        broken += [f"{played.name} ({played.membership}): {each}" for each in said]
    return broken


def _broken(played: Played, figures: Figures, usual_silence: float) -> Iterator[str]:
    seconds = _length(played)
    if not figures.events:
        yield "nothing was sent, so nothing was shown."
    elif figures.events < LEAST_SENT * played.settings.rate * seconds:
        yield f"only {figures.events / seconds:,.0f} events/s were sent."
    for why, number in figures.unexplained.items():
        yield f"{number} deliveries were repeated, {why}."
    if played.moved_beyond:
        yield f"{played.moved_beyond} partitions moved that could have stayed."
    # A quiet fleet that stands still is no measure for the others.
    most = MOST_SILENCE_SECONDS + (0.0 if played.name == "quiet" else usual_silence)
    silence, resumption = figures.longest_silence, figures.slowest_resumption
    if silence is not None and silence > most:
        yield f"a partition that was not touched was silent for {silence:.2f} s."
    if resumption is not None and resumption > most:
        yield f"a partition was silent for {resumption:.2f} s though it had a new leader."
    # Of few pods, one that waits for its drain is more than that by itself.
    held_to = played.name == "rolling" and 1 / played.settings.pods <= 1 - LEAST_IN_TIME
    if held_to and (figures.least_in_time or 0.0) < LEAST_IN_TIME:
        share = figures.least_in_time or 0.0
        yield f"in one second only {share:.0%} of the events arrived within a second."


def _length(played: Played) -> float:
    return (played.window.end_ns - played.window.start_ns) / 1e9


def _cells(played: Played, figures: Figures) -> tuple[str, ...]:
    return (
        played.name,
        played.membership,
        f"{_length(played):.0f} s",
        f"{figures.events:,}",
        f"{figures.lost}",
        f"{figures.repeated}",
        f"{figures.late_share:.2%}",
        _seconds(figures.p99_seconds),
        _seconds(figures.worst_seconds),
        "-" if figures.least_in_time is None else f"{figures.least_in_time:.1%}",
        _seconds(figures.longest_silence),
        _seconds(figures.slowest_resumption),
    )


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f} s"
