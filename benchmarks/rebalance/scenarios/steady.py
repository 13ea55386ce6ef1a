"""What a fleet costs while nothing changes: CPU and memory for each of its consumers."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from benchmarks.processes import cpu_seconds, resident_mb
from benchmarks.rebalance.shape import Shape
from benchmarks.rebalance.stage import Site, Stage, stage
from benchmarks.rebalance.table import Column, Figures

RECORDS_PER_CONSUMER = 10.0
SETTLE_SECONDS = 15.0
WINDOW_SECONDS = 30.0

COLUMNS = (
    Column("CPU s per consumer and minute", "", 3),
    Column("resident MB per consumer", "", 1),
)


async def measure(
    site: Site, client: str, shape: Shape, repeat: int, say: Callable[[str], None]
) -> list[Figures]:
    """Watch one fleet for `repeat` windows, at 10 records a second for each consumer."""
    per_second = RECORDS_PER_CONSUMER * shape.consumers / shape.partitions
    async with stage(site, client, replace(shape, per_second=per_second), "steady") as here:
        await here.start_pods()
        here.start_traffic(tail=False)
        await asyncio.sleep(SETTLE_SECONDS)
        found = []
        for number in range(repeat):
            say(f"{client}: steady {number + 1} of {repeat}")
            found.append(await _window(here))
        await here.finish()
    return found


async def _window(here: Stage) -> Figures:
    pids, consumers = here.fleet.pids, here.shape.consumers
    before = cpu_seconds(pids)
    await asyncio.sleep(WINDOW_SECONDS)
    used = cpu_seconds(pids) - before
    here.fleet.check()
    return {
        "CPU s per consumer and minute": used / consumers * 60 / WINDOW_SECONDS,
        "resident MB per consumer": resident_mb(pids) / consumers,
    }
