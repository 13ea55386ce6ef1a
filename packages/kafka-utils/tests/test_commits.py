"""Commits: of what is held only, across generations, one after another."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from aiokafka import TopicPartition, errors
from aiokafka.errors import CommitFailedError, KafkaError, KafkaTimeoutError
from aiokafka.structs import OffsetAndMetadata

from kafka_utils.coordinator.commits import SETTLE_SECONDS, Commits
from kafka_utils.coordinator.membership import (
    Membership,
    Phase,
    Request,
    Trigger,
    is_own_word,
    judge,
    step,
)
from kafka_utils.coordinator.messages import Identity
from kafka_utils.events import Commit, ConsumerEvents
from kafka_utils.requests import FencedInstanceIdError, UnstableOffsetCommitError

pytestmark = pytest.mark.looptime

FIFTH = Identity("m", 5)
SIXTH = Identity("m", 6)
A, B = TopicPartition("t", 0), TopicPartition("t", 1)
REQUEST_SECONDS = 30.0

Offsets = Mapping[TopicPartition, OffsetAndMetadata]
Answer = Callable[[], Awaitable[None]]


def now() -> float:
    return asyncio.get_running_loop().time()


def at(*partitions: TopicPartition, offset: int = 10) -> dict[TopicPartition, OffsetAndMetadata]:
    return {here: OffsetAndMetadata(offset, "") for here in partitions}


async def well() -> None:
    """An answer without an error."""


def refusing(error: KafkaError) -> Answer:
    async def refuse() -> None:
        raise error

    return refuse


class Member(ConsumerEvents):
    """A member that commits; the coordinator's answers are given in advance."""

    def __init__(self, phase: Phase = Phase.STABLE) -> None:
        self.now = Membership(phase, FIFTH)
        self.held = {A: 1, B: 1}
        self.answers: deque[Answer] = deque()
        self.always: Answer = well
        self.finds: Answer = well
        self.sent: list[tuple[Identity, Offsets]] = []
        self.forgotten: list[str] = []
        self.events: list[Commit] = []
        transport: Any = self
        self.commits = Commits(
            transport,
            lambda: self.now,
            lambda: self.held,
            self.refused,
            REQUEST_SECONDS,
            self,
        )

    # As a transport.

    async def find(self) -> None:
        await self.finds()

    async def commit(self, identity: Identity, offsets: Offsets) -> None:
        self.sent.append((identity, dict(offsets)))
        await (self.answers.popleft() if self.answers else self.always)()

    # As a member.

    def refused(self, request: Request, error: KafkaError, spoken_as: Identity) -> None:
        verdict = judge(request, error)
        if verdict.coordinator_moved:
            self.forgotten.append(type(error).__name__)
        if verdict.trigger is not None and is_own_word(self.now, spoken_as):
            self.becomes(verdict.trigger)

    def becomes(self, *triggers: Trigger, identity: Identity = SIXTH) -> None:
        for trigger in triggers:
            self.now = step(self.now, trigger, identity=identity)
            if trigger in (Trigger.GENERATION_LOST, Trigger.MEMBER_LOST, Trigger.REFUSED):
                self.held = {}
            self.commits.membership_changed()

    # As a hook.

    def committed(self, commit: Commit) -> None:
        self.events.append(commit)

    @property
    def error(self) -> str | None:
        (event,) = self.events
        return event.error


async def test_offsets_are_stored_as_the_member_that_this_is() -> None:
    member = Member()
    await member.commits.commit(at(A, B))

    assert member.sent == [(FIFTH, at(A, B))]
    assert member.events == [Commit(partitions=2, seconds=0.0, requests=1, error=None)]


async def test_what_is_not_held_is_not_sent() -> None:
    member = Member()
    member.held = {A: 1}
    with pytest.raises(CommitFailedError, match="t-1"):
        await member.commits.commit(at(A, B))

    assert member.sent == []
    assert (member.events[0].requests, member.error) == (0, "CommitFailedError")


async def test_who_is_no_member_sends_nothing() -> None:
    member = Member()
    member.now = Membership(Phase.UNJOINED, Identity("m"))
    with pytest.raises(CommitFailedError, match="member"):
        await member.commits.commit(at(A))

    assert member.sent == []


@pytest.mark.parametrize(
    "phase", [Phase.PREPARING, Phase.JOINING, Phase.STABLE, Phase.UNJOINED], ids=lambda p: p.name
)
async def test_while_the_group_gathers_the_old_generation_still_counts(phase: Phase) -> None:
    member = Member(phase)
    await member.commits.commit(at(A))

    assert member.sent == [(FIFTH, at(A))]
    assert member.events[0].seconds == 0


async def test_while_a_plan_is_awaited_a_commit_waits_too() -> None:
    member = Member(Phase.SYNCING)
    committing = asyncio.create_task(member.commits.commit(at(A)))
    await asyncio.sleep(3)
    assert member.sent == []
    member.becomes(Trigger.SYNCED)
    await committing

    assert member.sent == [(FIFTH, at(A))]
    assert member.events == [Commit(partitions=1, seconds=3.0, requests=1, error=None)]


