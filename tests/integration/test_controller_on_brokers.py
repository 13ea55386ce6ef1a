"""The controller on real brokers: nothing lost or repeated, committed to the end of the log."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.producer import message_accumulator
from aiokafka.record import default_records
from prometheus_client import CollectorRegistry

from app_worker.admission import Admission, Source
from app_worker.controller import Controller, ControllerSettings, Subscription
from app_worker.delays import DelaySchedule
from app_worker.handler import Done, Outcome, Park
from app_worker.observability.metrics import WorkerMetrics
from app_worker.offset_map import Scope
from app_worker.parked_headers import fresh, unpark
from app_worker.parking import Parking
from app_worker.positions import Policy
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
    create_producer,
)
from tests.conftest import ExistingCluster

Handle = Callable[[Record], Awaitable[Sequence[Outcome]]]


@dataclass
class Handled:
    """A handler that remembers which records it finished, and where they first stood."""

    seconds: float = 0.0
    outcomes: Callable[[Record], Sequence[Outcome]] = lambda _: [Done()]
    records: list[Record] = field(default_factory=list)

    async def handle(self, record: Record) -> Sequence[Outcome]:
        await asyncio.sleep(self.seconds)
        self.records.append(record)
        return self.outcomes(record)


@dataclass
class Ground:
    """A topic of one's own with what belongs to it, and controllers that work on it."""

    servers: tuple[str, ...]
    topic: str
    group: str
    admin: Admin
    producer: RenewableProducer
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.metrics = WorkerMetrics(self.registry)
        self.schedule = DelaySchedule.parse(self.topic, "1s")
        self.limits = Admission(50, 1_000_000)

    async def create(self, topic: str, partitions: int) -> None:
        await self.admin.create([TopicSpec(name=topic, partitions=partitions, replication=3)])

    def controller(
        self,
        consumer: IncrementalConsumer,
        handled: Handled,
        policy: Policy = "earliest",
        source: Source = Source.FRESH,
    ) -> Controller:
        return Controller(
            consumer=consumer,
            committed=lambda here: self.admin.committed_offsets(self.group, here),
            handler=handled,
            parking=Parking(self.producer, self.schedule, f"{self.topic}.dead", self.metrics),
            limits=self.limits,
            settings=ControllerSettings(
                handler_timeout_seconds=5.0,
                drain_timeout_seconds=6.0,
                auto_offset_reset=policy,
                source=source,
            ),
            metrics=self.metrics,
            read=fresh if source is Source.FRESH else unpark,
            scope=Scope("cluster", self.group),
        )

    @asynccontextmanager
    async def working(
        self,
        handled: Handled,
        subscription: Subscription | None = None,
        policy: Policy = "earliest",
        source: Source = Source.FRESH,
        session_timeout_ms: int = 6_000,
    ) -> AsyncIterator[IncrementalConsumer]:
        config = ConsumerConfig(
            bootstrap_servers=self.servers,
            group_id=self.group if source is Source.FRESH else f"{self.group}.retry",
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=200,
            rebalance_timeout_ms=10_000,
            revoke_timeout_ms=6_000,
        )
        consumer = create_consumer(config)
        await consumer.start()
        controller = self.controller(consumer, handled, policy, source)
        subscribed = subscription or Subscription(topics=(self.topic,))
        run = asyncio.create_task(controller.run(subscribed))
        try:
            await asyncio.wait_for(controller.joined.wait(), 15)
            yield consumer
        finally:
            controller.stop()
            await asyncio.wait_for(run, 15)

    async def produce(self, count: int, partitions: int, start: int = 0) -> None:
        servers = list(self.servers)
        async with AIOKafkaProducer(bootstrap_servers=servers, acks="all") as producer:
            for number in range(start, start + count):
                value = str(number).encode()
                await producer.send(self.topic, value, partition=number % partitions)

    async def committed_and_ends(self, group: str | None = None) -> tuple[dict[int, int], ...]:
        """What the group has committed, and where the logs end."""
        reader = AIOKafkaConsumer(bootstrap_servers=list(self.servers), group_id=None)
        admin = AIOKafkaAdminClient(bootstrap_servers=list(self.servers))
        async with AsyncExitStack() as stack:
            await reader.start()
            stack.push_async_callback(reader.stop)
            await admin.start()
            stack.push_async_callback(admin.close)
            count = (await self.admin.partition_counts([self.topic]))[self.topic]
            partitions = [TopicPartition(self.topic, index) for index in range(count)]
            ends = await reader.end_offsets(partitions)
            committed = await admin.list_consumer_group_offsets(group or self.group)
        return (
            {one.partition: offset.offset for one, offset in committed.items()},
            {one.partition: end for one, end in ends.items()},
        )

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"worker_{name}_total", labels) or 0.0


