"""The model of a coordinator against what Kafka's own does, state by state."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupLoadInProgressError,
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    KafkaError,
    NotCoordinatorForGroupError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata
from group_model.coordinator_model import Coordinator, Protocols, State
from group_model.processes import World

from kafka_utils.coordinator.messages import Identity, Joined, MemberIdGiven
from kafka_utils.requests import FencedInstanceIdError

SESSION, REBALANCE = 10.0, 20.0
A: Protocols = (("a", b"1"),)
OTHER_A: Protocols = (("a", b"2"),)
HERE = TopicPartition("t", 0)


class Asked:
    """A request that was made, and what became of it."""

    def __init__(self) -> None:
        self.answers: list[Any] = []

    def __call__(self, answer: Any) -> None:
        self.answers.append(answer)

    @property
    def pending(self) -> bool:
        return not self.answers

    @property
    def answer(self) -> Any:
        (answer,) = self.answers
        return answer

    @property
    def error(self) -> type[KafkaError] | None:
        return type(self.answer) if isinstance(self.answer, KafkaError) else None

    @property
    def joined(self) -> Joined:
        assert isinstance(self.answer, Joined), self.answer
        return self.answer


class Group:
    """The coordinator, and short ways to ask it."""

    def __init__(self, initial_delay: float = 0.0) -> None:
        self.world = World()
        self.coordinator = Coordinator(self.world.process("broker"), initial_delay)

    def wait(self, seconds: float = 0.0) -> None:
        self.world.pass_time(seconds)

    def join(
        self, member_id: str, protocols: Protocols = A, instance_id: str | None = None
    ) -> Asked:
        asked = Asked()
        self.coordinator.join(member_id, instance_id, SESSION, REBALANCE, protocols, asked)
        return asked

    def new_id(self) -> str:
        given = self.join("").answer
        assert isinstance(given, MemberIdGiven)
        return given.member_id

    def sync(
        self, who: Identity, plan: Mapping[str, bytes] | None = None, instance_id: str | None = None
    ) -> Asked:
        asked = Asked()
        self.coordinator.sync(who, instance_id, plan or {}, asked)
        return asked

    def beat(self, who: Identity, instance_id: str | None = None) -> type[KafkaError] | None:
        asked = Asked()
        self.coordinator.heartbeat(who, instance_id, asked)
        return asked.error

    def commit(self, who: Identity, instance_id: str | None = None) -> type[KafkaError] | None:
        asked = Asked()
        self.coordinator.commit(who, instance_id, {HERE: OffsetAndMetadata(5, "")}, asked)
        return asked.error

    def leave(self, who: Identity) -> None:
        self.coordinator.leave(who, None, Asked())

    def stable(self, number: int = 2) -> list[Identity]:
        """Bring so many members into one generation; the first leads."""
        ids = [self.new_id() for _ in range(number)]
        asked = [self.join(member_id) for member_id in ids]
        members = [each.joined.identity for each in asked]
        for who in members[1:]:
            self.sync(who)
        self.sync(members[0], {who.member_id: who.member_id.encode() for who in members})
        assert self.coordinator.state is State.STABLE
        return members


@pytest.fixture
def group() -> Iterator[Group]:
    group = Group()
    yield group
    group.world.end()


# Joining.


def test_a_new_member_is_given_an_id_and_joins_with_it(group: Group) -> None:
    member_id = group.new_id()
    joined = group.join(member_id).joined
    assert joined.identity == Identity(member_id, 1)
    assert joined.leader_id == member_id
    assert joined.members == {member_id: b"1"}


def test_a_given_id_is_waited_for_and_not_longer_than_a_session(group: Group) -> None:
    first, second = group.new_id(), group.new_id()
    asked = group.join(first)
    group.wait(SESSION - 0.1)
    assert asked.pending
    group.wait(0.2)
    assert asked.joined.members == {first: b"1"}
    assert group.join(second).error is UnknownMemberIdError


def test_who_leaves_with_a_given_id_is_not_waited_for(group: Group) -> None:
    first, second = group.new_id(), group.new_id()
    asked = group.join(first)
    group.leave(Identity(second))
    assert not asked.pending


def test_an_unknown_id_may_not_join(group: Group) -> None:
    assert group.join("nobody").error is UnknownMemberIdError
    group.stable()
    assert group.join("nobody").error is UnknownMemberIdError


def test_the_initial_delay_is_waited_for_in_an_empty_group_only() -> None:
    group = Group(initial_delay=3.0)
    asked = group.join(group.new_id())
    group.wait(2.9)
    assert asked.pending
    group.wait(0.2)
    first = asked.joined.identity
    group.sync(first, {first.member_id: b""})
    second = group.join(group.new_id())
    group.join(first.member_id)
    group.wait()
    assert not second.pending
    group.world.end()


def test_all_join_before_anybody_is_answered(group: Group) -> None:
    first, second = group.stable()
    third = group.join(group.new_id())
    rejoined = group.join(first.member_id)
    assert third.pending
    assert rejoined.pending
    group.join(second.member_id)
    assert third.joined.identity.generation == 2
    assert rejoined.joined.identity.generation == 2


def test_who_does_not_join_within_the_rebalance_timeout_is_out(group: Group) -> None:
    first, second = group.stable()
    asked = group.join(first.member_id, OTHER_A)
    for _ in range(4):
        group.wait(REBALANCE / 4 - 0.01)
        assert asked.pending
        assert group.beat(second) is RebalanceInProgressError
    group.wait(0.1)
    assert asked.joined.members.keys() == {first.member_id}
    assert group.beat(second) is UnknownMemberIdError


def test_who_is_silent_for_a_session_is_out(group: Group) -> None:
    first, second = group.stable()
    for _ in range(3):
        group.wait(SESSION / 3)
        group.beat(first)
    assert group.coordinator.state is State.PREPARING
    assert group.beat(second) is UnknownMemberIdError
    assert not group.join(first.member_id).pending


def test_a_pending_join_is_as_good_as_heartbeats(group: Group) -> None:
    first, second = group.stable()
    asked = group.join(first.member_id)
    group.wait(SESSION + 5)
    assert first.member_id in group.coordinator.members
    assert second.member_id not in group.coordinator.members
    assert asked.joined.members.keys() == {first.member_id}


@pytest.mark.parametrize(
    ("lists", "chosen"),
    [
        ([["a", "b"], ["b", "a"], ["b", "a"]], "b"),
        ([["a", "b"], ["a", "b"], ["b", "a"]], "a"),
        ([["c", "b"], ["a", "b"]], "b"),
    ],
)
def test_the_protocol_is_chosen_by_votes_among_those_of_all(
    group: Group, lists: list[list[str]], chosen: str
) -> None:
    ids = [group.new_id() for _ in lists]
    asked = [
        group.join(member_id, tuple((name, b"") for name in names))
        for member_id, names in zip(ids, lists, strict=True)
    ]
    assert {each.joined.protocol for each in asked} == {chosen}


def test_who_has_no_protocol_in_common_with_all_is_refused(group: Group) -> None:
    group.stable()
    assert group.join("", (("b", b""),)).error is InconsistentGroupProtocolError


# The two shortcuts, and what is none.


def test_a_follower_that_says_the_same_again_learns_of_its_generation(group: Group) -> None:
    _, follower = group.stable()
    joined = group.join(follower.member_id).joined
    assert joined.identity == follower
    assert joined.members == {}
    assert group.coordinator.state is State.STABLE
    assert group.sync(follower).answer == follower.member_id.encode()


def test_a_follower_that_says_something_else_brings_a_rebalance(group: Group) -> None:
    _, follower = group.stable()
    assert group.join(follower.member_id, OTHER_A).pending
    assert group.coordinator.state is State.PREPARING


def test_a_leader_that_joins_brings_a_rebalance(group: Group) -> None:
    leader, _ = group.stable()
    assert group.join(leader.member_id).pending
    assert group.coordinator.state is State.PREPARING


def test_who_says_the_same_again_before_the_plan_gets_the_same_answer(group: Group) -> None:
    ids = [group.new_id(), group.new_id()]
    leader, follower = (asked.joined for asked in [group.join(each) for each in ids])
    assert group.join(leader.identity.member_id).joined == leader
    assert group.join(follower.identity.member_id).joined == follower
    assert group.coordinator.state is State.COMPLETING


def test_who_says_something_else_before_the_plan_begins_anew(group: Group) -> None:
    ids = [group.new_id(), group.new_id()]
    leader, follower = (asked.joined.identity for asked in [group.join(each) for each in ids])
    waiting = group.sync(leader) if group.coordinator.leader != ids[0] else group.sync(follower)
    group.join(leader.member_id, OTHER_A)
    assert waiting.error is RebalanceInProgressError
    assert group.coordinator.state is State.PREPARING


# What each state answers.


def in_state(group: Group, state: State) -> Identity:
    """Bring a follower of the current generation into this state of its group."""
    leader, follower = group.stable()
    if state is State.STABLE:
        return follower
    group.join(leader.member_id)
    if state is State.PREPARING:
        return follower
    return group.join(follower.member_id).joined.identity


@pytest.mark.parametrize(
    ("state", "heartbeat", "commit", "sync"),
    [
        (State.STABLE, None, None, None),
        (State.PREPARING, RebalanceInProgressError, None, RebalanceInProgressError),
        (State.COMPLETING, None, RebalanceInProgressError, "waits"),
    ],
)
def test_what_a_member_of_the_generation_is_answered(
    group: Group, state: State, heartbeat: Any, commit: Any, sync: Any
) -> None:
    who = in_state(group, state)
    assert group.coordinator.state is state
    assert group.beat(who) is heartbeat
    assert group.commit(who) is commit
    assert (HERE in group.coordinator.offsets) == (commit is None)
    asked = group.sync(who)
    assert ("waits" if asked.pending else asked.error) == sync


@pytest.mark.parametrize("state", [State.STABLE, State.PREPARING, State.COMPLETING])
def test_what_others_are_answered(group: Group, state: State) -> None:
    who = in_state(group, state)
    for generation in (who.generation - 1, who.generation + 1):
        late = Identity(who.member_id, generation)
        assert group.beat(late) is IllegalGenerationError
        assert group.commit(late) is IllegalGenerationError
        assert group.sync(late).error is IllegalGenerationError
    nobody = Identity("nobody", who.generation)
    assert group.beat(nobody) is UnknownMemberIdError
    assert group.commit(nobody) is UnknownMemberIdError
    assert group.sync(nobody).error is UnknownMemberIdError
    assert HERE not in group.coordinator.offsets


def test_a_member_that_did_not_sync_in_time_is_out(group: Group) -> None:
    ids = [group.new_id(), group.new_id()]
    members = [asked.joined.identity for asked in [group.join(each) for each in ids]]
    leader = next(who for who in members if who.member_id == group.coordinator.leader)
    group.sync(leader, {})
    other = next(who for who in members if who is not leader)
    for _ in range(3):
        group.wait(REBALANCE / 3 + 0.1)
        if other.member_id in group.coordinator.members:
            group.beat(other)
            group.beat(leader)
    assert group.beat(other) is UnknownMemberIdError


def test_the_plan_reaches_all_and_who_is_left_out_gets_nothing(group: Group) -> None:
    ids = [group.new_id(), group.new_id()]
    leader, follower = (asked.joined.identity for asked in [group.join(each) for each in ids])
    waiting = group.sync(follower)
    assert waiting.pending
    assert group.sync(leader, {leader.member_id: b"mine"}).answer == b"mine"
    assert waiting.answer == b""


def test_an_empty_group_keeps_offsets_for_whoever_is_no_member(group: Group) -> None:
    assert group.commit(Identity()) is None
    leader, follower = group.stable()
    assert group.commit(Identity()) is UnknownMemberIdError
    group.leave(leader)
    group.leave(follower)
    assert group.coordinator.state is State.EMPTY
    assert group.commit(follower) is UnknownMemberIdError
    assert group.commit(Identity()) is None


def test_who_leaves_is_answered_where_it_waits_and_the_others_begin_anew(group: Group) -> None:
    leader, follower = group.stable()
    asked = group.join(leader.member_id)
    group.leave(leader)
    assert asked.error is UnknownMemberIdError
    assert group.join(follower.member_id).joined.leader_id == follower.member_id


# Static members.


def static_group(group: Group) -> tuple[Identity, Identity]:
    """A dynamic leader and a static follower."""
    first = group.join(group.new_id()).joined.identity
    group.sync(first, {})
    static = group.join("", instance_id="i")
    leader = group.join(first.member_id).joined.identity
    who = static.joined.identity
    group.sync(who, instance_id="i")
    group.sync(leader, {who.member_id: b"theirs"})
    return leader, who


def test_a_static_member_needs_no_id_first(group: Group) -> None:
    assert group.join("", instance_id="i").joined.identity.generation == 1


def test_a_static_member_that_comes_back_has_what_it_had(group: Group) -> None:
    leader, static = static_group(group)
    back = group.join("", instance_id="i").joined
    assert back.identity.generation == static.generation
    assert back.identity.member_id != static.member_id
    assert back.leader_id == leader.member_id
    assert group.sync(back.identity, instance_id="i").answer == b"theirs"
    assert group.coordinator.state is State.STABLE


def test_a_static_leader_that_comes_back_is_named_by_its_old_id(group: Group) -> None:
    first = group.join("", instance_id="i").joined.identity
    group.sync(first, {first.member_id: b"all"}, instance_id="i")
    back = group.join("", instance_id="i").joined
    assert back.leader_id == first.member_id != back.identity.member_id
    assert back.members == {}
    assert group.join(back.identity.member_id, instance_id="i").joined.members


def test_whoever_had_the_instance_id_before_is_fenced(group: Group) -> None:
    _, static = static_group(group)
    group.join("", instance_id="i")
    assert group.beat(static, "i") is FencedInstanceIdError
    assert group.commit(static, "i") is FencedInstanceIdError
    assert group.sync(static, instance_id="i").error is FencedInstanceIdError
    assert group.join(static.member_id, instance_id="i").error is FencedInstanceIdError


def test_a_static_member_that_is_replaced_while_it_waits_learns_of_it(group: Group) -> None:
    static_group(group)
    waiting = group.join(group.coordinator.stored.members[1][0], OTHER_A, "i")
    group.join("", instance_id="i")
    assert waiting.error is FencedInstanceIdError


def test_a_static_member_is_not_put_out_by_a_barrier_but_by_its_session(group: Group) -> None:
    leader, static = static_group(group)
    asked = group.join(leader.member_id)
    for _ in range(2):
        group.wait(SESSION - 1)
        assert group.beat(static, "i") is RebalanceInProgressError
    group.wait(REBALANCE - 2 * (SESSION - 1))
    assert asked.joined.members.keys() == {leader.member_id, static.member_id}
    assert group.beat(static, "i") is IllegalGenerationError
    group.wait(SESSION)
    assert static.member_id not in group.coordinator.members


# Another broker takes over.


def test_who_waits_is_told_when_the_coordinator_moves(group: Group) -> None:
    leader, follower = group.stable()
    joining = group.join(leader.member_id)
    group.coordinator.unload()
    assert joining.error is NotCoordinatorForGroupError
    assert group.beat(follower) is None, "while it loads it takes everybody's word"
    assert group.commit(follower) is GroupLoadInProgressError
    assert group.join(follower.member_id).error is GroupLoadInProgressError


def test_the_new_coordinator_knows_what_was_stored(group: Group) -> None:
    leader, follower = group.stable()
    group.commit(leader)
    late = group.new_id()
    group.join(late)
    group.coordinator.unload()
    group.coordinator.load()
    assert group.coordinator.state is State.STABLE
    assert group.beat(leader) is None
    assert group.sync(follower).answer == follower.member_id.encode()
    assert group.join(late).error is UnknownMemberIdError
    assert group.coordinator.offsets[HERE].offset == 5
