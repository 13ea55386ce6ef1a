"""What a delivery costs: ``whole``, the whole way; ``tls``, the same with TLS beside plain;
``attempt``, the POST alone; ``profile``, where that goes; ``hostile``, the memory."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.delivery import hostile, whole
from benchmarks.delivery.clients import CLIENTS
from benchmarks.delivery.measured import Figures, Shape, run
from benchmarks.delivery.profiled import show
from benchmarks.delivery.sink import Sink, receiving
from deploy.local.brokers import BrokersUnavailable

SHAPES = (
    Shape(50, 100),
    Shape(1, 16),
    Shape(1, 100),
    Shape(50, 16),
    Shape(50, 1000),
    Shape(1000, 16),
    Shape(1000, 100),
    Shape(1000, 1000),
)
TLS_SHAPES = (
    Shape(50, 100),
    Shape(50, 100, tls=True),
    Shape(1, 100),
    Shape(1, 100, tls=True),
)
DEFAULTS = {
    "whole": "ours,aiohttp,httpx,engine",
    "tls": "ours,aiohttp",
    "attempt": "floor,ours,aiohttp",
}
SLOW = {"httpx": 50}
"""Clients so dear that a part of the requests tells enough."""

Measure = Callable[[str, Shape, Sink, int], Figures]


def main() -> int:
    """Print what was asked for; 3 when there are no brokers here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delivery", description=__doc__)
    parser.add_argument("what", choices=["whole", "tls", "attempt", "profile", "hostile"])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=600.0, help="of `hostile`")
    parser.add_argument("--clients", help=f"of `attempt`: {', '.join(CLIENTS)}")
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="only the first so many")
    options = parser.parse_args()
    if options.what == "profile":
        with tempfile.TemporaryDirectory() as directory, receiving(Path(directory)) as sink:
            show(sink, options.requests)
        return 0
    if options.what == "hostile":
        hostile.measure(options.seconds)
        return 0
    clients = (options.clients or DEFAULTS[options.what]).split(",")
    shapes = (TLS_SHAPES if options.what == "tls" else SHAPES)[: options.shapes]
    if options.what == "attempt":
        _table([*shapes, *(each for each in TLS_SHAPES if each.tls)], clients, run, options)
        return 0
    try:
        with whole.ground() as ground, whole.workers(clients) as workers:
            _table(
                shapes,
                list(workers),
                lambda client, *rest: ground.measure(workers[client], *rest),
                options,
            )
    except BrokersUnavailable as error:
        print(error, file=sys.stderr)
        return 3
    return 0


def _table(
    shapes: Sequence[Shape], clients: Sequence[str], measure: Measure, options: argparse.Namespace
) -> None:
    print(f"us of CPU for a POST of 1 KB (a second), medians of {options.repeat}\n")
    print(
        f"| hosts x in flight | {' | '.join(clients)} |\n|---|{'---|' * len(clients)}", flush=True
    )
    for shape in shapes:
        found: dict[str, list[Figures]] = {client: [] for client in clients}
        with whole.sink_for(shape) as sink:
            for _ in range(options.repeat):
                for client in clients:
                    count = options.requests // SLOW.get(client, 1)
                    found[client].append(measure(client, shape, sink, count))
        print(_row(shape, found), flush=True)


def _row(shape: Shape, found: dict[str, list[Figures]]) -> str:
    cells = []
    reference = median(figures.cpu_us for figures in found.get("ours", next(iter(found.values()))))
    for figures in found.values():
        cpu = median(one.cpu_us for one in figures)
        speed = median(one.per_second for one in figures)
        cells.append(f"{cpu:.0f}, {cpu / reference:.2f}x ({speed:.0f})")
    return f"| {shape} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
