"""Members of one cooperative group as processes, on real brokers of the oldest and newest kind."""

import asyncio
import signal
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from deploy.local.brokers import Cluster
from deploy.local.guard import Guard
from deploy.local.scratch import roomy_memory
from kafka_utils import Admin, TopicSpec
from tests.conftest import running
from tests.harness.group_account import (
    Line,
    balanced,
    missing,
    overlaps,
    owners_at,
    ownerships,
    repeated,
)
from tests.harness.group_process import GroupProcess

pytestmark = pytest.mark.timeout(300)  # Brokers that start on a busy machine take long.

PARTITIONS = 12
PATIENCE_SECONDS = 60
PRODUCE_SECONDS = 0.05
SESSION_MS = 6_000
LONG_SESSION_MS = 30_000
LONG_DRAIN: dict[str, Any] = {"drain": 40.0, "rebalance_ms": 100_000}
"""Until SIGHUP: how soon a process of a test comes about depends on how busy the machine is."""


@pytest.fixture(scope="module", params=["2.8.1", "4.1.0"])
def brokers(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three brokers of each version; a test that ends one starts it again."""
    with Guard() as guard:
        directory = Path(tempfile.mkdtemp(prefix="kafka-", dir=roomy_memory()))
        guard.remove(directory)
        yield from running(Cluster(request.param, directory=directory, guard=guard))


class Scene:
    """A topic with a steady trickle of records, a group, and its processes."""

    def __init__(
        self, brokers: Cluster, partitions: int = PARTITIONS, pause: float = PRODUCE_SECONDS
    ) -> None:
        self.brokers = brokers
        self.partitions = partitions
        self.pause = pause
        self.topic = f"group.{uuid.uuid4().hex[:8]}"
        self.group = f"{self.topic}.readers"
        self.processes: list[GroupProcess] = []
        self.ends: dict[str, float] = {}
        """When members were killed or frozen."""
        self._producer = AIOKafkaProducer(bootstrap_servers=brokers.bootstrap_servers)
        self._producing: asyncio.Task[None] | None = None
        self._log_ends: dict[int, int] = {}

    async def open(self) -> None:
        async with Admin(tuple(self.brokers.bootstrap_servers.split(","))) as admin:
            spec = TopicSpec(name=self.topic, partitions=self.partitions, replication=3)
            await admin.create([spec])
        await self._producer.start()
        await asyncio.gather(*(self._produce(partition) for partition in range(self.partitions)))
        self._producing = asyncio.create_task(self._trickle())

    async def close(self) -> None:
        for process in self.processes:
            await process.close()
        if self._producing:
            self._producing.cancel()
        await self._producer.stop()

    async def start(self, name: str, members: int = 1, **options: Any) -> GroupProcess:
        process = GroupProcess(name, members)
        self.processes.append(process)
        given = {"session_ms": SESSION_MS, "group": self.group, "topics": self.topic, **options}
        await process.start(servers=self.brokers.bootstrap_servers, **given)
        return process

    @property
    def lines(self) -> list[Line]:
        return [line for process in self.processes for line in process.lines]

    def owners(self, at: float | None = None) -> dict[int, str]:
        return owners_at(ownerships(self.lines, self.ends), at or time.monotonic())

    async def settled(self, *members: str) -> None:
        """Wait until these own everything, evenly."""

        def done() -> bool:
            owners = self.owners()
            return (
                len(owners) == self.partitions
                and set(owners.values()) <= {*members}
                and balanced(owners, members)
            )

        await self.until(done, f"{members} own all")

    async def until(self, done: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not done():  # noqa: ASYNC110 - processes have no event to wait for
                    await asyncio.sleep(0.05)
        except TimeoutError:
            errors = "\n".join(process.errors[-2000:] for process in self.processes)
            raise AssertionError(f"not {what}: {self.owners()}\n{errors}") from None

    async def read_to_the_end(self) -> None:
        """Stop producing, and wait until everything was read."""
        assert self._producing
        self._producing.cancel()
        await asyncio.wait({self._producing})
        ends = dict(self._log_ends)
        await self.until(lambda: not missing(self.lines, ends), "read to the end")

    def freeze(self, process: GroupProcess) -> float:
        # By itself, between two steps of its loop: what it hands over at the very moment in which
        # it is stopped from outside it says after it was woken.
        process.send(signal.SIGUSR2)
        return self._ended(process)

    def kill(self, process: GroupProcess) -> float:
        process.kill()
        return self._ended(process)

    def _ended(self, process: GroupProcess) -> float:
        now = time.monotonic()
        self.ends |= dict.fromkeys(process.members, now)
        return now

    async def _trickle(self) -> None:
        while True:
            await asyncio.sleep(self.pause)
            partitions = list(self._log_ends)
            await asyncio.gather(*(self._produce(partition) for partition in partitions))

    async def _produce(self, partition: int) -> None:
        sent = await self._producer.send_and_wait(self.topic, b"x", partition=partition)
        self._log_ends[partition] = sent.offset + 1

    async def grow(self, partitions: int) -> None:
        """The topic gets more partitions, to which the trickle goes too."""
        async with administration(self.brokers) as client:
            await client.create_partitions({self.topic: NewPartitions(total_count=partitions)})
        self._log_ends |= dict.fromkeys(range(self.partitions, partitions), 0)
        self.partitions = partitions

    async def delete(self) -> None:
        async with administration(self.brokers) as client:
            await client.delete_topics([self.topic])


@asynccontextmanager
async def administration(brokers: Cluster) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=brokers.bootstrap_servers)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
async def wide(brokers: Cluster) -> AsyncIterator[Scene]:
    """A hundred partitions, each with a record a second."""
    scene = Scene(brokers, partitions=100, pause=1.0)
    await scene.open()
    try:
        yield scene
    finally:
        await scene.close()


@pytest.fixture
async def scene(brokers: Cluster) -> AsyncIterator[Scene]:
    scene = Scene(brokers)
    await scene.open()
    try:
        yield scene
    finally:
        await scene.close()


def revoked_after(process: GroupProcess, since: float) -> set[int]:
    lines = process.said("revoking") + process.said("lost")
    return {part for line in lines if line["at"] > since for part in line["partitions"]}


def read_after(process: GroupProcess, since: float) -> set[int]:
    return {
        part for line in process.said("read") if line["at"] > since for part in line["partitions"]
    }


async def test_members_come_and_go_and_nothing_is_repeated_or_lost(scene: Scene) -> None:
    first = await scene.start("a", 2)
    await scene.settled("a0", "a1")
    before, joined_at = scene.owners(), time.monotonic()
    second = await scene.start("b", 1)
    await scene.settled("a0", "a1", "b0")
    stayed = {part for part, owner in scene.owners().items() if before[part] == owner}
    assert len(stayed) == PARTITIONS - 4
    assert not revoked_after(first, joined_at) & stayed
    left_at = time.monotonic()
    assert await second.end(signal.SIGUSR1) == 0
    await scene.settled("a0", "a1")
    assert not revoked_after(first, left_at)
    third = await scene.start("c", 1)
    await scene.settled("a0", "a1", "c0")
    assert await third.end(signal.SIGTERM) == 0
    await scene.settled("a0", "a1")
    await scene.read_to_the_end()
    assert not overlaps(ownerships(scene.lines))
    assert not repeated(scene.lines)
    assert not scene.processes[0].said("uncommitted")


async def test_a_crash_stops_nobody_else(scene: Scene) -> None:
    stays = await scene.start("a", 2)
    dies = await scene.start("b", 1)
    await scene.settled("a0", "a1", "b0")
    untouched = {part for part, owner in scene.owners().items() if owner != "b0"}
    killed_at = scene.kill(dies)
    await scene.settled("a0", "a1")
    assert not revoked_after(stays, killed_at)
    await scene.read_to_the_end()
    assert not overlaps(ownerships(scene.lines, scene.ends))
    assert not {part for part, _ in repeated(scene.lines)} & untouched


@pytest.mark.parametrize("leads", [False, True], ids=["a follower", "the leader"])
async def test_who_was_frozen_past_its_session_delivers_nothing_before_it_has_lost_all(
    scene: Scene, leads: bool
) -> None:
    leader = await scene.start("a")
    await scene.settled("a0")
    follower = await scene.start("b")
    await scene.settled("a0", "b0")
    assert leader.said("rebalanced")[-1]["leader"]
    frozen, other = (leader, follower) if leads else (follower, leader)
    frozen_at = scene.freeze(frozen)
    await scene.settled(*other.members)
    woken_at = time.monotonic()
    frozen.send(signal.SIGCONT)
    await scene.until(lambda: bool(frozen.said("lost")), "lost")
    lost = frozen.said("lost")[0]["at"]
    between = [line for line in frozen.said("read") if frozen_at + 1 < line["at"] < lost]
    assert not between
    assert lost >= woken_at
    scene.ends.clear()
    await scene.until(lambda: len(set(scene.owners().values())) == 2, "both own again")
    await scene.read_to_the_end()
    assert not [line for line in frozen.said("read") if not line["mine"]]


async def test_a_second_rebalance_during_a_drain_disturbs_neither(scene: Scene) -> None:
    drains = await scene.start("a", 1, **LONG_DRAIN)
    await scene.settled("a0")
    await scene.start("b", 1)
    await scene.until(lambda: bool(drains.said("revoking")), "a0 drains")
    late = await scene.start("c", 1)
    await scene.until(lambda: bool(late.said("rebalanced")), "c0 joins")
    joined_at = late.said("rebalanced")[0]["at"]

    def goes_on() -> bool:
        stays = set(range(PARTITIONS)) - revoked_after(drains, 0)
        return stays <= read_after(drains, joined_at)

    await scene.until(goes_on, "a0 goes on with the rest")
    assert not drains.said("released")
    drains.send(signal.SIGHUP)
    await scene.settled("a0", "b0", "c0")
    await scene.read_to_the_end()
    assert not overlaps(ownerships(scene.lines))
    assert not repeated(scene.lines)


async def test_what_drains_for_a_member_that_leaves_again_goes_on_where_it_stopped(
    scene: Scene,
) -> None:
    owner = await scene.start("a", 1, **LONG_DRAIN)
    await scene.settled("a0")
    guest = await scene.start("b", 1)
    await scene.until(lambda: bool(owner.said("revoking")), "a0 drains")
    assert await guest.end(signal.SIGUSR1) == 0
    await scene.until(lambda: bool(owner.said("kept")), "a0 keeps what it drained")
    assert owner.said("kept")[0]["partitions"] == owner.said("revoking")[0]["partitions"]
    await scene.read_to_the_end()
    assert not owner.said("revoked")
    owner.send(signal.SIGHUP)
    await scene.until(lambda: bool(owner.said("revoked")), "a0's callback returns")
    assert not owner.said("released")
    assert not repeated(scene.lines)
    assert [line["mine"] for line in owner.said("read")].count(False) == 0


async def test_three_restarts_that_overlap_repeat_nothing(scene: Scene) -> None:
    old = [await scene.start(name) for name in "abcd"]
    await scene.settled("a0", "b0", "c0", "d0")
    ending = [asyncio.create_task(process.end(signal.SIGUSR1)) for process in old[:3]]
    new = [await scene.start(name) for name in "xyz"]
    assert [await each for each in ending] == [0, 0, 0]
    await scene.settled("d0", *(member for process in new for member in process.members))
    await scene.read_to_the_end()
    assert not overlaps(ownerships(scene.lines))
    assert not repeated(scene.lines)


MOMENTS: dict[str, Callable[[GroupProcess], list[Line]]] = {
    "join": lambda process: process.said("coordinator"),
    "fetch offsets": lambda process: [line for line in process.said("rebalanced") if line["added"]],
}


@pytest.mark.parametrize("moment", MOMENTS)
async def test_the_coordinators_end_while_members_join_and_commit_loses_and_repeats_nothing(
    scene: Scene, moment: str
) -> None:
    first = await scene.start("a", 2)
    await scene.settled("a0", "a1")
    node = first.said("coordinator")[-1]["node"]
    second = await scene.start("b", 2)
    await scene.until(lambda: bool(MOMENTS[moment](second)), f"b is to {moment}")
    scene.brokers.kill(node)
    try:
        await scene.settled("a0", "a1", "b0", "b1")
        await scene.read_to_the_end()
        assert not overlaps(ownerships(scene.lines))
        assert not repeated(scene.lines)
        assert not first.said("lost")
    finally:
        scene.brokers.start_broker(node)


async def test_new_partitions_are_seen_and_a_deleted_topic_is_given_up(scene: Scene) -> None:
    process = await scene.start("a", 2)
    await scene.settled("a0", "a1")
    await scene.grow(PARTITIONS + 4)
    await scene.settled("a0", "a1")
    await scene.read_to_the_end()
    assert not repeated(scene.lines)
    await scene.delete()
    await scene.until(lambda: not scene.owners(), "nothing is owned")
    assert await process.end() == 0


async def test_a_static_member_comes_back_without_a_rebalance(scene: Scene) -> None:
    stays = await scene.start("a", 1, instance="i", session_ms=LONG_SESSION_MS)
    await scene.settled("a0")
    other = await scene.start("b", 1, instance="i", session_ms=LONG_SESSION_MS)
    await scene.settled("a0", "b0")
    generation = stays.said("rebalanced")[-1]["generation"]
    owned = {part for part, owner in scene.owners().items() if owner == "b0"}
    assert await other.end() == 0
    again = await scene.start("b", 1, instance="i", session_ms=LONG_SESSION_MS)
    await scene.settled("a0", "b0")
    assert {part for part, owner in scene.owners().items() if owner == "b0"} == owned
    assert again.said("rebalanced")[-1]["generation"] == generation
    assert stays.said("rebalanced")[-1]["generation"] == generation
    await scene.read_to_the_end()
    assert not repeated(scene.lines)


async def test_a_static_leader_that_comes_back_sees_what_was_added_meanwhile(scene: Scene) -> None:
    leader = await scene.start("a", 1, instance="i", session_ms=LONG_SESSION_MS)
    await scene.settled("a0")
    await scene.start("b", 1, instance="i", session_ms=LONG_SESSION_MS)
    await scene.settled("a0", "b0")
    assert await leader.end() == 0
    await scene.grow(PARTITIONS + 2)
    await scene.start("a", 1, instance="i", session_ms=LONG_SESSION_MS)
    await scene.settled("a0", "b0")
    await scene.read_to_the_end()
    assert not repeated(scene.lines)


async def test_of_two_static_members_with_one_id_the_first_is_fenced(scene: Scene) -> None:
    first = await scene.start("a", 1, instance="same")
    await scene.settled("a0")
    second = GroupProcess("a", 1)
    scene.processes.append(second)
    await second.start(
        servers=scene.brokers.bootstrap_servers,
        group=scene.group,
        topics=scene.topic,
        instance="same",
        session_ms=SESSION_MS,
    )
    await scene.until(lambda: bool(first.said("ended")), "the first ends")
    (failed,) = first.said("failed")
    assert failed["error"].startswith("FencedError: ")
    assert "'same-a0'" in failed["error"]
    assert first.said("lost")
    await scene.until(lambda: bool(second.said("read")), "the second works")


async def test_a_hundred_members_join_at_once(wide: Scene) -> None:
    processes = [await wide.start(name, 25, session_ms=20_000) for name in "abcd"]
    members = [member for process in processes for member in process.members]
    await wide.settled(*members)
    generations = {line["generation"] for one in processes for line in one.said("rebalanced")}
    assert len(generations) < 15
    await wide.read_to_the_end()
    assert not overlaps(ownerships(wide.lines))
    assert not repeated(wide.lines)
