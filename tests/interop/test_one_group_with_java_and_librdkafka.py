"""One group of Java's client, librdkafka and ours, each as the leader in turn.

The leader of a group is its first member, until it leaves. Java's client is of 4.1.0 here, with
brokers of any version: before 3.5 it takes the number of partitions that librdkafka had for the
generation in which it had them (KAFKA-13715), and fails of it as the leader.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import pytest

from tests.harness.group_account import overlaps, ownerships
from tests.harness.group_process import GroupProcess
from tests.interop.foreign_process import ForeignProcess
from tests.interop.scene import PARTITIONS, Scene

REST_SECONDS = 10
DRAIN_SECONDS = 1.0

Start = Callable[[Scene], Awaitable[GroupProcess]]

NewScene = Callable[[], Awaitable[Scene]]

STARTS: dict[str, Start] = {
    "java": lambda scene: scene.java("java"),
    "rdkafka": lambda scene: scene.rdkafka("rdkafka"),
    "ours": lambda scene: scene.ours("ours"),
}


def leaders(scene: Scene) -> set[str]:
    """Return which members say that they have made a plan."""
    foreign = [each for each in scene.processes if isinstance(each, ForeignProcess) and each.led]
    ours = {line["member"] for line in scene.lines if line.get("leader")}
    return ours | {each.members[0] for each in foreign}


async def come_and_go(scene: Scene, kind: str) -> None:
    """Let every kind of member join, and leave in every way, while one kind leads."""
    leader = await STARTS[kind](scene)
    members = list(leader.members)
    await scene.settled(*members)
    followers = {}
    for other in sorted(STARTS.keys() - {kind}):
        followers[other] = await STARTS[other](scene)
        moved = await scene.moves(followers[other], *members)
        members += followers[other].members
        assert len(moved) == PARTITIONS // len(members)
    relieved = await scene.ours("relieved", drain=DRAIN_SECONDS)
    moved = await scene.moves(relieved, *members)
    assert len(moved) == PARTITIONS // 4
    await scene.at_rest(REST_SECONDS)
    # The first member; then for each newcomer a round for itself and one for each release.
    assert relieved.said("rebalanced")[-1]["generation"] <= 1 + (1 + 1) + (1 + 2) + (1 + 3)
    assert leaders(scene) == {f"{kind}0"}

    left_at = scene.clock()
    assert await relieved.end(signal.SIGUSR1) == 0
    await scene.settled(*members)
    assert not scene.given_up(left_at, but=relieved.members)

    killed = followers["rdkafka" if kind == "java" else "java"]
    members.remove(killed.members[0])
    killed_at = scene.kill(killed)
    await scene.settled(*members)
    assert not scene.given_up(killed_at)
    assert leaders(scene) == {f"{kind}0"}

    members.remove(leader.members[0])
    left_at = scene.clock()
    await leader.end(signal.SIGUSR1 if kind == "ours" else signal.SIGTERM)
    await scene.settled(*members)
    assert not scene.given_up(left_at, but=leader.members)

    await scene.read_to_the_end()
    assert not overlaps(ownerships(scene.lines, scene.ends))
    # A commit of theirs that meets a rebalance is refused, and then the next owner reads again.
    assert scene.repeated_by() <= {"java0", "rdkafka0"}


async def take_turns(scene: Scene, kind: str) -> None:
    """Let one member of Java's old client and one of ours join, and the leader leave."""
    other = "ours" if kind == "java" else "java"
    starts: dict[str, Start] = {
        "java": lambda scene: scene.java("java", version="2.8.1"),
        "ours": STARTS["ours"],
    }
    leader = await starts[kind](scene)
    await scene.settled(*leader.members)
    follower = await starts[other](scene)
    assert len(await scene.moves(follower, *leader.members)) == PARTITIONS // 2
    third = await scene.ours("third", drain=DRAIN_SECONDS)
    moved = await scene.moves(third, *leader.members, *follower.members)
    assert len(moved) == PARTITIONS // 3
    assert leaders(scene) == {f"{kind}0"}
    assert await third.end(signal.SIGUSR1) == 0
    await scene.settled(*leader.members, *follower.members)
    await leader.end(signal.SIGUSR1 if kind == "ours" else signal.SIGTERM)
    await scene.settled(*follower.members)
    await scene.read_to_the_end()
    assert not overlaps(ownerships(scene.lines))
    assert scene.repeated_by() <= {"java0"}


# The groups of a test do their waiting at the same time.


@pytest.mark.timeout(240)
async def test_members_come_and_go_whoever_leads(new_scene: NewScene) -> None:
    async with asyncio.TaskGroup() as groups:
        for kind in STARTS:
            groups.create_task(come_and_go(await new_scene(), kind))


async def test_java_of_before_kip_792_and_ours_lead_each_other(new_scene: NewScene) -> None:
    async with asyncio.TaskGroup() as groups:
        for kind in ("java", "ours"):
            groups.create_task(take_turns(await new_scene(), kind))
