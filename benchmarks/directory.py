"""What a topic of many endpoints costs each process that holds it: memory, and time to load it.

`python -m benchmarks.directory [ENDPOINTS]` starts brokers, fills a topic (100,000 by default) and
reads it in processes of their own, beside the same with an empty topic.
"""

import argparse
import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median

from app_worker.clients import connected
from benchmarks.processes import resident_mb
from deploy.local.brokers import Cluster
from deploy.local.guard import Guard
from kafka_utils import (
    Admin,
    ConsumerConfig,
    ProducerConfig,
    TopicSpec,
    create_producer,
    create_reader,
)
from webhook_worker.directory import EndpointProblem
from webhook_worker.directory.topic import TopicDirectory

REPEAT = 3
GROUP = "(none is joined)"


def entry(number: int) -> bytes:
    """A customer has two endpoints."""
    return json.dumps(
        {
            "id": f"ep_{number:08}",
            "customer_id": f"cust_{number // 2:08}",
            "url": f"https://hooks.customer-{number}.example/webhooks/in",
            "secrets": ["whsec_" + base64.b64encode(os.urandom(32)).decode()],
            "event_types": ["order.paid", "order.refunded"],
            "headers": {"x-tenant": f"t{number}"},
            "limits": {"concurrency": 10},
        },
        separators=(",", ":"),
    ).encode()


class _Holder:
    """Knows how many there are."""

    counts: Mapping[str, int]

    def holds(self, counts: Mapping[str, int], problems: Iterable[EndpointProblem]) -> None:
        """Remember the counts."""
        self.counts = counts
        if list(problems):
            raise ValueError("an entry is wrong")

    def is_current(self) -> None:
        """Nothing waits for it."""

    def cannot_be_read(self, error: Exception) -> None:
        """End the measurement."""
        raise error


async def load(servers: str, topic: str) -> None:
    """Print what loading the topic took, and what it holds afterwards."""
    config = ConsumerConfig(bootstrap_servers=tuple(servers.split(",")), group_id=GROUP)
    holder = _Holder()
    directory = TopicDirectory(lambda: connected(lambda: create_reader(config, topic)), holder)
    began, cpu = time.monotonic(), time.process_time()
    following = asyncio.create_task(directory.follow())
    await directory.caught_up.wait()
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    while not directory.is_checked:  # noqa: ASYNC110 - nobody is told of it
        await asyncio.sleep(0.05)
    checked = time.monotonic() - began
    memory = resident_mb([os.getpid()])
    following.cancel()
    await asyncio.wait([following])
    print(json.dumps([seconds, cpu, checked, memory, sum(holder.counts.values())]))


async def _fill(servers: str, topics: Mapping[str, int]) -> None:
    addresses = tuple(servers.split(","))
    async with Admin(addresses) as admin:
        compact = {"cleanup.policy": "compact"}
        await admin.create(
            [TopicSpec(name=t, partitions=1, replication=3, configs=compact) for t in topics]
        )
    config = ProducerConfig(bootstrap_servers=addresses, linger_ms=20)
    async with connected(lambda: create_producer(config)) as producer:
        for topic, count in topics.items():
            for number in range(count):
                await producer.send(topic, entry(number), key=f"ep_{number:08}".encode())
        await producer.flush()


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.directory", description=__doc__)
    parser.add_argument("endpoints", nargs="?", type=int, default=100_000)
    parser.add_argument("--load", nargs=2, metavar=("SERVERS", "TOPIC"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        asyncio.run(load(*options.load))
        return 0
    topics = {"none": 0, "many": options.endpoints}
    with (
        tempfile.TemporaryDirectory() as directory,
        Guard() as guard,
        Cluster(directory=Path(directory) / "kafka", guard=guard) as cluster,
    ):
        servers = cluster.bootstrap_servers
        asyncio.run(_fill(servers, topics))
        heads = ("loaded s", "CPU s", "checked s", "MB", "endpoints")
        print(" " * 8 + "".join(f"{head:>12}" for head in heads))
        for topic in topics:
            rows = [_measured(servers, topic) for _ in range(REPEAT)]
            figures = [median(column) for column in zip(*rows, strict=True)]
            print(f"{topic:8}" + "".join(f"{figure:12.2f}" for figure in figures))
    return 0


def _measured(servers: str, topic: str) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.directory", "--load", servers, topic]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)  # noqa: S603 - our own
    figures: list[float] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    sys.exit(main())
