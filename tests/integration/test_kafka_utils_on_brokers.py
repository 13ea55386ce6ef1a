"""kafka_utils against real brokers: topics, and records through the factories' clients."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any, Protocol

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import NoOffsetForPartitionError, UnknownTopicOrPartitionError

from kafka_utils import (
    Admin,
    ConsumerConfig,
    ProducerConfig,
    TopicCreationError,
    TopicSpec,
    create_consumer,
    create_producer,
    create_reader,
)
from kafka_utils.aiokafka_internals import fetcher

PARTITIONS = 6
PATIENCE_SECONDS = 30


class Brokers(Protocol):
    """What the tests need to know of a cluster."""

    @property
    def bootstrap_servers(self) -> str: ...


class FromTheStart(ConsumerRebalanceListener):
    """Reads each partition from its first record: without a reset policy somebody must say so."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        pass

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        for partition in assigned:
            self.consumer.seek(partition, 0)


@pytest.fixture
def servers(cluster: Brokers) -> tuple[str, ...]:
    return tuple(cluster.bootstrap_servers.split(","))


@pytest.fixture
async def admin(servers: tuple[str, ...]) -> AsyncIterator[Admin]:
    async with Admin(servers) as admin:
        yield admin


@pytest.fixture
async def topic(admin: Admin) -> str:
    name = f"kafka-utils.{uuid.uuid4().hex}"
    await admin.create([TopicSpec(name=name, partitions=PARTITIONS, replication=3)])
    return name


async def eventually(answer: Callable[[], Awaitable[object]], expected: object) -> None:
    """Ask until the answer is the expected one."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await answer() != expected:  # noqa: ASYNC110 - brokers have no event to wait for
            await asyncio.sleep(0.05)


async def started(stack: AsyncExitStack, client: Any) -> Any:
    """Start the client, and have the stack stop it."""
    stack.push_async_callback(client.stop)
    await client.start()
    return client


async def test_a_topic_is_created_once(admin: Admin) -> None:
    name = f"kafka-utils.{uuid.uuid4().hex}"
    specs = [
        TopicSpec(name=name, partitions=5, replication=3, configs={"min.insync.replicas": "2"})
    ]

    first = await admin.create(specs)
    second = await admin.create(specs)

    assert (first.created, first.existing) == ((name,), ())
    assert (second.created, second.existing) == ((), (name,))
    await eventually(lambda: admin.partition_counts([name]), {name: 5})


async def test_a_topic_that_exists_is_listed(admin: Admin) -> None:
    name = f"kafka-utils.{uuid.uuid4().hex}"
    await admin.create([TopicSpec(name=name, partitions=1, replication=3)])

    async def is_listed() -> bool:
        return name in await admin.list_topics()

    # Each question may reach another broker, and they learn of a topic one after the other.
    await eventually(is_listed, True)


async def test_asking_for_a_missing_topic_does_not_create_it(admin: Admin) -> None:
    name = f"kafka-utils.{uuid.uuid4().hex}"

    assert await admin.partition_counts([name]) == {}
    assert await admin.partition_counts([name]) == {}
    assert name not in await admin.list_topics()


@pytest.fixture
def connected_to(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The address of each connection that is made, in order."""
    made: list[tuple[str, int]] = []
    connect: Any = AIOKafkaConnection.connect

    async def noted(connection: AIOKafkaConnection) -> Any:
        made.append((connection.host, connection.port))
        return await connect(connection)

    monkeypatch.setattr(AIOKafkaConnection, "connect", noted)
    return made


async def test_a_client_goes_on_over_the_connection_that_it_began_with(
    servers: tuple[str, ...], connected_to: list[tuple[str, int]]
) -> None:
    async with Admin(servers) as admin:
        await admin.cluster_id()
        await admin.partition_counts()
        await admin.broker_config(["offsets.retention.minutes"])

    assert len(connected_to) == 1


