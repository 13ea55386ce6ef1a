"""Members that end at the wrong moment leave, on real brokers, no partition without an owner."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import pytest
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import NoOffsetForPartitionError

from kafka_utils import Admin, ConsumerConfig, ConsumerEvents, TopicSpec, create_consumer
from tests.conftest import ExistingCluster

PARTITIONS = 4
PATIENCE_SECONDS = 30
LONG_SESSION_MS = 30_000
"""Within a test nobody is expelled."""


class Member(ConsumerRebalanceListener):
    """One member, which asks for records all the time; there are none."""

    def __init__(self, servers: str, topic: str, name: str, **options: Any) -> None:
        given: dict[str, Any] = {"session_timeout_ms": LONG_SESSION_MS, **options}
        config = ConsumerConfig(
            bootstrap_servers=tuple(servers.split(",")),
            group_id=topic,
            client_id=name,
            heartbeat_interval_ms=500,
            **given,
        )
        self.consumer = create_consumer(config, ConsumerEvents())
        self.topic = topic
        self.drain_seconds = 0.0
        self.drains = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None

    async def start(self) -> "Member":
        await self.consumer.start()
        self.consumer.subscribe([self.topic], listener=self)
        self._polling = asyncio.create_task(self._poll())
        return self

    async def _poll(self) -> None:
        while True:
            try:
                await self.consumer.getmany(timeout_ms=200)
            except NoOffsetForPartitionError as error:
                self.consumer.seek(error.args[0], 0)

    async def stop(self) -> None:
        assert self._polling
        self._polling.cancel()
        await asyncio.wait({self._polling})
        await self.consumer.stop()

    @property
    def owned(self) -> set[int]:
        return {here.partition for here in self.consumer.assignment()}

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        pass

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self.drains.set()
        await asyncio.sleep(self.drain_seconds)


class Scene:
    """A topic, and the members of its group."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.topic = f"ends.{uuid.uuid4().hex[:8]}"
        self.members: list[Member] = []

    async def start(self, name: str, **options: Any) -> Member:
        member = Member(self.servers, self.topic, name, **options)
        self.members.append(member)
        return await member.start()

    async def shared(self, *members: Member, partitions: int = PARTITIONS) -> None:
        """Wait until these own everything, evenly."""

        def done() -> bool:
            owned = [here for member in members for here in member.owned]
            sizes = [len(member.owned) for member in members]
            return sorted(owned) == list(range(partitions)) and max(sizes) - min(sizes) <= 1

        await self.until(done)

    async def until(self, done: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not done():  # noqa: ASYNC110 - brokers have no event to wait for
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError([member.owned for member in self.members]) from None


@pytest.fixture
async def scene(cluster: ExistingCluster) -> AsyncIterator[Scene]:
    scene = Scene(cluster.bootstrap_servers)
    async with Admin(tuple(scene.servers.split(","))) as admin:
        await admin.create([TopicSpec(name=scene.topic, partitions=PARTITIONS, replication=3)])
    yield scene
    await asyncio.gather(*(member.stop() for member in scene.members))


async def test_partitions_added_before_the_leader_changes_keep_having_an_owner(
    scene: Scene,
) -> None:
    leader = await scene.start("a", metadata_max_age_ms=1_000)
    await scene.shared(leader)
    heir = await scene.start("b")  # Its metadata may be five minutes old.
    await scene.shared(leader, heir)
    client = AIOKafkaAdminClient(bootstrap_servers=scene.servers)
    await client.start()
    await client.create_partitions({scene.topic: NewPartitions(total_count=PARTITIONS + 1)})
    await client.close()
    await scene.shared(leader, heir, partitions=PARTITIONS + 1)
    await leader.consumer.relinquish()

    await scene.shared(heir, partitions=PARTITIONS + 1)


async def test_a_static_member_that_stops_while_another_leaves_takes_up_its_own_again(
    scene: Scene,
) -> None:
    stays = await scene.start("a", group_instance_id="a")
    await scene.shared(stays)
    static = await scene.start("b", group_instance_id="b")
    leaves = await scene.start("c")
    await scene.shared(stays, static, leaves)
    static.drain_seconds = 3.0
    stopping = asyncio.create_task(static.stop())
    await static.drains.wait()
    await leaves.stop()
    await stopping
    again = await scene.start("b", group_instance_id="b")

    await scene.shared(stays, again)


async def test_who_gives_up_stopping_is_a_member_until_its_session_ends_and_no_longer(
    scene: Scene,
) -> None:
    gives_up = await scene.start("a", session_timeout_ms=6_000)
    stays = await scene.start("b")
    await scene.shared(gives_up, stays)
    gives_up.drain_seconds = 60.0
    stopping = asyncio.create_task(gives_up.stop())
    await gives_up.drains.wait()
    stopping.cancel()
    await asyncio.wait({stopping})

    await scene.shared(stays)
