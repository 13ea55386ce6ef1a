"""Partitions that move on real brokers while records are in flight: at once, and nothing twice."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from prometheus_client import CollectorRegistry

from app_worker.admission import Admission
from app_worker.controller import Controller, ControllerSettings, Subscription
from app_worker.delays import DelaySchedule
from app_worker.handler import Done, Outcome
from app_worker.handover.needs import Mode, Words
from app_worker.handover.words import handover_topic
from app_worker.handover_topic.reader import WordReader
from app_worker.handover_topic.writer import WordWriter
from app_worker.observability.metrics import WorkerMetrics
from app_worker.offset_map import Scope
from app_worker.parking import Parking
from app_worker.record import Record
from app_worker.renewable_producer import RenewableProducer
from deploy.local.brokers import Cluster
from kafka_utils import (
    Admin,
    ConsumerConfig,
    IncrementalConsumer,
    ProducerConfig,
    TopicSpec,
    create_consumer,
    create_place_reader,
    create_producer,
)
from tests.conftest import ExistingCluster

HANDLER_SECONDS = 6.0


@dataclass
class Ledger:
    """What all workers together did, as a receiver would see it."""

    began: list[tuple[str, int, int]] = field(default_factory=list)
    """Who began it, partition and offset."""
    ended: Counter[tuple[int, int]] = field(default_factory=Counter)
    overtaken: int = 0
    """Records that were begun while another of their partition was in flight elsewhere."""

    @property
    def repeated(self) -> int:
        counts = Counter((partition, offset) for _, partition, offset in self.began)
        return counts.total() - len(counts)


@dataclass
class Worker:
    """One worker of the group, in this process."""

    name: str
    ledger: Ledger
    seconds: Callable[[Record], float]
    consumer: IncrementalConsumer
    controller: Controller = field(init=False)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    elsewhere: dict[tuple[int, int], str] = field(default_factory=dict)

    async def handle(self, record: Record) -> Sequence[Outcome]:
        ledger, here = self.ledger, (record.partition, record.offset)
        of_others = {
            partition for (partition, _), who in self.elsewhere.items() if who != self.name
        }
        ledger.overtaken += record.partition in of_others
        ledger.began.append((self.name, *here))
        self.elsewhere[here] = self.name
        try:
            await asyncio.sleep(self.seconds(record))
        finally:
            del self.elsewhere[here]
        ledger.ended[here] += 1
        return [Done()]

    def count(self, change: str) -> float:
        labels = {"group": self.consumer._group_id, "change": change}
        return self.registry.get_sample_value("worker_holds_total", labels) or 0.0

    @property
    def owned(self) -> set[int]:
        return {here.partition for here in self.consumer.assignment()}


class Fleet:
    """A topic, its hand-over topic, and workers that come and go."""

    def __init__(self, servers: tuple[str, ...], admin: Admin) -> None:
        self.servers = servers
        self.admin = admin
        self.topic = f"handover-{uuid.uuid4().hex[:8]}"
        self.group = f"{self.topic}-group"
        self.ledger = Ledger()
        self.seconds: Callable[[Record], float] = lambda _: 0.0
        self.in_flight: dict[tuple[int, int], str] = {}

    async def create(self, partitions: int) -> None:
        specs = [
            TopicSpec(name=self.topic, partitions=partitions, replication=3),
            TopicSpec(name=handover_topic(self.topic), partitions=2, replication=3),
        ]
        await self.admin.create(specs)

    @asynccontextmanager
    async def worker(self, name: str) -> AsyncIterator[Worker]:
        """A worker that has joined; it is asked to end at the end of the block."""
        async with AsyncExitStack() as stack:
            producer = RenewableProducer(
                partial(create_producer, ProducerConfig(bootstrap_servers=self.servers))
            )
            await producer.start()
            stack.push_async_callback(producer.stop)
            config = ConsumerConfig(
                bootstrap_servers=self.servers,
                group_id=self.group,
                session_timeout_ms=6_000,
                heartbeat_interval_ms=200,
                rebalance_timeout_ms=20_000,
                revoke_timeout_ms=12_000,
                fetch_max_wait_ms=100,
            )
            consumer = create_consumer(config)
            await consumer.start()
            worker = Worker(name, self.ledger, self.seconds, consumer, elsewhere=self.in_flight)
            metrics = WorkerMetrics(worker.registry)
            topic = handover_topic(self.topic)
            worker.controller = Controller(
                consumer=consumer,
                committed=lambda here: self.admin.committed_offsets(self.group, here),
                handler=worker,
                parking=Parking(producer, DelaySchedule.parse(self.topic, "1s"), "dead", metrics),
                limits=Admission(50, 1_000_000),
                settings=ControllerSettings(
                    handler_timeout_seconds=HANDLER_SECONDS, drain_timeout_seconds=12.0
                ),
                metrics=metrics,
                scope=Scope("cluster", self.group),
                words=Words(
                    Mode(None),
                    WordWriter(topic, producer, metrics.word_failures),
                    lambda deliver: WordReader(
                        topic, lambda: create_place_reader(config), deliver, metrics
                    ),
                ),
            )
            run = asyncio.create_task(worker.controller.run(Subscription(topics=(self.topic,))))
            try:
                await asyncio.wait_for(worker.controller.joined.wait(), 20)
                yield worker
            finally:
                worker.controller.stop()
                await asyncio.wait_for(run, 20)

    @asynccontextmanager
    async def traffic(self, partitions: int, pause: float) -> AsyncIterator[list[int]]:
        """Records to each partition in turn, until the end of the block."""
        sent: list[int] = []

        async def send() -> None:
            async with AIOKafkaProducer(bootstrap_servers=list(self.servers), acks="all") as kafka:
                while not ending.is_set():
                    number = len(sent)
                    await kafka.send_and_wait(
                        self.topic, b"%d" % number, partition=number % partitions
                    )
                    sent.append(number)
                    await asyncio.sleep(pause)

        ending = asyncio.Event()
        sending = asyncio.create_task(send())
        try:
            yield sent
        finally:
            ending.set()
            await sending

    def is_busy(self, sent: Sequence[int], least: int) -> bool:
        """Whether so many are sent, and some are in flight."""
        return len(sent) > least and len(self.in_flight) >= 2

    async def send(self, *partitions: int) -> None:
        async with AIOKafkaProducer(bootstrap_servers=list(self.servers), acks="all") as kafka:
            for partition in partitions:
                await kafka.send_and_wait(self.topic, b"v", partition=partition)

    async def committed(self, partitions: int) -> dict[int, int | None]:
        here = [TopicPartition(self.topic, number) for number in range(partitions)]
        found = await self.admin.committed_offsets(self.group, here)
        return {one.partition: offset for one, offset in found.items()}


@pytest.fixture
async def fleet(cluster: Cluster | ExistingCluster) -> AsyncIterator[Fleet]:
    servers = tuple(cluster.bootstrap_servers.split(","))
    async with Admin(bootstrap_servers=servers, client_id="tests") as admin:
        yield Fleet(servers, admin)


async def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_in_a_roll_under_slow_work_nothing_waits_is_lost_or_repeated(fleet: Fleet) -> None:
    await fleet.create(6)
    fleet.seconds = lambda record: 3.0 if record.offset % 10 == 3 else 0.01
    ledger, workers = fleet.ledger, []
    async with AsyncExitStack() as last:
        async with fleet.traffic(6, 0.02) as sent:
            stacks = []
            for name in ("a", "b"):
                stacks.append(AsyncExitStack())
                workers.append(await stacks[-1].enter_async_context(fleet.worker(name)))
            for name, old in zip(("c", "d"), stacks, strict=True):
                enough = partial(fleet.is_busy, sent, len(sent) + 40)
                await until(enough)
                closing = asyncio.create_task(old.aclose())
                workers.append(await last.enter_async_context(fleet.worker(name)))
                await closing
            await until(lambda: len(sent) > 150)
        await until(lambda: len(ledger.ended) == len(sent))
        await asyncio.sleep(1.5)  # The last periodic commit.
    assert (len(ledger.ended), ledger.repeated) == (len(sent), 0)
    assert ledger.overtaken > 0, "a partition's others were begun while its slow ones went on"
    given, taken, settled, expired = (
        sum(worker.count(change) for worker in workers)
        for change in ("given", "taken", "settled", "expired")
    )
    assert given >= taken >= settled > 0
    assert expired == 0
    assert sum(offset or 0 for offset in (await fleet.committed(6)).values()) == len(sent)


async def test_through_three_workers_within_one_record(fleet: Fleet) -> None:
    await fleet.create(1)
    fleet.seconds = lambda record: 5.5 if record.offset == 0 else 0.0
    ledger = fleet.ledger
    async with AsyncExitStack() as others:
        async with fleet.worker("a") as first:
            await until(lambda: first.owned == {0})
            await fleet.send(0)
            await until(lambda: len(ledger.began) == 1)
            second = await others.enter_async_context(fleet.worker("b"))
            first.controller.stop()
            await until(lambda: second.owned == {0})
            await fleet.send(0)
            await until(lambda: ("b", 0, 1) in ledger.began)
            third = await others.enter_async_context(fleet.worker("c"))
            second.controller.stop()
            await until(lambda: third.owned == {0})
            await fleet.send(0)
            await until(lambda: ("c", 0, 2) in ledger.began)
            assert ledger.ended[0, 0] == 0, "all of that within one record"
        await until(lambda: third.count("settled") == 1)
    assert ledger.repeated == 0
    assert await fleet.committed(1) == {0: 3}


async def test_a_worker_waits_for_its_own_word_when_its_partition_comes_back(fleet: Fleet) -> None:
    await fleet.create(2)
    fleet.seconds = lambda record: 4.0 if record.offset == 0 else 0.0
    ledger = fleet.ledger
    async with fleet.worker("a") as first:
        await until(lambda: first.owned == {0, 1})
        await fleet.send(0, 1)
        await until(lambda: len(ledger.began) == 2)
        async with fleet.worker("b") as second:
            await until(lambda: len(second.owned) == len(first.owned) == 1)
        await until(lambda: first.owned == {0, 1})
        assert not ledger.ended, "all of that within one record"
        await fleet.send(0, 1)
        await until(lambda: len(ledger.ended) == 4)
        await until(lambda: first.count("settled") == 1)
    assert ledger.repeated == 0
    assert await fleet.committed(2) == {0: 2, 1: 2}
