"""What a delivery costs: ``attempt``, the POST alone; ``profile``, where that goes; ``hostile``."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.delivery import hostile
from benchmarks.delivery.clients import CLIENTS
from benchmarks.delivery.measured import Figures, Shape, run
from benchmarks.delivery.profiled import show
from benchmarks.delivery.sink import receiving

SHAPES = (
    Shape(50, 100),
    Shape(1, 16),
    Shape(1, 100),
    Shape(50, 16),
    Shape(50, 1000),
    Shape(1000, 16),
    Shape(1000, 100),
    Shape(1000, 1000),
    Shape(1, 100, tls=True),
    Shape(50, 100, tls=True),
)
SLOW = {"httpx": 50}
"""Clients so dear that a part of the requests tells enough."""


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delivery", description=__doc__)
    parser.add_argument("what", choices=["attempt", "profile", "hostile"])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=600.0, help="of `hostile`")
    parser.add_argument("--clients", default="floor,ours,aiohttp", help=", ".join(CLIENTS))
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="only the first so many")
    options = parser.parse_args()
    if options.what == "profile":
        with tempfile.TemporaryDirectory() as directory, receiving(Path(directory)) as sink:
            show(sink, options.requests)
        return 0
    if options.what == "hostile":
        hostile.measure(options.seconds)
        return 0
    clients = options.clients.split(",")
    print(f"us of CPU for a POST of 1 KB (a second), medians of {options.repeat}\n")
    print(
        f"| hosts x in flight | {' | '.join(clients)} |\n|---|{'---|' * len(clients)}", flush=True
    )
    for shape in SHAPES[: options.shapes]:
        print(_row(shape, clients, options.repeat, options.requests), flush=True)
    return 0


def _row(shape: Shape, clients: Sequence[str], repeat: int, requests: int) -> str:
    found: dict[str, list[Figures]] = {client: [] for client in clients}
    with (
        tempfile.TemporaryDirectory() as directory,
        receiving(Path(directory), shape.hosts if shape.tls else 0) as sink,
    ):
        for _ in range(repeat):
            for client in clients:
                count = requests // SLOW.get(client, 1)
                found[client].append(run(client, shape, sink, count))
    cells = []
    reference = median(figures.cpu_us for figures in found.get("ours", found[clients[0]]))
    for figures in found.values():
        cpu = median(one.cpu_us for one in figures)
        speed = median(one.per_second for one in figures)
        cells.append(f"{cpu:.0f}, {cpu / reference:.2f}x ({speed:.0f})")
    return f"| {shape} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
