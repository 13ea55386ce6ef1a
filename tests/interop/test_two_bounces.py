"""A fleet of stock aiokafka becomes cooperative in two bounces, and goes back (KIP-429).

AIOKAFKA_PYTHON names an interpreter with another release of aiokafka, to be the stock one.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from kafka_utils import Admin
from tests.harness.group_account import overlaps, ownerships, repeated
from tests.harness.group_process import GroupProcess
from tests.interop.foreign_process import ForeignProcess
from tests.interop.scene import Scene

STOCK_PYTHON = os.environ.get("AIOKAFKA_PYTHON") or sys.executable
BOTH = "cooperative-sticky,roundrobin"
COOPERATIVE = "cooperative-sticky"
EAGER = "roundrobin"
MEMBERS = 3

Start = Callable[[str], Awaitable[GroupProcess]]


class Fleet:
    """Members that are restarted one by one."""

    def __init__(self, scene: Scene) -> None:
        self.running: list[GroupProcess] = []
        self.kept: dict[str, set[int]] = {}
        """What members had before and after a restart of another one, by member."""
        self.interrupted: dict[str, set[int]] = {}
        """What they gave up of that meanwhile."""
        self._scene = scene

    async def stock(self, name: str) -> GroupProcess:
        return await self._scene.stock(name, STOCK_PYTHON)

    def ours(self, assignors: str) -> Start:
        return lambda name: self._scene.ours(name, assignors=assignors)

    async def begin(self, stage: str, start: Start) -> None:
        """Start all members of a fleet."""
        for number in range(MEMBERS):
            self.running.append(await start(f"{stage}-{number}-"))
        await self._settled()

    async def bounce(self, stage: str, start: Start) -> None:
        """Restart every member, the next one when the one before has its share."""
        self.kept, self.interrupted = {}, {}
        for number, old in enumerate(self.running):
            others = [member for each in self.running if each != old for member in each.members]
            before = {member: self._scene.owned_by(member) for member in others}
            since = self._scene.clock()
            # Ours relinquishes: what it has read it commits, which SIGTERM may cut off.
            is_ours = not isinstance(old, ForeignProcess)
            assert await old.end(signal.SIGUSR1 if is_ours else signal.SIGTERM) == 0
            self.running[number] = await start(f"{stage}-{number}-")
            await self._settled()
            for member in others:
                kept = before[member] & self._scene.owned_by(member)
                given_up = self._scene.given_up(since, by=member)
                self.kept[member] = self.kept.get(member, set()) | kept
                self.interrupted[member] = self.interrupted.get(member, set()) | kept & given_up

    async def _settled(self) -> None:
        await self._scene.settled(*(member for each in self.running for member in each.members))


@pytest.fixture
def fleet(scene: Scene) -> Fleet:
    return Fleet(scene)


@pytest.fixture
async def assignor(scene: Scene) -> AsyncIterator[Callable[[], Awaitable[str | None]]]:
    """What the members have agreed on."""
    async with Admin(scene.servers) as admin:

        async def ask() -> str | None:
            return (await admin.describe_group(scene.group)).assignor

        yield ask


async def test_two_bounces_make_a_stock_fleet_cooperative(
    scene: Scene, fleet: Fleet, assignor: Callable[[], Awaitable[str | None]]
) -> None:
    await fleet.begin("stock", fleet.stock)
    assert await assignor() == EAGER
    await fleet.bounce("both", fleet.ours(BOTH))
    assert await assignor() == COOPERATIVE
    assert any(fleet.interrupted.values())
    await fleet.bounce("cooperative", fleet.ours(COOPERATIVE))
    assert await assignor() == COOPERATIVE
    cooperative = [member for member in fleet.kept if member.startswith("cooperative")]
    assert all(fleet.kept[member] for member in cooperative)
    assert not any(fleet.interrupted[member] for member in cooperative)
    await scene.read_to_the_end()
    assert not overlaps(ownerships(scene.lines))
    assert not repeated(scene.lines)


async def test_two_bounces_lead_back_to_stock(
    scene: Scene, fleet: Fleet, assignor: Callable[[], Awaitable[str | None]]
) -> None:
    await fleet.begin("cooperative", fleet.ours(COOPERATIVE))
    await fleet.bounce("both", fleet.ours(BOTH))
    cooperative = [member for member in fleet.kept if member.startswith("cooperative")]
    assert all(fleet.kept[member] for member in cooperative)
    assert not any(fleet.interrupted[member] for member in cooperative)
    await fleet.bounce("stock", fleet.stock)
    assert await assignor() == EAGER
    await scene.read_to_the_end()
    assert not overlaps(ownerships(scene.lines))
    assert not repeated(scene.lines)


@pytest.mark.parametrize(
    ("group", "late"), [(EAGER, COOPERATIVE), (COOPERATIVE, EAGER)], ids=["forward", "back"]
)
async def test_a_skipped_bounce_is_named_and_disturbs_nobody(
    scene: Scene, fleet: Fleet, group: str, late: str
) -> None:
    first = await (fleet.stock("first") if group == EAGER else fleet.ours(group)("first"))
    await scene.settled(*first.members)
    since = scene.clock()
    refused = await scene.ours("refused", assignors=late)
    await scene.until(lambda: bool(refused.said("ended")), "refused")
    (failed,) = refused.said("failed")
    assert failed["error"] == (
        f"InconsistentAssignorsError: group {scene.group!r} uses the assignor {group}, which is "
        f"not among ours ({late}): a bounce was skipped. First restart every member with "
        f"{late},{group}, and when all run so, with {late}"
    )
    assert not scene.changed(since)
    await scene.read_to_the_end()