@pytest.fixture
async def ground(cluster: Cluster | ExistingCluster) -> AsyncIterator[Ground]:
    servers = tuple(cluster.bootstrap_servers.split(","))
    topic = f"controller-{uuid.uuid4().hex[:8]}"
    config = ProducerConfig(bootstrap_servers=servers)
    producer = RenewableProducer(lambda: create_producer(config))
    async with Admin(bootstrap_servers=servers, client_id="tests") as admin:
        await producer.start()
        try:
            yield Ground(servers, topic, f"{topic}-group", admin, producer)
        finally:
            await producer.stop()


async def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_when_one_of_two_leaves_nothing_is_lost_or_repeated(ground: Ground) -> None:
    await ground.create(ground.topic, 6)
    one, two = Handled(0.02), Handled(0.02)
    total = 6_000
    async with ground.working(one):
        async with ground.working(two):
            producing = asyncio.create_task(ground.produce(total, 6))
            await until(lambda: len(one.records) > 500 and len(two.records) > 500)
        await producing
        await until(lambda: len(one.records) + len(two.records) >= total)
    handled = Counter(record.value for record in one.records + two.records)
    ledger = {"sent": total, "handled": handled.total(), "distinct": len(handled)}
    assert ledger == {"sent": total, "handled": total, "distinct": total}
    committed, ends = await ground.committed_and_ends()
    assert committed == ends


async def test_in_a_rebalance_what_stays_is_worked_on_while_what_goes_is_drained(
    ground: Ground,
) -> None:
    await ground.create(ground.topic, 4)
    let_go = asyncio.Event()

    class HeldAtFirst(Handled):
        async def handle(self, record: Record) -> Sequence[Outcome]:
            if record.offset == 0:
                await let_go.wait()
            return await super().handle(record)

    draining = {"group": ground.group, "event": "revoked"}
    one, two = HeldAtFirst(), Handled()
    async with ground.working(one) as first:
        await until(lambda: len(first.assignment()) == 4)
        await ground.produce(4, 4)
        await until(lambda: ground.limits.in_flight == 4)
        async with ground.working(two) as second:
            await until(lambda: ground.count("rebalances", **draining) == 1)
            await ground.produce(40, 4, start=4)
            await until(lambda: len(one.records) == 20)
            assert len({record.partition for record in one.records}) == 2
            assert not second.assignment()
            let_go.set()
            await until(lambda: len(two.records) == 20)
    handled = Counter(record.value for record in one.records + two.records)
    assert (handled.total(), len(handled)) == (44, 44)
    committed, ends = await ground.committed_and_ends()
    assert committed == ends


