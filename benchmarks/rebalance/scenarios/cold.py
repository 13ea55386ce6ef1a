"""A whole fleet starts from nothing, with records waiting in every partition."""

import time
from collections.abc import Callable

from benchmarks.rebalance.shape import Shape
from benchmarks.rebalance.stage import Site, stage, window_since
from benchmarks.rebalance.table import Column, Figures

COLUMNS = (
    Column("group balanced", " s", 1),
    Column("every partition consumed", " s", 1),
    Column("both", " s", 1),
)


async def measure(
    site: Site, client: str, shape: Shape, repeat: int, say: Callable[[str], None]
) -> list[Figures]:
    """Start `repeat` fleets, each in a group of its own."""
    found = []
    for number in range(repeat):
        say(f"{client}: cold {number + 1} of {repeat}")
        found.append(await _once(site, client, shape, f"cold-{number}"))
    return found


async def _once(site: Site, client: str, shape: Shape, name: str) -> Figures:
    async with stage(site, client, shape, name) as here:
        here.start_traffic(tail=False)
        began = time.monotonic_ns()
        await here.start_pods()
        balanced = window_since(began).seconds
        account = await here.finish()
    consumed_ns = account.first_begin_of_last_partition(shape.partitions)
    consumed = None if consumed_ns is None else (consumed_ns - began) / 1e9
    both = None if consumed is None else max(balanced, consumed)
    return {"group balanced": balanced, "every partition consumed": consumed, "both": both}
