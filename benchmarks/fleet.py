"""A whole fleet on this machine: how soon it is ready, what it costs idle, how fast it delivers.

``python -m benchmarks.fleet --processes 100 --events 60000 --workers ours,careful``
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from aiokafka import AIOKafkaProducer

from benchmarks.controller.ground import brokers
from benchmarks.processes import cpu_seconds, resident_mb
from deploy.demo.stage import PARTITIONS, ROOT, create_topics
from deploy.drill.notes import NOTE_BYTES
from deploy.drill.stage import CUSTOMERS, TOPIC, workers_environment, write_endpoints
from kafka_utils import Admin

BYTES = 1_000
IDLE_SECONDS = 30.0
SETTLE_SECONDS = 5.0
LOOK_SECONDS = 0.25
READY_SECONDS = 240.0
WORK_SECONDS = 300.0
FIRST_SHARE, LAST_SHARE = 0.2, 0.95
"""Of the arrivals, between which the rate is taken: the backlog is still being written before."""
GROUPS = {"ours": "webhook-workers", "careful": "careful"}


@dataclass(frozen=True, slots=True)
class Figures:
    """What one fleet came to."""

    ready_seconds: float
    idle_percent: float
    """Of one core, for each process."""
    resident_mb: float
    """Of each process, after the work; what they share counts for each."""
    per_second: float
    cpu_us: float
    """For each delivery, of all processes together."""
    spread: float
    """The most that one process used of CPU, over the mean."""


@contextmanager
def customers(directory: Path) -> Iterator[tuple[int, Path]]:
    """Their port, and the ledger of what arrives."""
    ledger = directory / "ledger"
    ledger.touch()
    words = [sys.executable, "-m", "deploy.drill.receiver", str(ledger), "0.05"]
    log = directory / "customers.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(words, stdout=output, cwd=ROOT) as process,  # noqa: S603
    ):
        try:
            while not (port := log.read_text()).endswith("\n"):
                time.sleep(LOOK_SECONDS)
            yield int(port), ledger
        finally:
            process.kill()


@contextmanager
def fleet(kind: str, count: int, servers: str, directory: Path, port: int) -> Iterator[list[int]]:
    """So many processes; their ids."""
    environ = workers_environment(servers, directory) | {
        "WORKER_METRICS_PORT": "0",
        "WORKER_LOG_LEVEL": "warning",
    }
    # An image has its modules compiled; without this each process compiles ours anew.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    careful = [sys.executable, "-m", "benchmarks.isolation.careful", str(port), TOPIC, "127.0.0.1"]
    words = careful if kind == "careful" else ["webhook-worker", "run"]
    with (directory / "fleet.log").open("wb") as log:
        processes = [_begun(words, environ, number, log.fileno()) for number in range(count)]
    try:
        yield [each.pid for each in processes]
        for each in processes:
            if each.poll() is not None:
                raise RuntimeError((directory / "fleet.log").read_text()[-2_000:])
    finally:
        for each in processes:
            each.kill()
        for each in processes:
            each.wait()


def _begun(
    words: Sequence[str], environ: Mapping[str, str], number: int, log: int
) -> subprocess.Popen[bytes]:
    own = {**environ, "WORKER_PROCESS_INDEX": str(number)}
    return subprocess.Popen(words, env=own, stdout=log, stderr=log, cwd=ROOT)  # noqa: S603


async def ready(servers: str, group: str, members: int) -> None:
    """Return when the group has so many members and they own every partition."""
    async with Admin(tuple(servers.split(","))) as admin, asyncio.timeout(READY_SECONDS):
        while True:
            described = await admin.describe_group(group)
            owned = {here for member in described.members for here in member.partitions}
            if len(described.members) == members and len(owned) == PARTITIONS:
                return
            await asyncio.sleep(LOOK_SECONDS)


async def fill(servers: str, count: int) -> None:
    """Put a backlog into the topic, as fast as it can be written."""
    async with AIOKafkaProducer(
        bootstrap_servers=servers, max_batch_size=1_000_000, linger_ms=5
    ) as producer:
        for number in range(count):
            await producer.send(TOPIC, _event(number), partition=number * 7 // 3 % PARTITIONS)


def _event(number: int) -> bytes:
    event = {
        "id": f"evt_{number}",
        "type": "order.paid",
        "customer_id": str(number % CUSTOMERS),
        "timestamp": "2026-01-01T00:00:00Z",
        "data": {"number": number, "filling": "x" * (BYTES - 150)},
    }
    return json.dumps(event).encode()


def run(kind: str, count: int, events: int) -> Figures:
    """One fleet on brokers of its own."""
    with tempfile.TemporaryDirectory() as name, brokers() as servers:
        directory = Path(name)
        create_topics(workers_environment(servers, directory), ["--partitions", str(PARTITIONS)])
        with customers(directory) as (port, ledger):
            write_endpoints(directory, port)
            began = time.monotonic()
            with fleet(kind, count, servers, directory, port) as pids:
                asyncio.run(ready(servers, GROUPS[kind], count))
                took = time.monotonic() - began
                time.sleep(SETTLE_SECONDS)
                before = cpu_seconds(pids)
                time.sleep(IDLE_SECONDS)
                idle = (cpu_seconds(pids) - before) / IDLE_SECONDS / count
                return _work(servers, events, pids, ledger, took, idle)


def _work(
    servers: str, events: int, pids: Sequence[int], ledger: Path, took: float, idle: float
) -> Figures:
    each_before = [cpu_seconds([pid]) for pid in pids]
    looks: list[tuple[float, float, float]] = []
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "benchmarks.fleet", "--fill", servers, "--events", str(events)],
        cwd=ROOT,
    ) as filling:
        give_up = time.monotonic() + WORK_SECONDS
        while not looks or looks[-1][1] < events:
            # Two notes for each delivery: it arrived, it was answered.
            arrived = ledger.stat().st_size / NOTE_BYTES / 2
            looks.append((time.monotonic(), arrived, cpu_seconds(pids)))
            if looks[-1][0] > give_up:
                raise TimeoutError(f"{arrived:.1f} of {events} deliveries after {WORK_SECONDS} s")
            time.sleep(LOOK_SECONDS)
        filling.wait()
    first = next(look for look in looks if look[1] >= FIRST_SHARE * events)
    last = next(look for look in looks if look[1] >= LAST_SHARE * events)
    done = last[1] - first[1]
    used = [cpu_seconds([pid]) - so_far for pid, so_far in zip(pids, each_before, strict=True)]
    return Figures(
        ready_seconds=took,
        idle_percent=100 * idle,
        resident_mb=resident_mb(pids) / len(pids),
        per_second=done / (last[0] - first[0]),
        cpu_us=(last[2] - first[2]) / done * 1e6,
        spread=max(used) / statistics.mean(used),
    )


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--processes", type=int, default=100)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--workers", default="ours,careful")
    parser.add_argument("--fill", metavar="SERVERS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fill:
        asyncio.run(fill(options.fill, options.events))
        return 0
    print(
        f"{options.processes} processes, a backlog of {options.events:,} events, "
        f"{os.cpu_count()} cores, medians of {options.repeat}\n"
    )
    print("| worker | all ready | idle | MB | deliveries/s | CPU each | spread |")
    print("|---|---|---|---|---|---|---|")
    for kind in options.workers.split(","):
        runs = [run(kind, options.processes, options.events) for _ in range(options.repeat)]
        columns = zip(*map(astuple, runs), strict=True)
        middle = Figures(*(statistics.median(column) for column in columns))
        print(
            f"| {kind} | {middle.ready_seconds:.1f} s | {middle.idle_percent:.2f} % "
            f"| {middle.resident_mb:.1f} | {middle.per_second:,.0f} | {middle.cpu_us:.0f} us "
            f"| {middle.spread:.2f} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