async def test_a_commit_that_waited_sends_nothing_that_was_released_meanwhile() -> None:
    member = Member(Phase.SYNCING)
    committing = asyncio.create_task(member.commits.commit(at(A, B)))
    await asyncio.sleep(1)
    member.held = {A: 1}
    member.becomes(Trigger.SYNCED)
    with pytest.raises(CommitFailedError, match="t-1"):
        await committing

    assert member.sent == []


async def test_a_commit_that_meets_the_next_generation_is_sent_again_when_it_has_begun() -> None:
    member = Member(Phase.JOINING)
    member.answers.append(refusing(errors.IllegalGenerationError()))
    committing = asyncio.create_task(member.commits.commit(at(A)))
    await asyncio.sleep(1)
    assert len(member.sent) == 1
    member.becomes(Trigger.JOINED)
    await asyncio.sleep(1)
    assert len(member.sent) == 1
    member.becomes(Trigger.SYNCED)
    await committing

    assert member.sent == [(FIFTH, at(A)), (SIXTH, at(A))]
    assert member.held == {A: 1, B: 1}
    assert (member.events[0].requests, member.error) == (2, None)


async def test_a_late_word_of_the_generation_before_says_nothing_about_this_one() -> None:
    member = Member(Phase.JOINING)

    async def refuse_when_the_next_has_begun() -> None:
        member.becomes(Trigger.JOINED, Trigger.SYNCED)
        raise errors.IllegalGenerationError

    member.answers.append(refuse_when_the_next_has_begun)
    await member.commits.commit(at(A))

    assert member.now == Membership(Phase.STABLE, SIXTH)
    assert member.sent == [(FIFTH, at(A)), (SIXTH, at(A))]


async def test_a_late_word_is_not_waited_with_for_the_generation_after() -> None:
    member = Member(Phase.JOINING)

    async def refuse_when_the_one_after_is_due() -> None:
        member.becomes(Trigger.JOINED, Trigger.SYNCED, Trigger.WANTED)
        raise errors.IllegalGenerationError

    member.answers.append(refuse_when_the_one_after_is_due)
    await member.commits.commit(at(A))

    assert member.sent == [(FIFTH, at(A)), (SIXTH, at(A))]
    assert now() == 0


async def test_in_a_stable_group_a_wrong_generation_is_the_end_of_it() -> None:
    member = Member()
    member.answers.append(refusing(errors.IllegalGenerationError()))
    with pytest.raises(CommitFailedError):
        await member.commits.commit(at(A))

    assert member.now.identity == Identity("m")
    assert len(member.sent) == 1


async def test_word_of_a_rebalance_is_passed_on_and_the_commit_goes_on() -> None:
    member = Member()
    member.always = refusing(errors.RebalanceInProgressError())
    committing = asyncio.create_task(member.commits.commit(at(A)))
    await asyncio.sleep(1)
    assert member.now.phase is Phase.PREPARING
    # It was tried once more: a group that gathers takes commits.
    assert len(member.sent) == 2
    member.always = well
    member.becomes(Trigger.JOIN_SENT, Trigger.JOINED, Trigger.SYNCED)
    await committing

    assert member.sent[-1] == (SIXTH, at(A))


async def test_no_released_partition_is_in_a_repeated_commit() -> None:
    member = Member()

    async def release_and_fail() -> None:
        member.held = {A: 1}
        raise errors.KafkaConnectionError

    member.answers.append(release_and_fail)
    with pytest.raises(CommitFailedError, match="t-1"):
        await member.commits.commit(at(A, B))

    assert len(member.sent) == 1


async def test_a_partition_that_went_and_came_back_is_in_no_commit_of_before() -> None:
    member = Member()

    async def go_and_come_back() -> None:
        member.held = {A: 1, B: 2}
        raise errors.KafkaConnectionError

    member.answers.append(go_and_come_back)
    with pytest.raises(CommitFailedError, match="t-1"):
        await member.commits.commit(at(A, B))

    assert len(member.sent) == 1


async def test_what_is_released_while_the_coordinator_is_looked_for_is_not_sent() -> None:
    member = Member()

    async def release() -> None:
        member.held = {}

    member.finds = release
    with pytest.raises(CommitFailedError):
        await member.commits.commit(at(A))

    assert member.sent == []


