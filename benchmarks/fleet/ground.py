"""What all fleets of one run share: brokers, customers, and a topic for each fleet."""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from benchmarks.fleet.filler import fill
from benchmarks.fleet.receiver import Customers, customers
from benchmarks.processes import with_word
from benchmarks.rebalance.fleet import ROOT, FleetError
from benchmarks.rebalance.ownership import Group
from benchmarks.rebalance.watching import Watcher
from deploy.demo.stage import create_topics
from deploy.drill.stage import workers_environment
from deploy.local.brokers import DEFAULT_VERSION, Cluster
from deploy.local.guard import Guard
from deploy.local.scratch import roomy_memory
from kafka_utils import Admin

RECEIVERS = 2
WARM_EVENTS = 20_000
WARM_SECONDS = 60.0
COMPILED = ("packages", "benchmarks", "deploy")
DROPPED = ("_proxy", "pythondontwritebytecode", "session_timeout_ms", "heartbeat_interval_ms")
"""Ends of names of variables that no worker has: modules are compiled, as in an image, and sessions
are as long as each worker has them by default."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Of one run."""

    guard: Guard
    directory: Path
    servers: str
    brokers: Mapping[int, int]
    """The process of each broker, by its port."""
    customers: Customers

    def environ(self) -> dict[str, str]:
        """What every worker sees; each is told more."""
        whole = workers_environment(self.servers, self.directory)
        return {name: v for name, v in whole.items() if not name.lower().endswith(DROPPED)}

    def prepare(self, topic: str, partitions: int) -> None:
        """Create a topic, and all that our own worker needs beside it. Raises StageError."""
        names = {"WEBHOOK_TOPIC": topic, "WEBHOOK_DEAD_LETTER_TOPIC": f"{topic}.dead-letter"}
        create_topics(self.environ() | names, ["--partitions", str(partitions)])

    def remove(self, topic: str) -> None:
        """Delete it again, so that the brokers have the same to do for each fleet."""
        asyncio.run(_remove(self.servers, topic))

    def parked(self, topic: str) -> int:
        """How many events were put off into the delay topics of this topic."""
        return asyncio.run(_parked(self.servers, topic))

    def coordinator(self, group: str) -> int:
        """The port of the broker that coordinates the group."""
        return asyncio.run(_coordinator(self.servers, group))


async def _warm(servers: str, partitions: int) -> None:
    await fill(servers, "warm", partitions, WARM_EVENTS)
    async with AIOKafkaConsumer(
        "warm", bootstrap_servers=servers, group_id="warm", auto_offset_reset="earliest"
    ) as consumer:
        async with asyncio.timeout(WARM_SECONDS):
            read = 0
            while read < WARM_EVENTS:
                read += sum(map(len, (await consumer.getmany(timeout_ms=200)).values()))


async def _remove(servers: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        names = [name for name in await admin.list_topics() if name.startswith(topic)]
        with suppress(KafkaError):
            await admin.delete_topics(names)
    finally:
        await admin.close()


async def _parked(servers: str, topic: str) -> int:
    async with (
        Admin(tuple(servers.split(","))) as admin,
        AIOKafkaConsumer(bootstrap_servers=servers) as consumer,
    ):
        counts = await admin.partition_counts()
        delays = [
            TopicPartition(name, number)
            for name, count in counts.items()
            for number in range(count)
            if name.startswith(f"{topic}.retry.")
        ]
        return sum((await consumer.end_offsets(delays)).values())


async def _coordinator(servers: str, group: str) -> int:
    async with Admin(tuple(servers.split(","))) as admin:
        return (await admin.describe_group(group)).coordinator.port


async def until(
    servers: str,
    group: str,
    topic: str,
    fulfilled: Callable[[Group], bool],
    check: Callable[[], None],
    *,
    seconds: float,
    look_seconds: float = 0.25,
) -> None:
    """Return when the group is so; ``check`` may raise meanwhile. Raises FleetError."""
    give_up = time.monotonic() + seconds
    group_now: Group | None = None
    async with Watcher(servers, group, topic) as watcher:
        while time.monotonic() < give_up:
            check()
            with suppress(KafkaError):
                group_now = await watcher.group()
                if fulfilled(group_now):
                    return
            await asyncio.sleep(look_seconds)
    seen = f"{group_now.state}, {len(group_now.members)} members" if group_now else "no answer"
    raise FleetError(f"the group was not whole after {seconds:g} s: {seen}")


@contextmanager
def ground(
    partitions: int, version: str = DEFAULT_VERSION, extra: Mapping[str, str] | None = None
) -> Iterator[Ground]:
    """Three brokers that have worked already, and customers.

    Raises BrokersUnavailable, ReceiverError, StageError.
    """
    modules = [str(ROOT / name) for name in COMPILED]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *modules], check=True)  # noqa: S603
    with Guard() as guard:
        directory = Path(tempfile.mkdtemp(prefix="fleet-", dir=roomy_memory()))
        guard.remove(directory)
        cluster = Cluster(
            version,
            directory=directory / "kafka",
            # Kafka's own defaults, because rebalances are measured.
            offsets_partitions=50,
            rebalance_delay_ms=3_000,
            extra=extra,
            guard=guard,
        )
        with cluster, customers(guard, directory, RECEIVERS) as there:
            made = Ground(
                guard, directory, cluster.bootstrap_servers, _processes(cluster, directory), there
            )
            # The first fleet is not to pay for what the brokers' Java compiles.
            made.prepare("warm", partitions)
            asyncio.run(_warm(made.servers, partitions))
            made.remove("warm")
            yield made


def _processes(cluster: Cluster, directory: Path) -> dict[int, int]:
    found = {}
    for number, address in enumerate(cluster.bootstrap_servers.split(",")):
        pid = with_word(str((directory / "kafka").resolve() / f"broker-{number}.properties"))
        if pid is None:
            raise FleetError(f"the process of broker {number} is not to be found")
        found[int(address.rpartition(":")[2])] = pid
    return found
