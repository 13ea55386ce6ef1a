"""Heartbeats: their rhythm, whom their answers concern, and a process that stood still."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka.errors import (
    IllegalGenerationError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    RebalanceInProgressError,
)

from kafka_utils.coordinator.deadlines import Pulse
from kafka_utils.coordinator.heartbeats import Heartbeats
from kafka_utils.coordinator.membership import Membership, Phase, Request
from kafka_utils.coordinator.messages import NOBODY, Identity

pytestmark = pytest.mark.looptime

FIFTH = Identity("m", 5)
SIXTH = Identity("m", 6)
PULSE = Pulse(interval=3.0, session=10.0, near=30.0)

Answer = Callable[[], Awaitable[None]]


def now() -> float:
    return asyncio.get_running_loop().time()


async def well() -> None:
    """An answer without an error."""


def refusing(error: KafkaError) -> Answer:
    async def refuse() -> None:
        raise error

    return refuse


class Coordinator:
    """A transport that answers as it is told, and notes when it was spoken to."""

    def __init__(self) -> None:
        self.answer: Answer = well
        self.finds: Answer = well
        self.beats: list[tuple[float, Identity]] = []

    async def find(self) -> None:
        await self.finds()

    async def heartbeat(self, identity: Identity) -> None:
        self.beats.append((now(), identity))
        await self.answer()

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.beats]


class Member:
    """A member with heartbeats, and what became of them."""

    def __init__(self, coordinator: Coordinator) -> None:
        self.now = Membership(Phase.STABLE, FIFTH)
        self.refusals: list[tuple[Request, KafkaError, Identity]] = []
        self.slept: list[float] = []
        transport: Any = coordinator
        self.heartbeats = Heartbeats(
            transport,
            PULSE,
            lambda: self.now,
            lambda *refusal: self.refusals.append(refusal),
            lambda: self.slept.append(now()),
        )
        self.beating = asyncio.create_task(self.heartbeats.run())


def stand_still(seconds: float) -> None:
    """The whole process is stopped: the clock goes on, and nothing else does."""
    loop: Any = asyncio.get_running_loop()
    loop.setup_looptime(start=loop.time() + seconds)


async def test_a_heartbeat_is_sent_once_an_interval() -> None:
    coordinator = Coordinator()
    member = Member(coordinator)
    await asyncio.sleep(9.5)

    assert coordinator.beats == [(3, FIFTH), (6, FIFTH), (9, FIFTH)]
    assert member.refusals == []


async def test_heartbeats_are_quick_after_a_plan_that_another_round_follows() -> None:
    coordinator = Coordinator()
    member = Member(coordinator)
    await asyncio.sleep(1)
    member.heartbeats.new_plan(another_round=True)
    await asyncio.sleep(3.2)

    assert coordinator.times == pytest.approx([1.1, 1.3, 1.7, 2.5, 3.3, 4.1])


async def test_heartbeats_are_quick_only_as_long_as_a_revoke_may_take() -> None:
    coordinator = Coordinator()
    member = Member(coordinator)
    member.heartbeats.new_plan(another_round=True)
    await asyncio.sleep(60)

    late = [at for at in coordinator.times if at > PULSE.near]
    assert late
    assert [b - a for a, b in itertools.pairwise(late)] == pytest.approx(
        [PULSE.interval] * (len(late) - 1)
    )


async def test_a_plan_without_another_round_ends_quick_heartbeats() -> None:
    coordinator = Coordinator()
    member = Member(coordinator)
    member.heartbeats.new_plan(another_round=True)
    await asyncio.sleep(0.5)
    member.heartbeats.new_plan(another_round=False)
    await asyncio.sleep(6.1)

    assert coordinator.times == pytest.approx([0.1, 0.3, 3.5, 6.5])


@pytest.mark.parametrize("phase", [Phase.UNJOINED, Phase.JOINING, Phase.LEFT, Phase.FAILED])
async def test_nothing_is_sent_while_a_join_is_pending_nor_without_membership(phase: Phase) -> None:
    coordinator = Coordinator()
    member = Member(coordinator)
    member.now = Membership(phase, FIFTH)
    await asyncio.sleep(20)

    assert coordinator.beats == []


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.SYNCING, Phase.STABLE])
async def test_heartbeats_go_on_during_drains_and_a_pending_sync(phase: Phase) -> None:
    coordinator = Coordinator()
    member = Member(coordinator)
    member.now = Membership(phase, FIFTH)
    await asyncio.sleep(20)

    assert len(coordinator.beats) == 6


async def test_a_join_that_is_sent_meanwhile_holds_the_heartbeat_back() -> None:
    coordinator = Coordinator()
    member = Member(coordinator)

    async def join_meanwhile() -> None:
        member.now = Membership(Phase.JOINING, FIFTH)

    coordinator.finds = join_meanwhile
    await asyncio.sleep(4)

    assert coordinator.beats == []


async def test_a_refusal_is_passed_on_as_what_it_was_said_to() -> None:
    coordinator = Coordinator()
    member = Member(coordinator)
    error = IllegalGenerationError()
    coordinator.answer = refusing(error)
    await asyncio.sleep(3.01)

    assert member.refusals == [(Request.HEARTBEAT, error, FIFTH)]


async def test_an_answer_concerns_who_was_speaking() -> None:
    coordinator = Coordinator()
    member = Member(coordinator)

    async def refuse_when_the_next_generation_has_begun() -> None:
        await asyncio.sleep(1)
        member.now = Membership(Phase.STABLE, SIXTH)
        raise IllegalGenerationError

    coordinator.answer = refuse_when_the_next_generation_has_begun
    await asyncio.sleep(4.01)

    ((_, _, spoken_as),) = member.refusals
    assert spoken_as == FIFTH


async def test_a_heartbeat_is_sent_as_who_the_member_is_when_the_coordinator_is_found() -> None:
    async def next_generation() -> None:
        member.now = Membership(Phase.STABLE, SIXTH)

    coordinator = Coordinator()
    member = Member(coordinator)
    coordinator.finds = next_generation
    await asyncio.sleep(3.01)

    assert coordinator.beats == [(3, SIXTH)]


async def test_a_coordinator_that_cannot_be_found_is_a_refusal_too() -> None:
    coordinator = Coordinator()
    member = Member(coordinator)
    error = NodeNotReadyError()
    coordinator.finds = refusing(error)
    await asyncio.sleep(3.01)

    assert member.refusals == [(Request.HEARTBEAT, error, FIFTH)]
    assert coordinator.beats == []


async def test_after_a_failure_the_next_heartbeat_comes_soon_and_backs_off() -> None:
    coordinator = Coordinator()
    Member(coordinator)
    coordinator.answer = refusing(KafkaConnectionError())
    await asyncio.sleep(60)

    pauses = [b - a for a, b in itertools.pairwise(coordinator.times)]
    assert all(
        least <= pause <= least * 1.2 + 1e-6
        for pause, least in zip(pauses, [0.1, 0.2, 0.4, 0.8, 1.6], strict=False)
    )
    assert max(pauses) == pytest.approx(PULSE.interval)


async def test_no_mistake_of_this_program_ends_the_heartbeats(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def mistaken() -> None:
        raise KeyError

    coordinator = Coordinator()
    member = Member(coordinator)
    coordinator.answer = mistaken
    await asyncio.sleep(3.05)
    coordinator.answer = well
    await asyncio.sleep(3.2)

    assert len(coordinator.beats) == 3
    assert member.refusals == []
    assert [record.getMessage() for record in caplog.records] == ["a heartbeat could not be sent"]


async def test_after_an_answer_the_rhythm_is_the_usual_one_again() -> None:
    coordinator = Coordinator()
    Member(coordinator)
    coordinator.answer = refusing(KafkaConnectionError())
    await asyncio.sleep(3.05)
    coordinator.answer = well
    await asyncio.sleep(6.2)

    first, second, third, *_ = coordinator.times
    assert second - first < 0.13
    assert third - second == pytest.approx(PULSE.interval)


async def test_word_of_a_rebalance_is_no_failure() -> None:
    coordinator = Coordinator()
    member = Member(coordinator)
    coordinator.answer = refusing(RebalanceInProgressError())
    await asyncio.sleep(9.5)

    assert coordinator.times == [3, 6, 9]
    assert len(member.refusals) == 3


async def test_any_number_of_plans_may_come_between_two_heartbeats() -> None:
    coordinator = Coordinator()
    member = Member(coordinator)
    for _ in range(1_200):
        member.heartbeats.new_plan(another_round=False)
        await asyncio.sleep(0.01)
    assert coordinator.beats == []
    await asyncio.sleep(3)

    assert len(coordinator.beats) == 1


# A process that stood still.


async def test_a_process_that_stood_still_is_noticed_before_anything_is_said() -> None:
    noticed: list[bool] = []
    coordinator = Coordinator()
    member = Member(coordinator)
    member.heartbeats.new_plan(another_round=True)
    await asyncio.sleep(1)

    async def note() -> None:
        noticed.append(bool(member.slept))

    coordinator.answer = note
    stand_still(10.5)
    await asyncio.sleep(4)

    assert member.slept == pytest.approx([11.5])
    assert len(noticed) > 1
    assert all(noticed)


async def test_it_is_noticed_also_by_whoever_looks_first() -> None:
    member = Member(Coordinator())
    await asyncio.sleep(4)
    stand_still(11)
    member.heartbeats.look()

    assert member.slept == [15]


async def test_it_is_noticed_once() -> None:
    member = Member(Coordinator())
    await asyncio.sleep(4)
    stand_still(11)
    member.heartbeats.look()
    stand_still(8)
    member.heartbeats.look()
    await asyncio.sleep(10)

    assert member.slept == [15]


async def test_a_shorter_stop_than_the_session_loses_nothing() -> None:
    member = Member(Coordinator())
    await asyncio.sleep(4)
    stand_still(8)
    member.heartbeats.look()
    await asyncio.sleep(5)

    assert member.slept == []


async def test_who_is_no_member_has_nothing_to_lose() -> None:
    member = Member(Coordinator())
    member.now = Membership(Phase.UNJOINED, NOBODY)
    stand_still(100)
    member.heartbeats.look()

    assert member.slept == []


async def test_a_silent_coordinator_expels_nobody() -> None:
    coordinator = Coordinator()
    member = Member(coordinator)
    never = asyncio.get_running_loop().create_future()

    async def silent() -> None:
        await never

    coordinator.answer = silent
    await asyncio.sleep(60)
    member.heartbeats.look()

    assert len(coordinator.beats) == 1
    assert member.slept == []


async def test_a_word_of_the_coordinator_counts_from_when_it_was_asked_for() -> None:
    coordinator = Coordinator()
    member = Member(coordinator)

    async def slow() -> None:
        await asyncio.sleep(2)

    coordinator.answer = slow
    await asyncio.sleep(5.1)  # Sent at 3, answered at 5.
    stand_still(8)
    member.heartbeats.look()

    assert member.slept == pytest.approx([13.1])


async def test_word_of_a_rebalance_is_a_word_of_the_coordinator() -> None:
    coordinator = Coordinator()
    member = Member(coordinator)
    coordinator.answer = refusing(RebalanceInProgressError())
    await asyncio.sleep(9.5)
    stand_still(8)
    member.heartbeats.look()

    assert member.slept == []


async def test_a_plan_is_a_word_of_the_coordinator() -> None:
    member = Member(Coordinator())
    member.now = Membership(Phase.JOINING, FIFTH)
    await asyncio.sleep(30)
    member.heartbeats.new_plan(another_round=False)
    stand_still(9)
    member.heartbeats.look()

    assert member.slept == []
