"""Groups on real brokers: what is told of them, and the requests that aiokafka does not have."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol, TypeVar

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.group import JoinGroupRequest, SyncGroupRequest
from aiokafka.structs import OffsetAndMetadata

from kafka_utils import (
    Admin,
    ConsumerConfig,
    ProducerConfig,
    TopicSpec,
    create_consumer,
    create_producer,
)
from kafka_utils.group_questions import Removed
from kafka_utils.requests import (
    DescribeGroupsRequest,
    HeartbeatRequest,
    LeaveGroupRequest,
    LeavingMember,
    OffsetCommitRequest,
    OffsetFetchRequest,
)
from webhook_worker.cli import main

T = TypeVar("T")

PARTITIONS = 4
PATIENCE_SECONDS = 30
OK, UNKNOWN_MEMBER, MEMBER_ID_REQUIRED, FENCED = 0, 25, 79, 82
NOT_READY = (14, 15, 16)
"""What brokers answer while they make the offsets topic and its leaders read it."""


class Brokers(Protocol):
    """What the tests need to know of a cluster."""

    @property
    def bootstrap_servers(self) -> str: ...


@pytest.fixture
def servers(cluster: Brokers) -> tuple[str, ...]:
    return tuple(cluster.bootstrap_servers.split(","))


@pytest.fixture
async def admin(servers: tuple[str, ...]) -> AsyncIterator[Admin]:
    async with Admin(servers) as admin:
        yield admin


@pytest.fixture
async def topic(admin: Admin) -> str:
    name = f"group-description.{uuid.uuid4().hex}"
    await admin.create([TopicSpec(name=name, partitions=PARTITIONS, replication=3)])
    return name


class Member:
    """Speaks a group's protocol request by request, over one connection to its coordinator."""

    def __init__(self, client: AIOKafkaClient, group: str, instance_id: str | None) -> None:
        self.client = client
        self.group = group
        self.instance_id = instance_id
        self.node = -1
        self.member_id = ""
        self.generation = -1
        self.members: list[tuple[str, str | None]] = []

    async def send(self, request: Any) -> Any:
        return await self.client.send(self.node, request)

    async def find_coordinator(self) -> int:
        some = self.client.get_random_node()
        found = await self.client.send(some, FindCoordinatorRequest(self.group, 0))
        self.node = found.coordinator_id
        code: int = found.error_code
        return code

    async def join(self, metadata: bytes = b"", assignment: bytes = b"") -> None:
        """Join, and give everything there is to itself."""
        instance_id: Any = self.instance_id  # aiokafka's types want one; null is as good
        code = NOT_READY[0]
        joined: Any = None
        while code in (*NOT_READY, MEMBER_ID_REQUIRED):
            if code in NOT_READY:
                await asyncio.sleep(0.05)
                code = await self.find_coordinator()
                if code != OK:
                    continue
            joined = await self.send(
                JoinGroupRequest(
                    self.group,
                    30_000,
                    30_000,
                    self.member_id,
                    instance_id,
                    "consumer",
                    [("own", metadata)],
                )
            )
            code = joined.error_code
            self.member_id = joined.member_id
        assert code == OK
        self.members = [(member, instance) for member, instance, _ in joined.members]
        self.generation = joined.generation_id
        synced = await self.send(
            SyncGroupRequest(
                self.group,
                self.generation,
                self.member_id,
                instance_id,
                [(self.member_id, assignment)],
            )
        )
        assert synced.error_code == OK

    async def heartbeat(self) -> int:
        answer = await self.send(
            HeartbeatRequest(
                group=self.group,
                generation_id=self.generation,
                member_id=self.member_id,
                group_instance_id=self.instance_id,
            )
        )
        code: int = answer.error_code
        return code

    async def commit(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> set[int]:
        answer = await self.send(
            OffsetCommitRequest(
                group=self.group,
                generation_id=self.generation,
                member_id=self.member_id,
                group_instance_id=self.instance_id,
                offsets=offsets,
            )
        )
        return {code for _, partitions in answer.topics for _, code in partitions}


@pytest.fixture
async def client(servers: tuple[str, ...]) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(bootstrap_servers=list(servers))
    await client.bootstrap()
    yield client
    await client.close()


@pytest.mark.parametrize("instance_id", [None, "pod-1"])
async def test_a_member_lives_by_our_requests(
    client: AIOKafkaClient, topic: str, instance_id: str | None
) -> None:
    member = Member(client, topic, instance_id)
    here, there = TopicPartition(topic, 0), TopicPartition(topic, 3)
    await member.join(b"mine", b"all")
    assert member.members == [(member.member_id, instance_id)]

    assert await member.heartbeat() == OK
    assert await member.commit({here: OffsetAndMetadata(7, "seven")}) == {OK}

    for wanted in ([here, there], None):
        fetched = await member.send(OffsetFetchRequest(group=topic, partitions=wanted))
        said = fetched.to_object()
        assert said["error_code"] == OK
        assert [topic["topic"] for topic in said["topics"]] == [topic]
        offsets = {
            p["partition"]: (p["offset"], p["metadata"]) for p in said["topics"][0]["partitions"]
        }
        assert offsets == {0: (7, "seven")} | ({} if wanted is None else {3: (-1, "")})

    described = (await member.send(DescribeGroupsRequest([topic]))).to_object()["groups"]
    assert [(group["error_code"], group["state"]) for group in described] == [(OK, "Stable")]
    (told,) = described[0]["members"]
    assert (told["member_id"], told["group_instance_id"]) == (member.member_id, instance_id)
    assert (told["member_metadata"], told["member_assignment"]) == (b"mine", b"all")

    leaving = LeavingMember(member.member_id, instance_id)
    left = await member.send(LeaveGroupRequest(group=topic, members=[leaving]))
    assert left.error_code == OK
    assert left.members == [(member.member_id, instance_id, OK)]
    assert await member.heartbeat() == UNKNOWN_MEMBER


async def test_of_two_members_with_one_instance_id_the_first_is_fenced(
    client: AIOKafkaClient, topic: str
) -> None:
    first, second = Member(client, topic, "pod-1"), Member(client, topic, "pod-1")
    await first.join()
    await second.join()

    assert await second.heartbeat() == OK
    assert await first.heartbeat() == FENCED
    assert await first.commit({TopicPartition(topic, 0): OffsetAndMetadata(7, "")}) == {FENCED}


@asynccontextmanager
async def consuming(
    servers: tuple[str, ...], topic: str, *instance_ids: str | None
) -> AsyncIterator[list[AIOKafkaConsumer]]:
    """Have a consumer for each in a group of the topic's name, all with what they are due."""
    async with AsyncExitStack() as stack:
        consumers: list[AIOKafkaConsumer] = []
        for number, instance_id in enumerate(instance_ids):
            config = ConsumerConfig(
                bootstrap_servers=servers,
                group_id=topic,
                client_id=f"worker-{number}",
                assignors=("roundrobin",),
                group_instance_id=instance_id,
                session_timeout_ms=10_000,
                heartbeat_interval_ms=200,
            )
            consumer: Any = create_consumer(config)
            consumer.subscribe([topic])
            stack.push_async_callback(consumer.stop)
            await consumer.start()
            consumers.append(consumer)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while sum(len(c.assignment()) for c in consumers) != PARTITIONS:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        yield consumers


async def produce(servers: tuple[str, ...], topic: str, count: int) -> None:
    """Write so many records to each partition."""
    producer = create_producer(ProducerConfig(bootstrap_servers=servers))
    await producer.start()
    try:
        for number in range(PARTITIONS * count):
            await producer.send_and_wait(topic, b"%d" % number, partition=number % PARTITIONS)
    finally:
        await producer.stop()


async def until(ask: Callable[[], Awaitable[T]], good: Callable[[T], bool]) -> T:
    """Ask until the answer is good: each question may reach a broker that learns later."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not good(answer := await ask()):  # noqa: ASYNC110 - brokers tell no event
            await asyncio.sleep(0.05)
    return answer


async def test_a_group_is_described_with_its_members_and_their_lag(
    servers: tuple[str, ...], topic: str, admin: Admin
) -> None:
    await produce(servers, topic, 5)
    async with consuming(servers, topic, None, "pod-1-0") as (first, second):
        for consumer in (first, second):
            await consumer.commit(dict.fromkeys(consumer.assignment(), 2))
        group = await until(
            lambda: admin.describe_group(topic),
            lambda group: group.stable and len(group.partitions) == PARTITIONS,
        )
        held = [consumer.assignment() for consumer in (first, second)]

    assert (group.protocol_type, group.assignor) == ("consumer", "roundrobin")
    assert [member.client_id for member in group.members] == ["worker-0", "worker-1"]
    assert [member.instance_id for member in group.members] == [None, "pod-1-0"]
    assert [{here.partition for here in member.partitions} for member in group.members] == held
    assert {member.host for member in group.members} == {"127.0.0.1"}
    assert {member.topics for member in group.members} == {(topic,)}
    assert {(here.committed, here.log_end, here.lag) for here in group.partitions} == {(2, 5, 3)}
    assert len(group.partitions) == PARTITIONS
    assert group.unowned == ()
    assert group.coordinator.node_id in group.leaders
    assert group.coordinator.rack is not None


async def test_an_empty_group_still_has_its_lag(
    servers: tuple[str, ...], topic: str, admin: Admin
) -> None:
    await produce(servers, topic, 3)
    async with consuming(servers, topic, None) as (consumer,):
        await consumer.commit({TopicPartition(topic, 1): 1})
    group = await until(
        lambda: admin.describe_group(topic), lambda group: len(group.partitions) == PARTITIONS
    )

    assert (group.state, group.members) == ("Empty", ())
    assert [(here.partition.partition, here.committed, here.lag) for here in group.unowned] == [
        (0, None, None),
        (1, 1, 2),
        (2, None, None),
        (3, None, None),
    ]


async def test_a_group_that_does_not_exist_is_dead(admin: Admin) -> None:
    group = await admin.describe_group(f"missing.{uuid.uuid4().hex}")

    assert (group.exists, group.state) == (False, "Dead")
    assert (group.members, group.unowned) == ((), ())


async def test_a_member_that_speaks_otherwise_is_shown_as_such(
    client: AIOKafkaClient, topic: str, admin: Admin
) -> None:
    await Member(client, topic, None).join(b"mine", b"all")
    group = await admin.describe_group(topic)

    (member,) = group.members
    assert member.unreadable is not None
    assert (member.topics, member.partitions) == ((), ())


async def test_only_the_static_members_that_are_named_are_removed(
    servers: tuple[str, ...], topic: str, admin: Admin
) -> None:
    async with consuming(servers, topic, "pod-1-0", "pod-2-0", None):
        pass
    before = await admin.describe_group(topic)
    assert {member.instance_id for member in before.members} == {"pod-1-0", "pod-2-0"}

    removed = await admin.remove_static_members(topic, ["pod-9-0", "pod-1-0", "pod-9-0"])

    assert removed == Removed(removed=("pod-1-0",), unknown=("pod-9-0",))
    after = await admin.describe_group(topic)
    assert {member.instance_id for member in after.members} == {"pod-2-0"}


async def test_nobody_is_removed_from_a_group_that_does_not_exist(admin: Admin) -> None:
    removed = await admin.remove_static_members(f"missing.{uuid.uuid4().hex}", ["pod-1-0"])

    assert removed == Removed(removed=(), unknown=("pod-1-0",))


async def test_leaders_and_replicas_are_those_of_the_topics_asked_for(
    topic: str, admin: Admin
) -> None:
    cluster = await until(
        lambda: admin.describe_topics([topic, "missing"]),
        lambda cluster: sum(cluster.leaders.values()) == PARTITIONS,
    )
    everything = await until(admin.describe_topics, lambda cluster: topic in cluster.topics)

    assert set(cluster.topics) == {topic}
    assert set(cluster.leaders) == {broker.node_id for broker in cluster.brokers}
    assert all(len(partition.replicas) == 3 for partition in cluster.topics[topic].partitions)
    assert sum(everything.leaders.values()) > PARTITIONS


async def test_the_command_tells_of_a_group_and_takes_a_member_out(
    servers: tuple[str, ...], topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {"KAFKA_BOOTSTRAP_SERVERS": ",".join(servers), "KAFKA_GROUP_ID": topic}

    async def command(*argv: str) -> tuple[int, str]:
        status = await asyncio.to_thread(main, ["group", *argv], environ)
        out, err = capsys.readouterr()
        return status, out + err

    await produce(servers, topic, 2)
    async with consuming(servers, topic, "pod-1-0") as (consumer,):
        await consumer.commit(dict.fromkeys(consumer.assignment(), 1))
        status, told = await command("describe")
    assert status == 0
    assert "state: Stable\n" in told
    assert "members: 1, 1 of them static; 4 to 4 partitions each\n" in told
    assert f"lag: 4 in 4 partitions, most in {topic} 0 (1)\n" in told
    assert "unowned: none\n" in told
    assert f"  {topic} 0-3  " in told

    remove = ("remove-members", "--instance-id", "pod-1-0")
    assert await command(*remove) == (
        2,
        f"webhook-worker group {remove[0]}: would remove from group {topic}: pod-1-0; "
        "--yes does it\n",
    )
    assert await command(*remove, "--yes") == (0, "pod-1-0: removed\n")
    assert await command(*remove, "--yes") == (1, f"pod-1-0: unknown to group {topic}\n")

    status, told = await command("describe", "--json")
    assert (status, json.loads(told)["state"], json.loads(told)["lag"]) == (0, "Empty", 4)
    assert (await command("describe", "--group", f"{topic}.missing"))[0] == 1