async def test_a_server_that_no_broker_listens_at_by_that_name_is_only_begun_with(
    servers: tuple[str, ...], connected_to: list[tuple[str, int]]
) -> None:
    other_name = servers[0].replace("127.0.0.1", "localhost")
    async with Admin((other_name,)) as admin:
        await admin.cluster_id()
        await admin.partition_counts()

    assert [host for host, _ in connected_to] == ["localhost", "127.0.0.1"]


async def test_a_server_that_is_down_is_passed_over(servers: tuple[str, ...]) -> None:
    for _ in range(4):  # They are tried in any order.
        async with Admin(("127.0.0.1:1", servers[0])) as admin:
            assert await admin.brokers() >= 3


async def test_topics_that_the_brokers_refuse_are_named_with_their_reasons(admin: Admin) -> None:
    prefix = f"kafka-utils.{uuid.uuid4().hex}"
    good, wide, odd = f"{prefix}.good", f"{prefix}.wide", f"{prefix}.odd"

    with pytest.raises(TopicCreationError) as caught:
        await admin.create(
            [
                TopicSpec(name=good, partitions=1, replication=3),
                TopicSpec(name=wide, partitions=1, replication=99),
                TopicSpec(name=odd, partitions=1, replication=3, configs={"no.such": "1"}),
            ]
        )

    assert caught.value.created == (good,)
    assert set(caught.value.failures) == {wide, odd}
    assert "99" in caught.value.failures[wide]
    assert "InvalidReplicationFactorError" in caught.value.failures[wide]
    assert "InvalidConfigurationError" in caught.value.failures[odd]


async def test_live_brokers_are_counted(admin: Admin) -> None:
    assert await admin.brokers() >= 3


@pytest.mark.parametrize(
    "assignors", [("range",), ("roundrobin",), ("sticky",), ("sticky", "range")]
)
async def test_two_members_read_every_record_between_them(
    servers: tuple[str, ...], topic: str, assignors: tuple[str, ...]
) -> None:
    config = ConsumerConfig(
        bootstrap_servers=servers,
        group_id=f"{topic}.group",
        assignors=assignors,
        session_timeout_ms=6_000,
        heartbeat_interval_ms=200,
    )
    async with AsyncExitStack() as stack:
        consumers = [create_consumer(config), create_consumer(config)]
        for consumer in consumers:
            consumer.subscribe([topic], listener=FromTheStart(consumer))
            await started(stack, consumer)
        producer = await started(stack, create_producer(ProducerConfig(bootstrap_servers=servers)))

        async def owned() -> list[int]:
            return [len(consumer.assignment()) for consumer in consumers]

        await eventually(owned, [3, 3])
        for number in range(PARTITIONS):
            await producer.send_and_wait(topic, b"%d" % number, partition=number)

        received: list[set[bytes | None]] = [set(), set()]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(received[0] | received[1]) < PARTITIONS:
                for consumer, values in zip(consumers, received, strict=True):
                    batches = await consumer.getmany(timeout_ms=100)
                    values.update(record.value for batch in batches.values() for record in batch)

        assert [len(values) for values in received] == [3, 3]
        await consumers[0].commit()
        partition = min(consumers[0].assignment())
        assert await consumers[0].committed(partition) == 1


@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_a_record_survives_every_compression(
    servers: tuple[str, ...], topic: str, compression: str | None
) -> None:
    producer_config = ProducerConfig(bootstrap_servers=servers, compression=compression)
    consumer_config = ConsumerConfig(bootstrap_servers=servers, group_id=topic)
    partition = TopicPartition(topic, 0)
    value = b"to be compressed " * 1_000
    async with AsyncExitStack() as stack:
        producer = await started(stack, create_producer(producer_config))
        await producer.send_and_wait(topic, value, partition=0, headers=[("a", b"1")])
        consumer = await started(stack, create_consumer(consumer_config))
        consumer.assign([partition])
        consumer.seek(partition, 0)
        async with asyncio.timeout(PATIENCE_SECONDS):
            record = await consumer.getone()

    assert record.value == value
    assert record.headers == (("a", b"1"),)


