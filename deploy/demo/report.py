"""The demo's table at the end, and its verdict; pure."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from deploy.demo.ledger import Balance, Silence

LABEL_WIDTH = 20
TEXT_WIDTH = 75
SHOWN_LOSSES = 10


@dataclass(frozen=True, slots=True)
class KilledPod:
    """What the kill did, as far as the group's coordinator tells."""

    name: str
    partitions: frozenset[int]
    """Owned by the pod when it was killed."""
    moved: frozenset[int]
    """Owned by another process once the survivors owned everything."""
    taken_over_seconds: float
    """From the kill until the survivors owned everything."""
    back_seconds: float
    """From its new start until it owned partitions again."""


@dataclass(frozen=True, slots=True)
class Run:
    """All that the report is made from."""

    balance: Balance
    events: int
    refused: int
    """Events that the brokers did not acknowledge: nothing was promised for them."""
    settled: bool
    """Whether every group's committed offsets came to equal the ends of its logs."""
    kill: KilledPod
    duplicates_elsewhere: int
    """Duplicates on partitions that the killed pod did not own."""
    silence_before: Silence | None
    """The longest before the kill, on any partition."""
    silence: Silence | None
    """The longest of all, on a partition whose owner was not killed."""
    began_ns: int
    failed_stops: tuple[str, ...]
    """What went wrong when the pods were told to stop, as sentences."""


def broken_promises(run: Run) -> list[str]:
    """What was promised and not kept, one sentence each; empty is good."""
    broken = []
    if run.balance.sent == 0:
        broken.append("Nothing was sent, so nothing was shown.")
    if run.balance.lost:
        broken.append(
            f"{len(run.balance.lost)} deliveries are lost: "
            "not delivered, not parked, not dead letters."
        )
    if run.balance.invalid:
        broken.append(f"{run.balance.invalid} requests had a signature that does not verify.")
    if run.balance.unexpected:
        broken.append(f"{run.balance.unexpected} deliveries arrived where they were not due.")
    if not run.settled:
        broken.append(
            "The work did not come to its end in the time allowed: see backlog and parked."
        )
    return [*broken, *run.failed_stops]


def table(run: Run) -> list[str]:
    """The table, row by row; a long row goes on in further lines."""
    return [
        f"  {label if first else '':<{LABEL_WIDTH}} {line}"
        for label, text in _rows(run)
        for first, line in _lines(text)
    ]


def verdict(run: Run) -> list[str]:
    """Whether the promise held, in plain words."""
    broken = broken_promises(run)
    if not broken:
        return [
            "The promise held: every delivery that was sent was delivered, is parked, or is a",
            "dead letter; every signature verified; all offsets are committed to the logs' ends.",
        ]
    return ["THE PROMISE DID NOT HOLD:", *(f"  - {sentence}" for sentence in broken)]


def _rows(run: Run) -> Iterator[tuple[str, str]]:
    balance = run.balance
    yield "sent", f"{balance.sent:,} deliveries, of {run.events:,} events"
    if run.refused:
        yield "not acknowledged", f"{run.refused:,} events; nothing was promised for these"
    yield "delivered", f"{balance.delivered:,}"
    yield "distinct", f"{balance.distinct:,}"
    yield "duplicates", _duplicates(run)
    yield "lost", f"{len(balance.lost):,}{_losses(balance)}"
    yield "parked", f"{balance.parked:,}"
    yield "dead letters", _by_reason(balance.dead_letters)
    yield "bad signatures", f"{balance.invalid:,}"
    yield "produce to receipt", _delays(balance)
    yield from _kill_rows(run)


def _lines(text: str) -> Iterator[tuple[bool, str]]:
    for number, line in enumerate(textwrap.wrap(text, TEXT_WIDTH, break_on_hyphens=False)):
        yield number == 0, line


def _duplicates(run: Run) -> str:
    elsewhere = run.duplicates_elsewhere
    of_the_killed = len(run.balance.duplicates) - elsewhere
    parts = []
    if of_the_killed:
        parts.append(
            f"{of_the_killed:,} on {run.kill.name}'s partitions: in flight at the kill, or done "
            "since the last commit (SIGKILL leaves no time to tell, so they are sent again)"
        )
    if elsewhere:
        parts.append(
            f"{elsewhere:,} elsewhere: a worker lost its place in the group, "
            "or a drain was cut short"
        )
    return "; ".join(parts) or "0"


def _losses(balance: Balance) -> str:
    if not balance.lost:
        return ""
    shown = ", ".join(f"{event} at {endpoint}" for event, endpoint in balance.lost[:SHOWN_LOSSES])
    return f": {shown}" + (", ..." if len(balance.lost) > SHOWN_LOSSES else "")


def _by_reason(dead_letters: Mapping[str, int]) -> str:
    if not dead_letters:
        return "0"
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(dead_letters.items()))
    return f"{sum(dead_letters.values()):,} ({reasons})"


def _delays(balance: Balance) -> str:
    if balance.p50 is None or balance.p99 is None:
        return "nothing was accepted at its first attempt"
    return (
        f"p50 {_seconds(balance.p50)}, p99 {_seconds(balance.p99)} (accepted at the first attempt)"
    )


def _kill_rows(run: Run) -> Iterator[tuple[str, str]]:
    kill = run.kill
    others = kill.moved - kill.partitions
    yield (
        "moved by the kill",
        f"{len(kill.moved):,} partitions: {len(kill.moved & kill.partitions):,} that {kill.name} "
        f"owned, {len(others):,} others",
    )
    yield (
        "time to recover",
        f"{kill.taken_over_seconds:.1f} s until the others owned everything; "
        f"back {kill.back_seconds:.1f} s after its new start",
    )
    if run.silence is None:
        yield "longest silence", f"every partition was {kill.name}'s"
        return
    began = (run.silence.began_ns - run.began_ns) / 1e9
    normal = (
        f"; before the kill {_seconds(run.silence_before.seconds)}" if run.silence_before else ""
    )
    yield (
        "longest silence",
        f"{_seconds(run.silence.seconds)} on a partition whose owner was not killed "
        f"({run.silence.partition}, from {began:.1f} s on{normal})",
    )


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
