"""A leave that is cut short: the id is handed back by the next one."""

import asyncio
from types import SimpleNamespace
from typing import Any

from kafka_utils.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka_utils.coordinator.deadlines import Pulse
from kafka_utils.coordinator.member import GroupMember, MemberSettings
from kafka_utils.coordinator.membership import Membership, Phase
from kafka_utils.coordinator.messages import Identity
from kafka_utils.events import ConsumerEvents

US = Identity("us", 3)


class StuckAtFirst:
    """A transport whose first LeaveGroup is never answered."""

    def __init__(self) -> None:
        self.left: list[Identity] = []
        self.asked = asyncio.Event()

    async def find(self) -> None:
        pass

    async def leave(self, identity: Identity) -> None:
        self.left.append(identity)
        self.asked.set()
        if len(self.left) == 1:
            await asyncio.Event().wait()


def a_member(transport: Any) -> GroupMember:
    async def nothing() -> None:
        pass

    reconciler: Any = SimpleNamespace(held=frozenset(), assignments={}, give_up_all=nothing)
    cluster: Any = SimpleNamespace()
    settings = MemberSettings(
        group_id="g",
        group_instance_id=None,
        rack=None,
        pulse=Pulse(interval=3, session=60, near=30),
        request_seconds=30,
        max_poll_seconds=600,
    )
    member = GroupMember(
        settings,
        transport,
        reconciler,
        [CooperativeStickyAssignor()],
        cluster,
        lambda: frozenset({"t"}),
        lambda: 0.0,
        ConsumerEvents(),
    )
    member._member = Membership(Phase.STABLE, US)
    return member


async def test_a_leave_after_one_that_was_cancelled_hands_the_member_id_back() -> None:
    transport = StuckAtFirst()
    member = a_member(transport)
    first = asyncio.create_task(member.relinquish())
    await transport.asked.wait()
    first.cancel()
    await asyncio.wait({first})

    await member.leave()
    await member.leave()

    assert transport.left == [US, US]
