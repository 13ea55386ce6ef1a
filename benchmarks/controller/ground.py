"""Brokers with a topic full of records, and a controller with a handler that does nothing."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry

from app_worker.admission import Admission
from app_worker.controller import Controller, ControllerSettings, Subscription
from app_worker.delays import DelaySchedule
from app_worker.handler import Done, Handler, Outcome
from app_worker.handover.needs import Words
from app_worker.observability.metrics import WorkerMetrics
from app_worker.offset_map import Scope
from app_worker.parking import Parking
from app_worker.renewable_producer import RenewableProducer
from deploy.local.brokers import Cluster
from deploy.local.guard import Guard
from deploy.local.scratch import roomy_memory
from kafka_utils import (
    Admin,
    ConsumerConfig,
    IncrementalConsumer,
    ProducerConfig,
    TopicSpec,
    create_consumer,
    create_producer,
)

PARTITIONS = 4
DONE: Sequence[Outcome] = [Done()]


@contextmanager
def brokers() -> Iterator[str]:
    """Three brokers with their logs in memory; the addresses."""
    with Guard() as guard:
        directory = Path(tempfile.mkdtemp(prefix="controller-", dir=roomy_memory()))
        guard.remove(directory)
        with Cluster(directory=directory / "kafka", guard=guard) as cluster:
            yield cluster.bootstrap_servers


async def fill(servers: str, topic: str, count: int, size: int) -> None:
    """Make a topic and put so many records of so many bytes into it."""
    async with Admin(tuple(servers.split(","))) as admin:
        await admin.create([TopicSpec(name=topic, partitions=PARTITIONS, replication=1)])
    value = os.urandom(size)
    async with AIOKafkaProducer(
        bootstrap_servers=servers, max_batch_size=1_000_000, linger_ms=5
    ) as producer:
        for number in range(count):
            await producer.send(topic, value, partition=number % PARTITIONS)


@asynccontextmanager
async def consumer(servers: str, group: str) -> AsyncIterator[IncrementalConsumer]:
    """A consumer that is started; whoever takes it over stops it."""
    made = create_consumer(
        ConsumerConfig(bootstrap_servers=tuple(servers.split(",")), group_id=group)
    )
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@asynccontextmanager
async def working(
    servers: str,
    topic: str,
    group: str,
    handler: Handler,
    limits: Admission,
    words: Words | None = None,
) -> AsyncIterator[CollectorRegistry]:
    """A controller at work on the topic, and its metrics."""
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    addresses = tuple(servers.split(","))
    producer = RenewableProducer(
        lambda: create_producer(ProducerConfig(bootstrap_servers=addresses))
    )
    await producer.start()
    async with Admin(addresses) as admin, consumer(servers, group) as source:
        controller = Controller(
            consumer=source,
            committed=lambda here: admin.committed_offsets(group, here),
            handler=handler,
            parking=Parking(producer, DelaySchedule.parse(topic, "1s"), "dead", metrics),
            limits=limits,
            settings=ControllerSettings(handler_timeout_seconds=20, drain_timeout_seconds=25),
            metrics=metrics,
            scope=Scope(await admin.cluster_id(), group),
            words=words,
        )
        run = asyncio.create_task(controller.run(Subscription(topics=(topic,))))
        try:
            yield registry
        finally:
            controller.stop()
            await run
            await producer.stop()
