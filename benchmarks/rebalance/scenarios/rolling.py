"""Some pods are stopped in order and started again, one after another, while the fleet works.

Records have the work of customers' endpoints: most take little, a few take long. A quiet window of
the same fleet is measured beside it, since the machine too makes records late.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.rebalance.account import Account, Window
from benchmarks.rebalance.notes import Kind
from benchmarks.rebalance.shape import Shape
from benchmarks.rebalance.stage import Site, Stage, stage, window_since
from benchmarks.rebalance.table import Column, Figures

SETTLE_SECONDS = 20.0
"""Longer than the longest work, so that one repetition leaves nothing to the next."""
QUIET_SECONDS = 20.0

COLUMNS = (
    Column("quiet: late", " %", 2, ratio=False),
    Column("quiet: p99", " s", 2, ratio=False),
    Column("takes", " s", 0),
    Column("revoked"),
    Column("partitions late", ratio=False),
    Column("late", " %", 2),
    Column("late records"),
    Column("p50", " s", 2),
    Column("p99", " s", 2),
    Column("worst", " s", 1),
    Column("repeated", ratio=False),
    Column("lost", ratio=False),
    Column("commits failed", ratio=False),
)


@dataclass(frozen=True, slots=True)
class Roll:
    """One repetition."""

    quiet: Window
    window: Window

    def figures(self, account: Account) -> Figures:
        """What it measured."""
        quiet, rolled = account.lateness(self.quiet), account.lateness(self.window)
        return {
            "quiet: late": quiet.late_percent,
            "quiet: p99": quiet.p99,
            "takes": self.window.seconds,
            "revoked": account.count((Kind.REVOKED, Kind.LOST), self.window),
            "partitions late": rolled.partitions,
            "late": rolled.late_percent,
            "late records": rolled.late,
            "p50": rolled.p50,
            "p99": rolled.p99,
            "worst": rolled.worst,
            "repeated": rolled.repeated,
            "lost": rolled.lost,
            "commits failed": account.count((Kind.COMMIT_FAILED,), self.window),
        }


async def measure(
    site: Site, client: str, shape: Shape, repeat: int, rolled: int, say: Callable[[str], None]
) -> list[Figures]:
    """Roll so many pods, `repeat` times over one group, other pods each time."""
    async with stage(site, client, shape, "rolling") as here:
        await here.start_pods()
        here.start_traffic(tail=True)
        rolls = []
        for number in range(repeat):
            say(f"{client}: rolling {number + 1} of {repeat}")
            pods = [here.shape.pod(number * rolled + each) for each in range(rolled)]
            rolls.append(await _roll(here, pods))
        await asyncio.sleep(SETTLE_SECONDS)
        account = await here.finish()
    return [roll.figures(account) for roll in rolls]


async def _roll(here: Stage, pods: list[str]) -> Roll:
    await asyncio.sleep(SETTLE_SECONDS)
    began = time.monotonic_ns()
    await asyncio.sleep(QUIET_SECONDS)
    quiet = window_since(began)
    began = time.monotonic_ns()
    for pod in pods:
        await here.fleet.stop(pod)
        here.fleet.start(pod)
        await here.joined(pod)
    await here.balanced()
    return Roll(quiet, window_since(began))