@pytest.mark.parametrize(
    "error",
    [
        errors.GroupLoadInProgressError(),
        errors.NotCoordinatorForGroupError(),
        errors.GroupCoordinatorNotAvailableError(),
        errors.KafkaConnectionError(),
        errors.RequestTimedOutError(),
        errors.NodeNotReadyError(),
        errors.UnknownError(),
        UnstableOffsetCommitError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_passes_is_waited_for(error: KafkaError) -> None:
    member = Member()
    member.answers.extend([refusing(error)] * 3)
    await member.commits.commit(at(A))

    assert member.sent == [(FIFTH, at(A))] * 4
    assert 0.7 <= now() <= 0.7 * 1.2
    assert member.now == Membership(Phase.STABLE, FIFTH)
    moved = not isinstance(error, errors.GroupLoadInProgressError)
    assert member.forgotten == [type(error).__name__] * 3 * moved


async def test_a_coordinator_that_cannot_be_found_is_waited_for() -> None:
    member = Member()
    member.finds = refusing(errors.NodeNotReadyError())
    committing = asyncio.create_task(member.commits.commit(at(A)))
    await asyncio.sleep(1)
    member.finds = well
    await committing

    assert member.sent == [(FIFTH, at(A))]
    assert member.events[0].requests == 1


@pytest.mark.parametrize(
    ("error", "trigger"),
    [
        (errors.UnknownMemberIdError(), Trigger.MEMBER_LOST),
        (FencedInstanceIdError(), Trigger.REFUSED),
    ],
)
async def test_a_member_that_is_out_commits_nothing(error: KafkaError, trigger: Trigger) -> None:
    member = Member()
    expected = step(member.now, trigger)
    member.answers.append(refusing(error))
    with pytest.raises(CommitFailedError) as caught:
        await member.commits.commit(at(A))

    assert caught.value.__cause__ is error
    assert member.now == expected
    assert len(member.sent) == 1


@pytest.mark.parametrize(
    "error",
    [
        errors.OffsetMetadataTooLargeError(),
        errors.TopicAuthorizationFailedError(),
        errors.GroupAuthorizationFailedError(),
        errors.InvalidCommitOffsetSizeError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_is_said_of_the_offsets_themselves_is_raised_and_ends_nothing(
    error: KafkaError,
) -> None:
    member = Member()
    member.answers.append(refusing(error))
    with pytest.raises(type(error)):
        await member.commits.commit(at(A))

    assert member.now == Membership(Phase.STABLE, FIFTH)
    assert member.error == type(error).__name__


async def test_a_commit_takes_no_longer_than_a_request_may() -> None:
    member = Member()
    member.always = refusing(errors.KafkaConnectionError())
    with pytest.raises(KafkaTimeoutError, match="not answered in 30 s"):
        await member.commits.commit(at(A))

    assert now() == REQUEST_SECONDS
    assert member.error == "KafkaTimeoutError"


async def test_a_commit_that_waits_for_a_generation_takes_no_longer_either() -> None:
    member = Member(Phase.SYNCING)
    with pytest.raises(KafkaTimeoutError):
        await member.commits.commit(at(A))

    assert now() == REQUEST_SECONDS
    assert member.events == [
        Commit(partitions=1, seconds=30.0, requests=0, error="KafkaTimeoutError")
    ]


async def test_a_cancelled_commit_is_not_told_as_stored() -> None:
    member = Member()
    member.always = asyncio.get_running_loop().create_future
    committing = asyncio.create_task(member.commits.commit(at(A)))
    await asyncio.sleep(1)
    committing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await committing

    assert member.error == "CancelledError"


async def test_an_older_commit_that_is_repeated_does_not_overtake_a_newer_one() -> None:
    member = Member()
    member.answers.append(refusing(errors.KafkaConnectionError()))
    older = asyncio.create_task(member.commits.commit(at(A, offset=10)))
    newer = asyncio.create_task(member.commits.commit(at(A, offset=20)))
    await asyncio.gather(older, newer)

    assert [offsets[A].offset for _, offsets in member.sent] == [10, 10, 20]


async def test_a_commit_that_failed_keeps_no_other_one_waiting() -> None:
    member = Member()
    member.answers.append(refusing(errors.OffsetMetadataTooLargeError()))
    first = asyncio.create_task(member.commits.commit(at(A)))
    second = asyncio.create_task(member.commits.commit(at(B)))
    await asyncio.wait({first, second})

    assert first.exception() is not None
    assert second.exception() is None


async def test_a_join_waits_a_little_for_a_commit_under_way() -> None:
    member = Member()

    async def slow() -> None:
        await asyncio.sleep(0.3)

    member.answers.append(slow)
    committing = asyncio.create_task(member.commits.commit(at(A)))
    await asyncio.sleep(0.1)
    await member.commits.settle()

    assert now() == pytest.approx(0.3)
    await committing


async def test_a_join_does_not_wait_for_long() -> None:
    member = Member()
    member.always = asyncio.get_running_loop().create_future
    committing = asyncio.create_task(member.commits.commit(at(A)))
    await asyncio.sleep(0.1)
    await member.commits.settle()

    assert now() == pytest.approx(0.1 + SETTLE_SECONDS)
    assert not committing.done()
    committing.cancel()


async def test_a_join_waits_for_no_commit_that_itself_waits() -> None:
    member = Member(Phase.SYNCING)
    committing = asyncio.create_task(member.commits.commit(at(A)))
    await asyncio.sleep(0.1)
    await member.commits.settle()

    assert now() == pytest.approx(0.1)
    committing.cancel()
