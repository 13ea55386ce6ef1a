"""`python -m benchmarks.isolation`: events a second and p99 of healthy endpoints, alone and beside
hanging ones; ours and a careful worker on aiohttp, one process each, one after the other."""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from aiokafka import AIOKafkaProducer

from benchmarks.controller.ground import brokers
from benchmarks.delivery.sink import address
from benchmarks.isolation.shape import (
    BYTES,
    ENDPOINTS,
    HANGING,
    IN_FLIGHT,
    LATER,
    PARTITIONS,
    TIMEOUT_SECONDS,
    TOPIC,
)
from benchmarks.our_worker import COMMAND, environment
from deploy.local.brokers import BrokersUnavailable
from kafka_utils import Admin, TopicSpec

WARM_SECONDS = 10.0
"""Not measured: the first join, the first connections."""
DRAIN_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Of the healthy endpoints of one run."""

    per_second: float
    median_seconds: float
    p99_seconds: float


@contextmanager
def receiver(hanging: int, ledger: Path) -> Iterator[int]:
    """Customers in a process of their own; their port."""
    words = [sys.executable, "-m", "benchmarks.isolation.receiver", str(hanging), str(ledger)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def worker(kind: str, servers: str, port: int, directory: Path) -> Iterator[None]:
    """One process that delivers."""
    environ = os.environ | {"KAFKA_BOOTSTRAP_SERVERS": servers}
    words = [sys.executable, "-m", "benchmarks.isolation.careful", str(port)]
    if kind == "ours":
        urls = {str(n): f"http://{address(n)}:{port}/{n}" for n in range(ENDPOINTS)}
        environ = environment(directory, servers, TOPIC, "ours", IN_FLIGHT, urls)
        environ["WEBHOOK_ATTEMPT_TIMEOUT_SECONDS"] = str(TIMEOUT_SECONDS)
        words = [str(COMMAND), "run"]
    quiet = None if kind == "ours" else subprocess.DEVNULL
    with subprocess.Popen(words, env=environ, stderr=quiet) as process:  # noqa: S603
        try:
            yield
        finally:
            process.kill()


async def produce(servers: str, rate: float, seconds: float) -> float:
    """Send events for all endpoints in turn, over all partitions; when the first was sent."""
    async with AIOKafkaProducer(bootstrap_servers=servers, linger_ms=2) as producer:
        began = time.time()
        for number in range(int(rate * seconds)):
            ahead = began + number / rate - time.time()
            if ahead > 0.005:  # noqa: PLR2004 - a timer's coarseness
                await asyncio.sleep(ahead)
            # Neither in step with the endpoints nor with the partitions.
            endpoint = number * 7 % ENDPOINTS
            await producer.send(TOPIC, _event(endpoint), partition=number // 3 % PARTITIONS)
        return began


def _event(endpoint: int) -> bytes:
    data = {"pad": "x" * (BYTES - 100), "of": {"id": uuid.uuid4().hex, "sent": time.time()}}
    event = {
        "id": f"evt_{uuid.uuid4().hex}",
        "type": "order.paid",
        "customer_id": str(endpoint),
        "timestamp": "2026-01-01T00:00:00Z",
        "data": data,
    }
    return json.dumps(event).encode()


async def _topics(servers: str) -> None:
    async with Admin(tuple(servers.split(","))) as admin:
        names = (TOPIC, LATER)
        await admin.create([TopicSpec(name=n, partitions=PARTITIONS, replication=1) for n in names])


def run(kind: str, hanging: int, rate: float, seconds: float) -> Figures:
    """One run on brokers of its own."""
    with tempfile.TemporaryDirectory() as name, brokers() as servers:
        directory = Path(name)
        ledger = directory / "ledger.json"
        asyncio.run(_topics(servers))
        with receiver(hanging, ledger) as port, worker(kind, servers, port, directory):
            began = asyncio.run(produce(servers, rate, WARM_SECONDS + seconds))
            time.sleep(DRAIN_SECONDS)
            return figures(json.loads(ledger.read_text()), began + WARM_SECONDS, seconds)


def figures(ledger: Sequence[tuple[int, float, float]], begin: float, seconds: float) -> Figures:
    """Of the healthy endpoints, within the time that is measured."""
    healthy = [
        (at, late)
        for endpoint, at, late in ledger
        if endpoint >= HANGING and begin <= at < begin + seconds
    ]
    times = sorted(late for _, late in healthy)
    last = times[len(times) * 99 // 100] if times else float("inf")
    return Figures(len(times) / seconds, median(times) if times else float("inf"), last)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.isolation", description=__doc__)
    parser.add_argument("--rate", type=float, default=500.0, help="events a second, of all")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--workers", default="ours,careful", help="ours, careful, or both")
    options = parser.parse_args()
    print(f"{options.rate:g} events/s for {ENDPOINTS} endpoints, medians of {options.repeat}\n")
    print("| worker | hanging | healthy: events/s | median | p99 |\n|---|---|---|---|---|")
    try:
        for kind in options.workers.split(","):
            for hanging in (0, HANGING):
                runs = [
                    run(kind, hanging, options.rate, options.seconds) for _ in range(options.repeat)
                ]
                rate = median(each.per_second for each in runs)
                middle = median(each.median_seconds for each in runs)
                last = median(each.p99_seconds for each in runs)
                row = f"| {kind} | {hanging} of {ENDPOINTS} | {rate:.0f} "
                print(f"{row}| {middle * 1000:.0f} ms | {last:.2f} s |", flush=True)
    except BrokersUnavailable as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
