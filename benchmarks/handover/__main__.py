"""`python -m benchmarks.handover`: workers rolled one by one under a load with a tail.

Of the events that were produced meanwhile: how many began to be delivered more than 1 s after they
were produced, the worst, what was repeated, what was lost. Each kind of worker after the other, on
the same brokers; their receiver keeps the ledger. Seven minutes a kind and repetition; two with
``--workers 3 --partitions 12 --rate 50 --repeat 1``.
"""

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from aiokafka.errors import KafkaError

from benchmarks.handover.run import COLUMNS, measure, receiving
from benchmarks.handover.workers import KINDS, Site
from benchmarks.rebalance import table
from benchmarks.rebalance.fleet import FleetError
from deploy.local.brokers import DEFAULT_VERSION, Cluster
from deploy.local.errors import BrokersUnavailable
from deploy.local.guard import Guard
from deploy.local.scratch import roomy_memory


def _say(text: str) -> None:
    load = os.getloadavg()[0]
    print(f"{time.strftime('%H:%M:%S')} {text} (load {load:.1f})", file=sys.stderr, flush=True)


def _row(
    kind: str, servers: str, directory: Path, guard: Guard, options: argparse.Namespace
) -> Sequence[table.Figures] | str:
    own = directory / kind
    own.mkdir()
    with receiving(own, guard) as port:
        site = Site(
            servers=servers,
            guard=guard,
            directory=own,
            topic=f"rolled-{kind}",
            port=port,
            partitions=options.partitions,
        )
        try:
            return asyncio.run(
                measure(site, kind, options.workers, options.rate, options.repeat, _say)
            )
        except (FleetError, KafkaError, OSError) as error:
            _say(f"{kind} failed: {error!r}")
            return "failed: " + " ".join(str(error).split())[-200:]


def main() -> int:
    """Print the table; 3 when there are no brokers here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.handover", description=__doc__)
    parser.add_argument(
        "--kinds", default=",".join(KINDS), help=f"of {', '.join(KINDS)}; in this order"
    )
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--partitions", type=int, default=100)
    parser.add_argument("--rate", type=float, default=500.0, help="events a second, of all")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--kafka", default=DEFAULT_VERSION, help="version of the brokers")
    options = parser.parse_args()
    if unknown := set(options.kinds.split(",")) - set(KINDS):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    # Waiting for a coordinator is no news, and aiokafka says it many times.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    try:
        with Guard() as guard:
            directory = Path(tempfile.mkdtemp(prefix="handover-", dir=roomy_memory()))
            guard.remove(directory)
            with Cluster(
                options.kafka,
                directory=directory / "kafka",
                offsets_partitions=50,
                rebalance_delay_ms=3000,
                guard=guard,
            ) as cluster:
                print(
                    f"{options.workers} workers, {options.partitions} partitions, "
                    f"{options.rate:g} events/s, Kafka {options.kafka}, {os.cpu_count()} cores, "
                    f"medians of {options.repeat}"
                )
                rows = {
                    kind: _row(kind, cluster.bootstrap_servers, directory, guard, options)
                    for kind in options.kinds.split(",")
                }
                print(f"\n{table.render(COLUMNS, rows)}")
    except BrokersUnavailable as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