async def test_a_broker_that_may_wait_for_long_answers_at_once_when_a_record_comes(
    servers: tuple[str, ...], topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher, "WAIT_MS", 1_000 * 10 * PATIENCE_SECONDS)
    config = ConsumerConfig(
        bootstrap_servers=servers,
        group_id=topic,
        request_timeout_ms=2_000 * 10 * PATIENCE_SECONDS,
    )
    first, later = (TopicPartition(topic, number) for number in (0, 1))
    async with AsyncExitStack() as stack:
        producer = await started(stack, create_producer(ProducerConfig(bootstrap_servers=servers)))
        consumer = await started(stack, create_consumer(config))

        async def read() -> bytes:
            async with asyncio.timeout(PATIENCE_SECONDS):
                value: bytes = (await consumer.getone()).value
            return value

        consumer.assign([first])
        consumer.seek(first, 0)
        while not consumer._fetcher._long.nodes:
            await consumer.getmany(timeout_ms=100)
        await producer.send_and_wait(topic, b"while it waits", partition=0)
        assert await read() == b"while it waits"

        while not consumer._fetcher._long.nodes:
            await consumer.getmany(timeout_ms=100)
        await producer.send_and_wait(topic, b"elsewhere", partition=1)
        consumer.assign([first, later])
        consumer.seek(first, 1)
        consumer.seek(later, 0)
        assert await read() == b"elsewhere"


async def test_a_topic_that_is_made_after_its_group_was_joined_is_assigned_soon(
    servers: tuple[str, ...], admin: Admin
) -> None:
    topic = f"kafka-utils.{uuid.uuid4().hex}"
    config = ConsumerConfig(bootstrap_servers=servers, group_id=f"{topic}.readers")
    assert config.metadata_max_age_ms > 1_000 * PATIENCE_SECONDS
    async with AsyncExitStack() as stack:
        consumer = await started(stack, create_consumer(config))
        joined = asyncio.Event()

        class Joined(FromTheStart):
            async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
                joined.set()

        consumer.subscribe([topic], listener=Joined(consumer))
        await joined.wait()
        assert consumer.assignment() == set()
        await admin.create([TopicSpec(name=topic, partitions=3, replication=3)])

        async def how_many() -> int:
            return len(consumer.assignment())

        await eventually(how_many, 3)


async def test_a_consumer_without_an_offset_says_so_and_starts_nowhere(
    servers: tuple[str, ...], topic: str
) -> None:
    config = ConsumerConfig(bootstrap_servers=servers, group_id=topic)
    async with AsyncExitStack() as stack:
        consumer = await started(stack, create_consumer(config))
        consumer.assign([TopicPartition(topic, 0)])
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(NoOffsetForPartitionError):
                await consumer.getone()


async def started_reader(config: ConsumerConfig, topic: str) -> AIOKafkaConsumer:
    """A topic that was just made is not known to every broker yet, and it asks one of them."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            reader = create_reader(config, topic)
            try:
                await reader.start()
            except UnknownTopicOrPartitionError:
                await reader.stop()
            else:
                return reader


async def test_who_asks_where_a_log_ends_does_not_wait_behind_a_fetch(
    servers: tuple[str, ...], topic: str
) -> None:
    config = ConsumerConfig(bootstrap_servers=servers, group_id="none", fetch_max_wait_ms=25_000)
    reader = await started_reader(config, topic)
    try:
        async with asyncio.timeout(15):
            # At the second question at the latest, a fetch waits for records that nobody sends.
            for _ in range(3):
                ends = await reader.end_offsets(list(reader.assignment()))
                assert set(ends.values()) == {0}
    finally:
        await reader.stop()
