"""One kind of worker, rolled one by one under traffic, and the account by its receiver's ledger."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.handover.workers import Site, Workers, create_topics
from benchmarks.rebalance.account import Account, Window
from benchmarks.rebalance.fleet import ROOT
from benchmarks.rebalance.notes import NotesTail
from benchmarks.rebalance.stage import window_since
from benchmarks.rebalance.table import Column, Figures
from benchmarks.rebalance.watching import Watcher
from deploy.local.guard import Guard

SETTLE_SECONDS = 10.0
"""Longer than the longest work."""
CATCH_UP_SECONDS = 90.0

COLUMNS = (
    Column("quiet: late", " %", 2, ratio=False),
    Column("quiet: worst", " s", 2, ratio=False),
    Column("takes", " s", 0, ratio=False),
    Column("events", ratio=False),
    Column("late", " %", 2, ratio=False),
    Column("p50", " s", 3, ratio=False),
    Column("p99", " s", 2, ratio=False),
    Column("worst", " s", 2, ratio=False),
    Column("repeated", ratio=False),
    Column("lost", ratio=False),
)


@contextmanager
def receiving(directory: Path, guard: Guard) -> Iterator[int]:
    """The receiver's port."""
    notes = directory / f"receiver{NotesTail.SUFFIX}"
    words = [sys.executable, "-m", "benchmarks.handover.receiver", str(notes)]
    process = guard.spawn(words, output=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()
        guard.release(process.pid)


async def measure(
    site: Site, kind: str, number: int, rate: float, rounds: int, say: Callable[[str], None]
) -> list[Figures]:
    """Roll all workers, so many times over one group."""
    create_topics(site)
    workers = Workers(site, kind)
    names = [f"worker-{each:02}" for each in range(number)]
    async with Watcher(site.servers, site.topic, site.topic) as watcher:

        async def together() -> None:
            await watcher.until(
                lambda group: group.is_balanced(number, site.partitions),
                f"{number} workers share {site.partitions} partitions",
                workers.check,
            )

        try:
            for name in names:
                workers.start(name)
            await together()
            traffic = start_traffic(site, rate)
            windows = []
            for each in range(rounds):
                say(f"{kind}: rolling {each + 1} of {rounds}")
                windows.append(await _roll(workers, names, together))
            await asyncio.sleep(SETTLE_SECONDS)
            traffic.terminate()
            await asyncio.to_thread(traffic.wait)
            account = await _caught_up(site.directory)
        finally:
            await workers.close()
        await watcher.remove_topic()
    return [_figures(account, *pair) for pair in windows]


def start_traffic(site: Site, rate: float) -> subprocess.Popen[bytes]:
    """Produce from now on."""
    notes = site.directory / f"traffic{NotesTail.SUFFIX}"
    words = (site.servers, site.topic, str(notes), str(site.partitions), str(rate))
    command = [sys.executable, "-m", "benchmarks.handover.traffic", *words]
    with (site.directory / "traffic.log").open("ab") as log:
        return site.guard.spawn(command, output=log, cwd=ROOT)


async def _roll(
    workers: Workers, names: list[str], together: Callable[[], Awaitable[None]]
) -> tuple[Window, Window]:
    await asyncio.sleep(SETTLE_SECONDS)
    began = time.monotonic_ns()
    await asyncio.sleep(SETTLE_SECONDS)
    quiet = window_since(began)
    began = time.monotonic_ns()
    for name in names:
        await workers.stop(name)
        workers.start(name)
        await together()
    return quiet, window_since(began)


async def _caught_up(directory: Path) -> Account:
    account, tail = Account([]), NotesTail(directory)
    give_up = time.monotonic() + CATCH_UP_SECONDS
    account.add(tail.read_new())
    while account.missing and time.monotonic() < give_up:
        await asyncio.sleep(0.5)
        account.add(tail.read_new())
    # Whatever is repeated is repeated by then: a hold ends within half a minute.
    await asyncio.sleep(SETTLE_SECONDS)
    account.add(tail.read_new())
    return account


def _figures(account: Account, quiet: Window, window: Window) -> Figures:
    before, rolled = account.lateness(quiet), account.lateness(window)
    return {
        "quiet: late": before.late_percent,
        "quiet: worst": before.worst,
        "takes": window.seconds,
        "events": rolled.records,
        "late": rolled.late_percent,
        "p50": rolled.p50,
        "p99": rolled.p99,
        "worst": rolled.worst,
        "repeated": rolled.repeated,
        "lost": rolled.lost,
    }