async def test_a_log_that_ends_in_transaction_markers_is_committed_to_its_end(
    ground: Ground,
) -> None:
    await ground.create(ground.topic, 2)
    handled = Handled()
    async with ground.working(handled):
        producer = AIOKafkaProducer(
            bootstrap_servers=list(ground.servers), transactional_id=ground.topic
        )
        async with producer:
            for number in range(4):
                await producer.begin_transaction()
                await producer.send(ground.topic, b"%d" % number, partition=0)
                if number % 2:
                    await producer.abort_transaction()
                else:
                    await producer.commit_transaction()
        await until(lambda: len(handled.records) == 2)
        await asyncio.sleep(1.5)
        committed, ends = await ground.committed_and_ends()
        assert ends == {0: 8, 1: 0}
        assert committed == ends
    assert [record.value for record in handled.records] == [b"0", b"2"]


async def test_records_deleted_before_they_were_read_are_counted_as_lost(ground: Ground) -> None:
    await ground.create(ground.topic, 1)
    handled = Handled()
    async with ground.working(handled):
        await ground.produce(5, 1)
        await until(lambda: len(handled.records) == 5)
    await ground.produce(20, 1, start=5)
    admin = AIOKafkaAdminClient(bootstrap_servers=list(ground.servers))
    try:
        await admin.start()
        await admin.delete_records({TopicPartition(ground.topic, 0): RecordsToDelete(15)})
    finally:
        await admin.close()
    async with ground.working(handled):
        await until(lambda: len(handled.records) == 15)
    assert [record.offset for record in handled.records] == [*range(5), *range(15, 25)]
    assert ground.count("lost_records", topic=ground.topic) == 10
    committed, ends = await ground.committed_and_ends()
    assert committed == ends


async def test_latest_begins_at_the_end_and_keeps_that_place(ground: Ground) -> None:
    await ground.create(ground.topic, 3)
    await ground.produce(9, 3)
    handled = Handled()
    async with ground.working(handled, policy="latest"):
        await asyncio.sleep(1)
    await ground.produce(3, 3, start=9)
    async with ground.working(handled, policy="latest"):
        await until(lambda: len(handled.records) == 3)
    assert sorted(record.value or b"" for record in handled.records) == [b"10", b"11", b"9"]


async def test_a_parked_delivery_comes_back_after_its_delay_with_everything_it_had(
    ground: Ground,
) -> None:
    await ground.create(ground.topic, 1)
    await ground.create(ground.schedule.topic_for("1s"), 2)
    park = Handled(outcomes=lambda _: [Done("a"), Park("b", 1, "1s", "status", "503")])
    again = Handled()
    retries = Subscription(topics=ground.schedule.topics())
    async with (
        ground.working(again, retries, source=Source.PARKED) as consumer,
        ground.working(park),
    ):
        assert consumer.subscription() == {f"{ground.topic}.retry.1s"}
        async with AIOKafkaProducer(bootstrap_servers=list(ground.servers)) as producer:
            for number in range(50):
                headers = [("mine", b"%d" % number)]
                value = b"%d" % number
                await producer.send(ground.topic, value, key=b"k", headers=headers)
        loop = asyncio.get_running_loop()
        await until(lambda: len(park.records) == 50)
        began = loop.time()
        await until(lambda: len(again.records) == 50)
        assert 0.7 < loop.time() - began < 1.8
    # They are handled concurrently, so in no order that could be relied on.
    first, second = (min(each.records, key=lambda r: r.origin) for each in (park, again))
    assert (second.delivery, second.attempts) == ("b", 1)
    assert (second.key, second.value, list(second.headers)) == (
        first.key,
        first.value,
        list(first.headers),
    )
    assert (second.origin, second.timestamp_ms) == (first.origin, first.timestamp_ms)
    assert {record.origin.offset for record in again.records} == set(range(50))
    committed, _ = await ground.committed_and_ends(f"{ground.group}.retry")
    assert sum(committed.values()) == 50


async def test_a_stop_with_fifty_in_flight_finishes_and_commits_them_once(ground: Ground) -> None:
    await ground.create(ground.topic, 4)
    await ground.produce(400, 4)
    first, second = Handled(seconds=1.5), Handled()
    async with ground.working(first):
        await until(lambda: ground.limits.in_flight == 50)
        await asyncio.sleep(0.2)
    assert len(first.records) == 50
    async with ground.working(second):
        await until(lambda: len(second.records) == 350)
    handled = Counter(record.value for record in first.records + second.records)
    assert (handled.total(), len(handled)) == (400, 400)


