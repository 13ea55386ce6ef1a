"""A topic of numbered records, a receiver of them, and what workers in between are told."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from kafka_utils import Admin, TopicSpec
from tests.harness.line_receiver import AGAIN, LineReceiver, is_parked
from tests.harness.worker_process import Worker

PARTITIONS = 3
"""So that each broker leads one."""
IN_FLIGHT = 100


class Scene:
    """A topic of numbered records, and what a worker of it is told."""

    def __init__(self, servers: str, partitions: int = PARTITIONS) -> None:
        self.servers = servers
        self.partitions = partitions
        self.topic = f"killed.{uuid.uuid4().hex[:8]}"
        self.delay_topic = f"{self.topic}.retry.1s"

    def environ(self, receiver: LineReceiver) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.servers,
            "KAFKA_GROUP_ID": self.topic,
            "KAFKA_SESSION_TIMEOUT_MS": "6000",
            "KAFKA_HEARTBEAT_INTERVAL_MS": "1000",
            "WORKER_MAX_IN_FLIGHT": str(IN_FLIGHT),
            "TEST_TOPIC": self.topic,
            "TEST_PORT": str(receiver.port),
        }

    def admin(self) -> Admin:
        return Admin(tuple(self.servers.split(",")))

    async def create(self, delay_partitions: int = PARTITIONS, delay_replicas: int = 3) -> None:
        shapes = {
            self.topic: (self.partitions, 3),
            self.delay_topic: (delay_partitions, delay_replicas),
            f"{self.topic}.dead-letter": (PARTITIONS, 3),
        }
        async with self.admin() as admin:
            await admin.create(
                [
                    TopicSpec(name=name, partitions=partitions, replication=replicas)
                    for name, (partitions, replicas) in shapes.items()
                ]
            )

    async def produce(self, count: int, start: int = 0) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.servers, acks="all") as producer:
            for number in range(start, start + count):
                await producer.send(self.topic, b"%d" % number, partition=number % self.partitions)


async def until(worker: Worker, reached: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not reached():
            assert worker.process.poll() is None, worker.messages()
            await asyncio.sleep(0.02)


class Fault:
    """A scene with a receiver that answers slowly, and the ledger in the end."""

    def __init__(self, scene: Scene, receiver: LineReceiver, parks: bool) -> None:
        self.receiver = receiver
        self.scene = scene
        self.sent = 0
        self._parks = parks

    @property
    def owed(self) -> set[int]:
        """What the receiver is to get: what was parked twice, the second time as another number."""
        first = range(self.sent)
        return {*first, *(AGAIN + number for number in first if self._parks and is_parked(number))}

    async def send(self, count: int) -> None:
        await self.scene.produce(count, start=self.sent)
        self.sent += count

    async def all_answered(self, worker: Worker) -> None:
        await until(worker, lambda: self.owed <= self.receiver.answered)

    def ledger(self) -> dict[str, int]:
        counts = Counter(each.number for each in self.receiver.deliveries)
        return {
            "sent": self.sent,
            "lost": len(self.owed - self.receiver.answered),
            "repeated": counts.total() - len(counts),
        }


@asynccontextmanager
async def fault(
    servers: str,
    *,
    parks: bool = False,
    delay_partitions: int = PARTITIONS,
    delay_replicas: int = 3,
) -> AsyncIterator[Fault]:
    async with LineReceiver(lambda _: 0.1) as receiver:
        scene = Scene(servers)
        await scene.create(delay_partitions, delay_replicas)
        yield Fault(scene, receiver, parks)
