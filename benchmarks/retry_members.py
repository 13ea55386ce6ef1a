"""What a second consumer, for the delay topics, costs: in every process, in one of four, in none.

`python -m benchmarks.retry_members [PROCESSES]` starts brokers and idle workers (8 by default) and
prints memory and CPU for each choice, in one run. It decided which processes read delay topics.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import median

from app_worker import DelaySchedule, Outcome, Record, WorkerPlan, load_settings, run_worker
from app_worker.observability.metrics import create_registry
from benchmarks.processes import cpu_seconds, resident_mb
from deploy.local.brokers import Cluster
from deploy.local.guard import Guard, kill_sessions
from deploy.local.ports import free_ports
from kafka_utils import Admin, TopicSpec

TOPIC = "work"
SCHEDULE = DelaySchedule.parse(TOPIC, "5s,5m,30m,2h,5h,10h,14h,20h,24h")
SETTLE_SECONDS = 15.0
MEASURED_SECONDS = 40.0
CHOICES: dict[str, Callable[[int], bool]] = {
    "in none": lambda _: False,
    "in one of four": lambda index: index % 4 == 0,
    "in every process": lambda _: True,
}


class _NothingToDo:
    async def handle(self, record: Record) -> Sequence[Outcome]:  # noqa: ARG002 - the protocol's name
        return ()


@asynccontextmanager
async def _handler() -> AsyncIterator[_NothingToDo]:
    yield _NothingToDo()


def member(retries: bool) -> int:
    """Run one worker process, from the environment."""
    kafka, worker = load_settings(os.environ)
    plan = WorkerPlan(
        topic=TOPIC,
        schedule=SCHEDULE,
        dead_letter_topic="dead",
        needed_topics=(TOPIC,),
        create_command="(the benchmark's own)",
        retries=retries,
    )
    return asyncio.run(run_worker(plan, kafka, worker, _handler(), create_registry()))


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            answer.read()
    except OSError:  # also urllib's HTTPError, for a 503
        return False
    return True


def _brokers() -> list[int]:
    """The processes of the brokers that run on this machine."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if b"\0kafka.Kafka\0" in entry.read_bytes():
                found.append(int(entry.parent.name))
    return found


def measure(choice: str, processes: int, servers: str, guard: Guard) -> str:
    """One row of the table."""
    ports = free_ports(processes)
    group = choice.replace(" ", "-")
    members = [
        guard.spawn(
            [sys.executable, "-m", "benchmarks.retry_members", "--member"]
            + (["--retries"] if CHOICES[choice](index) else []),
            output=subprocess.DEVNULL,
            env={
                **os.environ,
                "KAFKA_BOOTSTRAP_SERVERS": servers,
                "KAFKA_GROUP_ID": group,
                "WORKER_METRICS_PORT": str(port - index),
                "WORKER_PROCESS_INDEX": str(index),
            },
        )
        for index, port in enumerate(ports)
    ]
    began = time.monotonic()
    while not all(map(_is_ready, ports)):
        time.sleep(0.1)
    ready = time.monotonic() - began
    time.sleep(SETTLE_SECONDS)
    pids = [each.pid for each in members]
    brokers = _brokers()
    before = [cpu_seconds([pid]) for pid in pids], cpu_seconds(brokers)
    time.sleep(MEASURED_SECONDS)
    ours = [
        100 * (cpu_seconds([p]) - b) / MEASURED_SECONDS
        for p, b in zip(pids, before[0], strict=True)
    ]
    theirs = 100 * (cpu_seconds(brokers) - before[1]) / MEASURED_SECONDS
    memory = [resident_mb([pid]) for pid in pids]
    for each in members:
        kill_sessions([each.pid], signal.SIGTERM)
        each.wait()
        guard.release(each.pid)
    figures = (ready, median(memory), max(memory), median(ours), max(ours), theirs)
    return f"{choice:18}" + "".join(f"{figure:10.2f}" for figure in figures)


async def _create_topics(servers: str) -> None:
    async with Admin(tuple(servers.split(","))) as admin:
        await admin.create(
            [
                TopicSpec(name=TOPIC, partitions=100, replication=3),
                *(TopicSpec(name=n, partitions=12, replication=3) for n in SCHEDULE.topics()),
            ]
        )


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retry_members", description=__doc__)
    parser.add_argument("processes", nargs="?", type=int, default=8)
    parser.add_argument("--member", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--retries", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.member:
        return member(options.retries)
    heads = ("ready s", "MB", "most MB", "CPU %", "most %", "brokers %")
    with (
        tempfile.TemporaryDirectory() as directory,
        Guard() as guard,
        Cluster(directory=Path(directory) / "kafka", guard=guard) as cluster,
    ):
        servers = cluster.bootstrap_servers
        asyncio.run(_create_topics(servers))
        print(f"{options.processes} idle processes, {MEASURED_SECONDS:g} s; a second consumer:")
        print(" " * 18 + "".join(f"{head:>10}" for head in heads))
        for choice in CHOICES:
            print(measure(choice, options.processes, servers, guard), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
