"""The command: `python -m benchmarks.rebalance SCENARIO`, or `all`; prints one table for each."""

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CalledProcessError

from aiokafka.errors import KafkaError

from benchmarks.rebalance import table
from benchmarks.rebalance.clients import CLIENTS, DEFAULT, ClientUnavailableError, Tools
from benchmarks.rebalance.fleet import FleetError
from benchmarks.rebalance.scenarios import changes, cold, rolling, steady
from benchmarks.rebalance.shape import Shape
from benchmarks.rebalance.stage import Site, stage
from deploy.local.brokers import DEFAULT_VERSION, Cluster
from deploy.local.errors import BrokersUnavailable
from deploy.local.guard import Guard
from deploy.local.scratch import roomy_memory

Rows = dict[str, Sequence[table.Figures] | str]
Measure = Callable[[Site, str, argparse.Namespace, Shape], Awaitable[list[table.Figures]]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run for each client, and the tables that are printed of it."""

    measure: Measure
    tables: Mapping[str, Sequence[table.Column]]
    """By title."""


def _say(text: str) -> None:
    load = os.getloadavg()[0]
    print(f"{time.strftime('%H:%M:%S')} {text} (load {load:.1f})", file=sys.stderr, flush=True)


SCENARIOS: Mapping[str, Scenario] = {
    "changes": Scenario(
        lambda site, client, options, shape: changes.measure(
            site, client, shape, options.repeat, _say
        ),
        {
            "Silences of retained partitions, and of moved ones": changes.SILENCE_COLUMNS,
            "Partitions that moved, and that had to": changes.MOVES_COLUMNS,
        },
    ),
    "rolling": Scenario(
        lambda site, client, options, shape: rolling.measure(
            site, client, shape, options.repeat, options.rolled, _say
        ),
        {"Pods rolled under load": rolling.COLUMNS},
    ),
    "cold": Scenario(
        lambda site, client, options, shape: cold.measure(
            site, client, shape, options.repeat, _say
        ),
        {"From nothing": cold.COLUMNS},
    ),
    "steady": Scenario(
        lambda site, client, options, shape: steady.measure(
            site, client, shape, options.repeat, _say
        ),
        {"Without a change": steady.COLUMNS},
    ),
}

# What is asked for -> the run, and which of its tables (None: all).
WORDS: Mapping[str, tuple[str, int | None]] = {
    "silence": ("changes", 0),
    "moves": ("changes", 1),
    "rolling": ("rolling", None),
    "cold": ("cold", None),
    "steady": ("steady", None),
}


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rebalance", description=__doc__)
    parser.add_argument("scenario", choices=[*WORDS, "all"])
    parser.add_argument("--clients", default=",".join(DEFAULT), help=f"of {', '.join(CLIENTS)}")
    parser.add_argument("--pods", type=int, default=25)
    parser.add_argument("--members", type=int, default=4, help="consumers in each pod")
    parser.add_argument("--partitions", type=int, default=100)
    parser.add_argument("--per-second", type=float, default=10.0, help="records to each partition")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--rolled", type=int, help="pods rolled; 6 of 25 by default")
    parser.add_argument("--kafka", default=DEFAULT_VERSION, help="version of the brokers")
    parser.add_argument(
        "--confluent-python", default=sys.executable, help="a Python with confluent-kafka"
    )
    options = parser.parse_args(words)
    options.clients = options.clients.split(",")
    unknown = [client for client in options.clients if client not in CLIENTS]
    if unknown:
        parser.error(f"unknown clients: {', '.join(unknown)}")
    options.rolled = options.rolled or max(1, options.pods * 6 // 25)
    return options


async def _rehearse(site: Site, client: str, shape: Shape) -> None:
    """Have a client run once before it is measured: its code is compiled by then."""
    smallest = replace(shape, pods=1, members=1, partitions=1)
    async with stage(site, client, smallest, "rehearsal") as here:
        here.start_traffic(tail=False)
        await here.start_pods()
        await here.finish()


async def _row(
    scenario: Scenario,
    site: Site,
    client: str,
    options: argparse.Namespace,
    shape: Shape,
    rehearsed: set[str],
) -> Sequence[table.Figures] | str:
    """One client's figures, or why there are none: the others are measured all the same."""
    try:
        if client not in rehearsed:
            rehearsed.add(client)
            await _rehearse(site, client, shape)
        return await scenario.measure(site, client, options, shape)
    except ClientUnavailableError as error:
        return str(error)
    except (FleetError, KafkaError, CalledProcessError, OSError) as error:
        _say(f"{client} failed: {error!r}")
        return "failed: " + " ".join(str(error).split())[-200:]


async def _run(options: argparse.Namespace, site: Site, shape: Shape) -> None:
    wanted = list(WORDS) if options.scenario == "all" else [options.scenario]
    measured: dict[str, Rows] = {}
    rehearsed: set[str] = set()
    for word in wanted:
        run, only = WORDS[word]
        scenario = SCENARIOS[run]
        if run not in measured:
            measured[run] = {
                client: await _row(scenario, site, client, options, shape, rehearsed)
                for client in options.clients
            }
        for number, (title, columns) in enumerate(scenario.tables.items()):
            if only in (None, number):
                print(f"\n{title}:\n\n{table.render(columns, measured[run])}", flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """Print the tables; 3 when there are no brokers here."""
    options = _options(words)
    # Waiting for a coordinator is no news, and aiokafka says it many times.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    shape = Shape(
        pods=options.pods,
        members=options.members,
        partitions=options.partitions,
        per_second=options.per_second,
    )
    try:
        with Guard() as guard:
            directory = Path(tempfile.mkdtemp(prefix="rebalance-", dir=roomy_memory()))
            guard.remove(directory)
            # What is installed is compiled already, and so is every client here when it is
            # measured, whatever this checkout and its environment do about it.
            os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
            os.environ["PYTHONPYCACHEPREFIX"] = str(directory / "bytecode")
            with Cluster(
                options.kafka,
                directory=directory / "kafka",
                offsets_partitions=50,
                rebalance_delay_ms=3000,
                guard=guard,
            ) as cluster:
                tools = Tools(directory, options.confluent_python)
                site = Site(cluster.bootstrap_servers, guard, directory, tools)
                print(
                    f"{shape.pods} pods of {shape.members} consumers, {shape.partitions} "
                    f"partitions, {shape.per_second * shape.partitions:g} records/s, Kafka "
                    f"{options.kafka}, {os.cpu_count()} cores, medians of {options.repeat}"
                )
                asyncio.run(_run(options, site, shape))
    except BrokersUnavailable as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
