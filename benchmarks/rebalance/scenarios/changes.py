"""A pod leaves in order, joins, crashes, while records without work flow: silences and moves.

A window without any change is measured beside them. In it a process of the same kind starts and
joins nothing: what is silent then is the machine's noise, and the cost of starting a process.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from benchmarks.rebalance.account import Account, Window
from benchmarks.rebalance.fleet import BYSTANDER
from benchmarks.rebalance.notes import Kind
from benchmarks.rebalance.ownership import Group, moved, must_move, retained, staying
from benchmarks.rebalance.shape import Shape
from benchmarks.rebalance.stage import Site, Stage, stage, window_since
from benchmarks.rebalance.table import Column, Figures

CRASH_SESSION_MS = 10_000
SETTLE_SECONDS = 5.0
AFTER_SECONDS = 3.0
"""For so long a change is watched after its group is balanced: its members have yet to fetch."""
CONTROL_SECONDS = 12.0
EVENTS = ("leave", "join", "crash")

SILENCE_COLUMNS = (
    Column("control: silent", " s", 2),
    *(
        column
        for event in EVENTS
        for column in (
            Column(f"{event}: revoked", ratio=False),
            Column(f"{event}: silent", " s", 2),
        )
    ),
    Column("leave: moved silent", " s", 2),
    Column("join: moved silent", " s", 2),
)
MOVES_COLUMNS = tuple(
    column
    for event in EVENTS
    for column in (
        Column(f"{event}: moved", ratio=False),
        Column(f"{event}: must", ratio=False),
        Column(f"{event}: balanced after", " s", 1),
    )
)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of members: when it was, and the group before and after."""

    event: str
    window: Window
    balanced_after: float
    """Seconds from the signal, or from the start of the process, until all is shared again."""
    before: Group
    after: Group

    def figures(self, account: Account) -> Figures:
        """Its part of the account."""
        owners = self.before.owners, self.after.owners
        kept, gone = self._untouched(), moved(*owners)
        revoked = account.count((Kind.REVOKED, Kind.LOST), self.window, kept)
        found: dict[str, float | None] = {
            "revoked": revoked,
            "silent": account.longest_silence(kept, self.window),
            "moved silent": account.longest_silence(gone, self.window),
            "moved": len(gone),
            "must": must_move(self.before.owners, frozenset(self.after.members)),
            "balanced after": self.balanced_after,
        }
        return {f"{self.event}: {name}": value for name, value in found.items()}

    def _untouched(self) -> frozenset[int]:
        """The partitions that the change need not have touched.

        When members join, some partitions of the others have to move: it is those that did not.
        """
        if self.event == "join":
            return retained(self.before.owners, self.after.owners)
        return staying(self.before.owners, frozenset(self.after.members))


@dataclass(frozen=True, slots=True)
class Round:
    """One repetition."""

    control: Window
    changes: tuple[Change, ...]

    def figures(self, account: Account) -> Figures:
        """What it measured."""
        partitions = self.changes[0].before.owners
        found: dict[str, float | None] = {
            "control: silent": account.longest_silence(partitions, self.control)
        }
        for change in self.changes:
            found |= change.figures(account)
        return found


async def measure(
    site: Site, client: str, shape: Shape, repeat: int, say: Callable[[str], None]
) -> list[Figures]:
    """Run the changes `repeat` times over one group."""
    shape = replace(shape, session_ms=CRASH_SESSION_MS)
    async with stage(site, client, shape, "changes") as here:
        await here.start_pods()
        here.start_traffic(tail=False)
        rounds = []
        for number in range(repeat):
            say(f"{client}: changes {number + 1} of {repeat}")
            rounds.append(await _round(here, here.shape.pod(number * shape.pods // repeat)))
        account = await here.finish()
    return [each.figures(account) for each in rounds]


async def _round(here: Stage, pod: str) -> Round:
    await asyncio.sleep(SETTLE_SECONDS)
    control = await _control(here)
    leave = await _change(here, "leave", lambda: here.fleet.stop(pod))
    join = await _change(here, "join", lambda: _start(here, pod))
    crash = await _change(here, "crash", lambda: here.fleet.kill(pod))
    await _start(here, pod)
    await here.balanced()
    return Round(control, (leave, join, crash))


async def _control(here: Stage) -> Window:
    began = time.monotonic_ns()
    here.fleet.start(BYSTANDER, idle=True)
    await asyncio.sleep(CONTROL_SECONDS)
    here.fleet.check()
    window = window_since(began)
    await here.fleet.kill(BYSTANDER)
    await asyncio.sleep(SETTLE_SECONDS)
    return window


async def _change(here: Stage, event: str, act: Callable[[], Awaitable[None]]) -> Change:
    before = await here.balanced()
    began = time.monotonic_ns()
    await act()
    after = await here.balanced()
    balanced_after = window_since(began).seconds
    await asyncio.sleep(AFTER_SECONDS)
    change = Change(event, window_since(began), balanced_after, before, after)
    await asyncio.sleep(SETTLE_SECONDS)
    return change


async def _start(here: Stage, pod: str) -> None:
    here.fleet.start(pod)