async def test_a_record_too_large_for_its_delay_topic_becomes_a_dead_letter_and_parking_goes_on(
    ground: Ground,
) -> None:
    await ground.create(ground.topic, 1)
    await ground.create(f"{ground.topic}.dead", 1)
    small = {"max.message.bytes": "2000"}
    delay = TopicSpec(name=f"{ground.topic}.retry.1s", partitions=1, replication=3, configs=small)
    await ground.admin.create([delay])
    handled = Handled(outcomes=lambda _: [Park("b", 1, "1s", "status")])
    async with ground.working(handled):
        async with AIOKafkaProducer(bootstrap_servers=list(ground.servers)) as producer:
            for size in (10, 5_000, 10, 10):
                await producer.send_and_wait(ground.topic, b"x" * size)
        await until(lambda: ground.count("outcomes", outcome="parked") == 3)
        await until(lambda: ground.count("dead_letters", reason="too_large") == 1)
    committed, ends = await ground.committed_and_ends()
    assert committed == ends == {0: 4}


class NotText(str):
    """A header name as other clients can write it: bytes that are no UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


async def test_a_record_that_cannot_be_decoded_is_dead_lettered_and_holds_up_nothing(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ground.create(ground.topic, 3)
    await ground.create(f"{ground.topic}.dead", 1)
    handled = Handled()
    async with AIOKafkaProducer(bootstrap_servers=list(ground.servers)) as producer:

        async def batch(*names: str) -> None:
            # The one in C does not let a name write itself.
            with monkeypatch.context() as patched:
                builder = default_records._DefaultRecordBatchBuilderPy
                patched.setattr(message_accumulator, "DefaultRecordBatchBuilder", builder)
                made = producer.create_batch()
                for name in names:
                    headers = [(name, b"1")]
                    made.append(key=None, value=b"v", timestamp=None, headers=headers)
                await (await producer.send_batch(made, ground.topic, partition=0))

        bad = NotText("bad")
        # What is behind a bad record in its batch cannot be reached.
        await batch("good", "good", bad, "good")
        await batch(bad, bad)
        async with ground.working(handled):
            for number in range(200):
                await producer.send_and_wait(ground.topic, b"%d" % number, partition=number % 3)
            await until(lambda: len(handled.records) == 202)
            await until(lambda: ground.count("dead_letters", reason="undecodable") == 4)
    committed, ends = await ground.committed_and_ends()
    assert committed == ends
    places = Counter((record.partition, record.offset) for record in handled.records)
    assert set(places.values()) == {1}
    assert {(0, offset) for offset in (2, 3, 4, 5)}.isdisjoint(places)


async def test_a_member_that_stops_while_it_waits_in_a_join_leaves_no_ghost(
    ground: Ground,
) -> None:
    await ground.create(ground.topic, 4)
    slow = Handled(seconds=4.0)
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as staying:
        leaving = AsyncExitStack()
        await leaving.enter_async_context(ground.working(Handled(), session_timeout_ms=30_000))
        busy = await staying.enter_async_context(ground.working(slow, session_timeout_ms=30_000))
        await until(lambda: len(busy.assignment()) == 2)
        await ground.produce(4, 4)
        await until(lambda: ground.limits.in_flight == 2)
        # A third member makes the first one wait in its join while the second one drains.
        third = asyncio.create_task(
            staying.enter_async_context(ground.working(Handled(), session_timeout_ms=30_000))
        )
        await asyncio.sleep(1.5)
        began = loop.time()
        await leaving.aclose()
        newest = await third
        await until(lambda: len(busy.assignment()) + len(newest.assignment()) == 4)
        assert loop.time() - began < 10
