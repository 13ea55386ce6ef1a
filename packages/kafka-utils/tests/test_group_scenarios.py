"""What whole members do in the situations that have gone wrong elsewhere, one by one."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from group_model.foreign_model import Form
from group_model.member_model import HEARTBEAT_SECONDS, Habits, ModelMember
from group_model.network_model import Kind, Late, Moment, Timeouts
from group_model.simulation import Simulation

from kafka_utils.assignors.consumer_protocol import Assignment, encode_assignment
from kafka_utils.coordinator.membership import Phase, Reason
from kafka_utils.coordinator.messages import Identity
from kafka_utils.errors import FencedError, InconsistentAssignorsError

LONG_DRAINS: dict[str, Any] = {"revoke_seconds": 40.0, "timeouts": Timeouts(rebalance=60.0)}
QUICK = Habits(poll_seconds=0.02)


@pytest.fixture
def group() -> Iterator[Simulation]:
    simulation = Simulation({"t": 4})
    yield simulation
    simulation.end()


def longest_gap(group: Simulation, partition: TopicPartition, since: float) -> float:
    """The longest time in which nobody delivered a partition."""
    times = [d.at for d in group.truth.delivered if d.partition == partition and d.at >= since]
    ends = [since, *times, group.now]
    return max(later - earlier for earlier, later in pairwise(ends))


def delivered_by(group: Simulation, member: ModelMember, since: float) -> set[TopicPartition]:
    return {
        each.partition
        for each in group.truth.delivered
        if each.member == member.name and each.at >= since
    }


def wants(member: ModelMember, reason: Reason) -> None:
    with member.process.inside():
        member.member.want(reason)


def is_given(member: ModelMember, plan: bytes) -> None:
    """Its next plan is this one, whatever the leader has made."""
    said = member.transport.sync

    async def sync(identity: Identity, assignments: Mapping[str, bytes]) -> bytes:
        await said(identity, assignments)
        member.transport.sync = said  # type: ignore[method-assign]
        return plan

    member.transport.sync = sync  # type: ignore[method-assign]


def test_a_barrier_that_waits_for_one_member_holds_nobody_up(group: Simulation) -> None:
    first, slow = group.start(), group.start()
    group.settle()
    since = group.now
    slow.freeze()
    third = group.start()
    group.run(7)
    assert first.member.membership.phase is Phase.JOINING
    assert not third.held
    for partition in first.open:
        assert longest_gap(group, partition, since) <= 0.25 + first.habits.poll_seconds
    slow.thaw()
    group.settle()
    assert slow.rebalances[-1].owned_before
    assert not first.losses
    assert not slow.losses


def test_a_join_may_wait_longer_than_a_request(group: Simulation) -> None:
    times = Timeouts(session=30.0, rebalance=25.0, request=5.0)
    first, slow = group.start(timeouts=times), group.start(timeouts=times)
    group.settle()
    slow.freeze()
    before = [kind for kind, _ in first.log].count("join")
    group.start(timeouts=times)
    group.run(15)
    assert first.member.membership.phase is Phase.JOINING
    slow.thaw()
    group.run(1)
    assert [kind for kind, _ in first.log].count("join") <= before + 2, "once a round"
    group.settle()
    assert not first.losses


def test_a_long_drain_goes_on_while_other_rebalances_pass(group: Simulation) -> None:
    first = group.start(**LONG_DRAINS)
    group.settle()
    first.drain_seconds = 20.0
    generation = group.coordinator.generation
    second = group.start(**LONG_DRAINS)
    group.run(8)
    third = group.start(**LONG_DRAINS)
    group.run(8)
    assert group.coordinator.generation >= generation + 2
    assert first.revoking, "it drains still"
    assert first.held >= first.revoking, "and claims what it drains"
    group.settle()
    assert all(revocation.outcome == "done" for revocation in first.revocations)
    assert not [*first.losses, *second.losses, *third.losses]


def test_a_partition_that_is_given_back_while_it_drains_is_taken_up_anew(
    group: Simulation,
) -> None:
    first = group.start(**LONG_DRAINS)
    group.settle()
    first.drain_seconds = 10.0
    second = group.start(**LONG_DRAINS)
    group.run(5)
    draining = frozenset(first.revoking)
    assert draining
    second.stop(relinquish=False)
    group.settle()
    assert first.open >= draining
    assert not first.losses
    assert [what for kind, what in first.log if kind == "released"] == [draining]


def test_a_partition_that_is_given_back_while_it_drains_goes_on_where_its_owner_can(
    group: Simulation,
) -> None:
    first = group.start(**LONG_DRAINS)
    group.settle()
    first.drain_seconds, first.keeps = 10.0, True
    second = group.start(**LONG_DRAINS)
    group.run(5)
    draining = frozenset(first.revoking)
    assert draining
    since = group.now
    second.stop(relinquish=False)
    group.run(2)
    assert first.open >= draining, "long before the drain would have ended"
    group.settle()
    assert delivered_by(group, first, since) == first.open
    assert [what for kind, what in first.log if kind in ("kept", "released")] == [draining]
    assert not first.revocations
    assert not first.losses
    assert not first.commit_errors


def test_who_missed_a_generation_keeps_its_member_id(group: Simulation) -> None:
    times = Timeouts(session=30.0, rebalance=6.0)
    static = group.start(instance_id="i", timeouts=times)
    group.start(timeouts=times)
    group.settle()
    before = static.member_id
    static.freeze()
    group.start(timeouts=times)
    group.run(9)
    static.thaw()
    group.settle()
    assert [loss.reason for loss in static.losses] == ["Heartbeat: IllegalGenerationError"]
    assert static.member_id == before


@pytest.mark.parametrize("late", [Late(there=1.0), Late(back=1.0)])
@pytest.mark.parametrize("kind", ["heartbeat", "commit"])
def test_an_answer_to_an_earlier_generation_changes_nothing(
    group: Simulation, kind: Kind, late: Late
) -> None:
    member = group.start(habits=Habits(commit_seconds=0.5))
    group.settle()
    rebalances, generation = len(member.rebalances), group.coordinator.generation
    member.transport.late[kind] = late
    for _ in range(100):
        group.run(0.05)
        if kind not in member.transport.late:
            break
    wants(member, Reason.METADATA)
    group.settle()
    assert kind not in member.transport.late
    assert not member.losses
    assert not member.commit_errors
    assert len(member.rebalances) == rebalances + 1
    assert group.coordinator.generation == generation + 1


def until_sent(group: Simulation, member: ModelMember, kind: Kind, late: Late) -> None:
    """Wait until the member sends this, and let that be late."""
    member.transport.late[kind] = late
    for _ in range(400):
        group.world.pass_time(0.01)
        if kind not in member.transport.late:
            return
    raise AssertionError(f"no {kind} was sent")


@pytest.mark.parametrize("kind", ["heartbeat", "commit"])
def test_an_answer_that_comes_while_the_member_joins_changes_nothing(
    group: Simulation, kind: Kind
) -> None:
    member = group.start(habits=Habits(commit_seconds=0.5))
    group.settle()
    rebalances = len(member.rebalances)
    until_sent(group, member, kind, Late(there=0.5))
    member.transport.late["join"] = Late(back=2.0)
    wants(member, Reason.METADATA)
    group.settle()
    assert not member.losses
    assert not member.commit_errors
    assert len(member.rebalances) == rebalances + 1


def test_who_hears_of_a_rebalance_that_it_joined_already_joins_no_other(
    group: Simulation,
) -> None:
    group.network.quickest = group.network.slowest = 0.001
    first, second = group.start(), group.start()
    group.settle()
    generation = group.coordinator.generation
    wants(second, Reason.SUBSCRIPTION)
    group.world.pass_time(0.01)
    if (
        group.coordinator.generation == generation
        and second.member.membership.phase is Phase.STABLE
    ):
        wants(first, Reason.METADATA)  # A follower that says the same brings no rebalance.
        first, second = second, first
    assert second.member.membership.phase is Phase.JOINING
    until_sent(group, first, "heartbeat", Late(back=0.5))
    first.transport.late["join"] = Late(back=2.0)
    wants(first, Reason.METADATA)
    group.settle()
    assert group.coordinator.generation == generation + 1


@pytest.mark.parametrize("kind", ["join", "sync"])
@pytest.mark.parametrize("late", [Late(there=1.0), Late(back=1.0)])
def test_a_commit_at_any_step_of_a_round_is_stored_once_it_may_be(
    group: Simulation, kind: Kind, late: Late
) -> None:
    first = group.start(habits=Habits(commit_seconds=0.02, poll_seconds=0.02))
    second = group.start(habits=Habits(commit_seconds=0.02, poll_seconds=0.02))
    group.settle()
    committed = len(first.commits) + len(second.commits)
    for member in (first, second):
        for _ in range(2):
            member.transport.late[kind] = late
            wants(member, Reason.METADATA)
            group.run(3)
    group.settle()
    assert len(first.commits) + len(second.commits) > committed + 100
    assert not first.commit_errors
    assert not second.commit_errors
    assert all(commit.error is None for commit in first.commits + second.commits)


def test_an_earlier_commit_that_is_repeated_does_not_overtake_a_later_one(
    group: Simulation,
) -> None:
    member = group.start(habits=Habits(commit_seconds=1000.0))
    group.run(10)
    here = min(member.open)
    member.transport.faults["commit"] = "before"
    for offset in (5, 9):
        member.process.spawn(member.member.commits.commit({here: OffsetAndMetadata(offset, "")}))
        group.world.pass_time(0.05)
    group.run(5)
    assert group.coordinator.offsets[here].offset == 9


@pytest.mark.parametrize("members", [2, 3])
def test_who_relinquishes_hands_over_without_a_gap(group: Simulation, members: int) -> None:
    group.truth.records_a_second = 50
    leaving, *staying = [group.start(habits=QUICK) for _ in range(members)]
    group.settle()
    theirs, since = leaving.open, group.now
    leaving.stop(relinquish=True)
    group.run(HEARTBEAT_SECONDS * 3)
    assert leaving.ended
    assert leaving.member.membership.phase is Phase.LEFT
    assert theirs <= frozenset().union(*(member.open for member in staying))
    for partition in theirs:
        assert longest_gap(group, partition, since) < 0.5
    group.settle()


def test_who_stops_without_it_leaves_a_gap_until_the_others_learn_of_it(
    group: Simulation,
) -> None:
    leaving, staying = group.start(habits=QUICK), group.start(habits=QUICK)
    group.settle()
    theirs, since = leaving.open, group.now
    leaving.stop(relinquish=False)
    group.settle()
    assert theirs <= staying.open
    for partition in theirs:
        assert longest_gap(group, partition, since) < HEARTBEAT_SECONDS + 1.0


def test_heartbeats_are_quick_while_another_round_is_near_and_only_then(
    group: Simulation,
) -> None:
    first, second = group.start(**LONG_DRAINS), group.start(**LONG_DRAINS)
    group.settle()
    first.drain_seconds = second.drain_seconds = 4.0
    since = group.now
    group.start(**LONG_DRAINS)
    group.settle()
    assert [r for r in first.rebalances if r.another_round and len(r.owned_before) == 2]
    drainer = first if first.revocations else second
    waiting = second if drainer is first else first
    beats = [at for at in waiting.beats if at > since]
    gaps = [later - earlier for earlier, later in pairwise(beats)]
    assert min(gaps) < 0.3
    assert sum(gap < 1.0 for gap in gaps) >= 4
    group.run(20)
    later = [at for at in waiting.beats if at > group.now - 15]
    assert min(b - a for a, b in pairwise(later)) > HEARTBEAT_SECONDS - 0.1


@pytest.mark.parametrize("assignors", [["roundrobin"], ["cooperative-sticky", "roundrobin"]])
def test_an_eager_member_gives_everything_back_before_it_joins(
    group: Simulation, assignors: list[str]
) -> None:
    first = group.start(assignors=assignors)
    group.settle()
    theirs = first.open
    first.drain_seconds = 2.0
    group.start(assignors=assignors)
    group.settle()
    joins = [held for kind, held in first.log if kind == "join"]
    assert not any(joins)
    kinds = [kind for kind, _ in first.log]
    last_join = len(kinds) - 1 - kinds[::-1].index("join")
    assert "released" in kinds[:last_join]
    assert first.revocations[0].partitions == theirs


def test_a_second_member_with_its_instance_id_ends_the_first(group: Simulation) -> None:
    first = group.start(instance_id="i")
    group.settle()
    second = group.start(instance_id="i")
    group.settle()
    assert isinstance(first.member.failure, FencedError)
    assert not first.held
    assert second.member.failure is None
    assert len(second.open) == 4


def test_a_static_member_that_returns_goes_on_without_a_rebalance(group: Simulation) -> None:
    group.start()
    group.run(5)
    static = group.start(instance_id="i")
    group.settle()
    theirs, barriers = static.open, len(group.coordinator.log.barriers)
    static.stop(relinquish=True)
    group.run(5)
    assert static.ended
    again = group.start(instance_id="i")
    group.settle()
    assert again.open == theirs
    assert len(group.coordinator.log.barriers) == barriers


def test_a_static_leader_that_returns_watches_the_topics_again(group: Simulation) -> None:
    static = group.start(instance_id="i")
    group.start()
    group.settle()
    assert static.member.leads
    static.stop(relinquish=True)
    group.run(5)
    again = group.start(instance_id="i")
    group.settle()
    assert again.member.leads
    group.change_topics({"t": 6})
    group.settle()


@pytest.mark.parametrize("then", ["another leaves", "another joins"])
def test_a_static_member_that_stops_while_the_group_changes_leaves_nothing_to_nobody(
    group: Simulation, then: str
) -> None:
    group.start(**LONG_DRAINS)
    group.run(5)
    static = group.start(instance_id="i", **LONG_DRAINS)
    other = group.start(**LONG_DRAINS)
    group.settle()
    static.drain_seconds = 8.0
    static.stop(relinquish=True)
    group.run(1)
    if then == "another leaves":
        other.stop(relinquish=False)
    else:
        group.start(**LONG_DRAINS)
    group.run(10)
    assert static.ended
    group.start(instance_id="i", **LONG_DRAINS)
    group.settle()


@pytest.mark.parametrize("crashes", [False, True])
def test_a_static_member_that_ends_in_a_drain_for_another_owes_it_when_it_returns(
    group: Simulation, crashes: bool
) -> None:
    group.start(**LONG_DRAINS)
    group.run(5)
    static = group.start(instance_id="i", **LONG_DRAINS)
    group.settle()
    static.drain_seconds = 8.0
    for _ in range(2):
        group.start(**LONG_DRAINS)
    group.run(5)
    assert static.revoking
    if crashes:
        static.crash()
    else:
        static.stop(relinquish=True)
        group.run(15)
        assert static.ended
    again = group.start(instance_id="i", **LONG_DRAINS)
    group.settle()
    assert Reason.RELEASED.value in {rebalance.reason for rebalance in again.rebalances}


def test_a_leader_that_followed_knows_what_was_added_meanwhile(group: Simulation) -> None:
    leader = group.start()
    group.run(5)
    heir = group.start()
    group.settle()
    assert (leader.member.leads, heir.member.leads) == (True, False)
    group.change_topics({"t": 6})
    group.settle()
    leader.stop(relinquish=True)
    group.settle()
    assert heir.member.leads
    assert len(heir.open) == 6


@pytest.mark.parametrize("crashes", [False, True])
def test_a_static_member_owes_its_round_also_when_the_leader_announces_none(
    group: Simulation, crashes: bool
) -> None:
    group.start_foreign(Form.LIBRDKAFKA_V3)
    group.run(5)
    static = group.start(instance_id="i", **LONG_DRAINS)
    group.settle()
    static.drain_seconds = 8.0
    group.start(**LONG_DRAINS)
    group.run(5)
    assert static.revoking
    if crashes:
        static.crash()
    else:
        static.stop(relinquish=True)
        group.run(15)
        assert static.ended
    again = group.start(instance_id="i", **LONG_DRAINS)
    group.settle()
    assert not any(member.member.leads for member in group.members)
    assert [each.reason for each in again.rebalances].count(Reason.RELEASED.value) == 1


def test_a_static_member_that_owes_nothing_starts_no_round_whoever_leads(
    group: Simulation,
) -> None:
    group.start_foreign(Form.LIBRDKAFKA_V3)
    group.run(5)
    static = group.start(instance_id="i")
    group.settle()
    barriers = len(group.coordinator.log.barriers)
    static.crash()
    again = group.start(instance_id="i")
    group.settle()
    assert again.open
    assert len(group.coordinator.log.barriers) == barriers


def test_a_member_with_nothing_in_common_with_the_others_fails(group: Simulation) -> None:
    group.start(assignors=["roundrobin"])
    group.settle()
    stranger = group.start(assignors=["cooperative-sticky"])
    group.settle()
    failure = stranger.member.failure
    assert isinstance(failure, InconsistentAssignorsError)
    assert "roundrobin" in str(failure)


def test_a_join_that_is_given_up_leaves_no_ghost(group: Simulation) -> None:
    group.start()
    group.settle()
    impatient = group.start()
    impatient.transport.late["join"] = Late(back=1000.0)
    group.truth.disturbed.add(impatient.name)
    group.settle(300)


def test_who_stops_while_it_is_given_an_id_leaves_no_ghost(group: Simulation) -> None:
    group.network.quickest = group.network.slowest = 0.1
    first = group.start()
    group.settle()
    for milliseconds in range(0, 1500, 90):
        brief = group.start()
        group.run(milliseconds / 1000)
        brief.stop(relinquish=False)
        group.run(2.0)
        assert brief.ended
        assert group.coordinator.pending == {}
        assert set(group.coordinator.members) == {first.member_id}
    group.settle()


@pytest.mark.parametrize("relinquish", [False, True])
def test_a_leave_that_the_coordinator_did_not_get_is_said_again(
    group: Simulation, relinquish: bool
) -> None:
    first, second = group.start(), group.start()
    group.settle()
    second.transport.faults["leave"] = "before"
    second.stop(relinquish=relinquish)
    group.run(HEARTBEAT_SECONDS * 2)
    assert second.ended
    assert set(group.coordinator.members) == {first.member_id}
    group.settle()


@pytest.mark.parametrize("drain", [0.0, 4.0])
@pytest.mark.parametrize("relinquish", [False, True])
@pytest.mark.parametrize("kind", ["join", "sync"])
def test_who_stops_in_the_middle_of_a_round_comes_to_its_end(
    group: Simulation, kind: Kind, relinquish: bool, drain: float
) -> None:
    member = group.start()
    member.drain_seconds = drain
    group.start()
    group.settle()
    member.transport.late[kind] = Late(there=0.5, back=0.5)
    wants(member, Reason.METADATA)
    group.run(0.2)
    member.stop(relinquish=relinquish)
    group.run(20)
    assert member.ended
    group.settle()


def test_who_unsubscribes_leaves_and_comes_back_with_the_next_subscription(
    group: Simulation,
) -> None:
    member, other = group.start(), group.start()
    group.settle()
    joins = [kind for kind, _ in member.log].count("join")
    member.process.spawn(member.unsubscribes())
    group.run(10)
    assert member.topics is None
    assert group.ghosts() == set()
    assert set(group.coordinator.members) == {other.member_id}
    assert [kind for kind, _ in member.log].count("join") == joins
    assert not member.losses
    member.subscribe({"t"})
    group.settle()
    assert member.open


@pytest.mark.parametrize("moment", ["before", "during", "after"])
@pytest.mark.parametrize("kind", ["join", "sync", "heartbeat", "commit"])
def test_a_broken_connection_costs_nobody_his_partitions(
    group: Simulation, kind: Kind, moment: Moment
) -> None:
    first, second = group.start(), group.start()
    group.settle()
    for member in (first, second):
        member.transport.faults[kind] = moment
        wants(member, Reason.METADATA)
        group.settle()
    assert not first.losses
    assert not second.losses


@pytest.mark.parametrize("joins", [False, True])
def test_who_stood_still_past_its_session_delivers_nothing_when_it_goes_on(
    group: Simulation, joins: bool
) -> None:
    first, second = group.start(habits=QUICK), group.start(habits=QUICK)
    group.settle()
    if joins:
        second.transport.late["join"] = Late(back=0.1)
        wants(second, Reason.METADATA)
        group.run(HEARTBEAT_SECONDS + 1)
        first.transport.faults.clear()
    second.freeze()
    group.run(60)
    assert len(first.open) == 4
    since = group.now
    second.thaw()
    group.run(0.0)
    group.world.pass_time(0.01)
    assert not delivered_by(group, second, since)
    assert [loss.reason for loss in second.losses] == [
        "this process stood still for a whole session"
    ]
    group.settle()


def test_who_stood_still_while_its_join_was_answered_delivers_nothing(group: Simulation) -> None:
    group.network.quickest = group.network.slowest = 0.05
    first, second = group.start(habits=QUICK), group.start(habits=QUICK)
    group.settle()
    wants(second, Reason.METADATA)
    group.run(0.06)
    assert second.member.membership.phase is Phase.JOINING
    second.freeze()
    group.run(60)
    assert len(first.open) == 4
    since = group.now
    second.thaw()
    group.run(10)
    stolen = [
        each
        for each in group.truth.delivered
        if each.member == second.name and since <= each.at < since + 0.3
    ]
    assert not stolen
    group.settle()


def test_who_was_cut_off_for_a_session_loses_all_once_it_hears_of_it(group: Simulation) -> None:
    first, second = group.start(habits=QUICK), group.start(habits=QUICK)
    group.settle()
    second.cut_off(silent=True)
    group.run(30)
    assert len(first.open) == 4
    second.cut_off(silent=False)
    group.settle()
    (loss,) = second.losses
    assert loss.reason.endswith(": UnknownMemberIdError")


@pytest.mark.parametrize("unsettled", ["loading", "moved", "unstable"])
def test_a_coordinator_that_is_not_ready_is_not_one_that_has_no_offsets(
    group: Simulation, unsettled: str
) -> None:
    first = group.start()
    group.settle()
    if unsettled == "unstable":
        group.coordinator.unstable = group.truth.partitions(["t"])
    second = group.start()
    group.run(2.0)
    if unsettled == "loading":
        group.move_coordinator(0, without=0.0, loading=3.0)
    elif unsettled == "moved":
        group.move_coordinator(1, without=2.0, lagging=1.0, loading=4.0)
    group.run(8.0)
    group.coordinator.unstable = set()
    group.settle()
    theirs = [each for each in group.truth.delivered if each.member == second.name]
    starts = {each.partition: each.first for each in reversed(theirs)}
    assert starts
    assert all(start > 0 for start in starts.values())
    assert first.open


@pytest.mark.parametrize("form", [*Form])
def test_a_group_with_members_of_other_kinds_shares_everything(
    group: Simulation, form: Form
) -> None:
    for _ in range(2):
        group.start()
    group.settle()
    foreign = group.start_foreign(form)
    group.settle()
    assert bool(foreign.owned) == (form is not Form.GARBAGE)
    foreign.stop()
    group.settle()


@pytest.mark.parametrize("form", [Form.LIBRDKAFKA_V3, Form.EAGER_V0])
def test_a_leader_of_another_kind_does_not_keep_a_member_from_leaving(
    group: Simulation, form: Form
) -> None:
    foreign = group.start_foreign(form)
    group.run(5)
    member = group.start()
    group.settle()
    assert member.open
    assert group.coordinator.leader == foreign.member_id
    member.stop(relinquish=True)
    group.run(20)
    assert member.ended
    group.settle()


def test_a_plan_that_cannot_be_read_leaves_everything_as_it_is(
    group: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    leader, member = group.start(), group.start()
    group.settle()
    before = member.open
    is_given(member, b"\x00\x03 garbage")
    wants(leader, Reason.METADATA)
    group.run(5)
    assert "the leader's plan is not used" in caplog.text
    assert before == member.open == member.held
    assert not member.revocations
    assert not member.losses
    group.settle()


def test_a_plan_with_topics_that_were_not_subscribed_is_not_used_and_another_one_is_asked_for(
    group: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    leader, member = group.start(), group.start()
    group.settle()
    before, generation = member.open, group.coordinator.generation
    is_given(member, encode_assignment(Assignment(frozenset({TopicPartition("other", 0)}))))
    wants(leader, Reason.METADATA)
    group.run(10)
    assert "a plan with ['other'] is not used" in caplog.text
    assert before == member.open == member.held
    assert not member.revocations
    assert not member.losses
    assert group.coordinator.generation == generation + 2
    assert member.rebalances[-1].reason == Reason.STALE.value
    group.settle()


def test_a_callback_that_never_returns_is_given_up_and_the_group_goes_on(
    group: Simulation,
) -> None:
    first = group.start()
    group.settle()
    first.drain_seconds = 1000.0
    second = group.start()
    group.settle()
    assert [revocation.outcome for revocation in first.revocations] == ["timeout"]
    assert second.open
    assert not first.losses


def test_no_error_of_a_commit_in_a_calm_group(group: Simulation) -> None:
    members = [group.start() for _ in range(3)]
    group.settle()
    errors: list[KafkaError] = [error for member in members for error in member.commit_errors]
    assert not errors
