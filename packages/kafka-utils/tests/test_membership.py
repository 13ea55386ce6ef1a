"""What each answer of a coordinator makes of a member: every transition, every verdict."""

from typing import Final

import pytest
from aiokafka import errors
from aiokafka.errors import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from kafka_utils.coordinator.membership import (
    ALIVE,
    ENDED,
    TRANSITIONS,
    Membership,
    Phase,
    Reason,
    Request,
    Trigger,
    Verdict,
    is_own_word,
    judge,
    returned_as_leader,
    step,
)
from kafka_utils.coordinator.messages import NO_GENERATION, NOBODY, Identity
from kafka_utils.requests import (
    FencedInstanceIdError,
    GroupMaxSizeReachedError,
    UnstableOffsetCommitError,
)

FIFTH: Final = Identity("m", 5)
SIXTH: Final = Identity("m", 6)

# Each row is a phase, each column a trigger; a dot is what changes nothing.
TABLE: Final = """
           WANTED    JOIN_SENT ID_GIVEN JOINED  SYNCED REBALANCE CUT_OFF
UNJOINED   UNJOINED  JOINING   .        .       .      .         .
PREPARING  PREPARING JOINING   .        .       .      PREPARING .
JOINING    JOINING   .         UNJOINED SYNCING .      .         UNJOINED
SYNCING    SYNCING   .         .        .       STABLE PREPARING UNJOINED
STABLE     PREPARING .         .        .       .      PREPARING .
LEFT       .         .         .        .       .      .         .
FAILED     .         .         .        .       .      .         .

           GENERATION_LOST MEMBER_LOST PARTED   LEAVE REFUSED
UNJOINED   UNJOINED        UNJOINED    UNJOINED LEFT  FAILED
PREPARING  UNJOINED        UNJOINED    UNJOINED LEFT  FAILED
JOINING    UNJOINED        UNJOINED    UNJOINED LEFT  FAILED
SYNCING    UNJOINED        UNJOINED    UNJOINED LEFT  FAILED
STABLE     UNJOINED        UNJOINED    UNJOINED LEFT  FAILED
LEFT       .               .           .        .     .
FAILED     .               .           .        .     .
"""


def stated() -> dict[tuple[Phase, Trigger], Phase | None]:
    """Read the table; None is for what changes nothing."""
    pairs: dict[tuple[Phase, Trigger], Phase | None] = {}
    for block in TABLE.strip().split("\n\n"):
        head, *rows = (line.split() for line in block.splitlines())
        for phase, *targets in rows:
            for trigger, target in zip(head, targets, strict=True):
                pairs[Phase[phase], Trigger[trigger]] = None if target == "." else Phase[target]
    return pairs


STATED: Final = stated()

phases = st.sampled_from(Phase)
reasons = st.sampled_from(Reason)
identities = st.builds(
    Identity, st.sampled_from(["", "m", "n"]), st.integers(min_value=-1, max_value=4)
)
members = st.builds(Membership, phases, identities, st.none() | reasons)
steps = st.tuples(st.sampled_from(Trigger), identities, st.none() | reasons)


def test_every_pair_is_stated() -> None:
    assert STATED.keys() == {(phase, trigger) for phase in Phase for trigger in Trigger}


def test_each_trigger_leads_where_the_table_says() -> None:
    reached = {
        (phase, trigger): step(Membership(phase, FIFTH), trigger, identity=SIXTH).phase
        for phase, trigger in STATED
    }

    assert reached == {pair: target or pair[0] for pair, target in STATED.items()}
    assert {pair: target for pair, target in STATED.items() if target} == TRANSITIONS


@given(members, steps)
def test_what_has_no_place_in_a_phase_changes_nothing(
    before: Membership, taken: tuple[Trigger, Identity, Reason | None]
) -> None:
    trigger, identity, reason = taken
    after = step(before, trigger, identity=identity, reason=reason)

    if STATED[before.phase, trigger] is None:
        assert after == before


@given(members, st.lists(steps))
def test_an_end_is_the_end(
    member: Membership, taken: list[tuple[Trigger, Identity, Reason | None]]
) -> None:
    ended: Membership | None = None
    for trigger, identity, reason in taken:
        member = step(member, trigger, identity=identity, reason=reason)
        if ended is not None:
            assert member == ended
        if member.phase in ENDED:
            ended = member


@given(members.filter(lambda member: member.phase not in ENDED), steps)
def test_only_these_change_who_a_member_is(
    before: Membership, taken: tuple[Trigger, Identity, Reason | None]
) -> None:
    trigger, identity, reason = taken
    after = step(before, trigger, identity=identity, reason=reason)

    if after.identity != before.identity:
        assert trigger in (
            Trigger.ID_GIVEN,
            Trigger.JOINED,
            Trigger.GENERATION_LOST,
            Trigger.MEMBER_LOST,
            Trigger.PARTED,
        )


@given(members.filter(lambda member: member.phase not in ENDED))
def test_a_lost_generation_keeps_the_member_id_and_a_lost_member_does_not(
    before: Membership,
) -> None:
    generation_lost = step(before, Trigger.GENERATION_LOST)
    member_lost = step(before, Trigger.MEMBER_LOST)

    assert generation_lost.identity == Identity(before.identity.member_id, NO_GENERATION)
    assert member_lost.identity == NOBODY
    for after in (generation_lost, member_lost):
        assert not after.is_member
        assert after.wanted is Reason.LOST


@given(members.filter(lambda member: member.phase not in ENDED))
def test_who_has_parted_is_nobody_and_wants_nothing(before: Membership) -> None:
    assert step(before, Trigger.PARTED) == Membership(Phase.UNJOINED, NOBODY, None)


@given(members, st.lists(steps))
def test_a_member_that_is_stable_wants_nothing(
    member: Membership, taken: list[tuple[Trigger, Identity, Reason | None]]
) -> None:
    member = member._replace(phase=Phase.JOINING)
    for trigger, identity, reason in taken:
        member = step(member, trigger, identity=identity, reason=reason)
        if member.phase is Phase.STABLE:
            assert member.wanted is None
        if member.phase is Phase.PREPARING:
            assert member.wanted is not None


@given(members, st.lists(steps))
def test_what_is_wanted_while_a_join_is_under_way_is_not_forgotten(
    member: Membership, taken: list[tuple[Trigger, Identity, Reason | None]]
) -> None:
    member = step(member._replace(phase=Phase.JOINING), Trigger.WANTED, reason=Reason.RELEASED)
    for trigger, identity, reason in taken:
        member = step(member, trigger, identity=identity, reason=reason)
        if trigger in (Trigger.JOIN_SENT, Trigger.PARTED) or member.phase in ENDED:
            return
        assert member.wanted is not None


def test_a_first_join_goes_through_the_phases() -> None:
    member = Membership(wanted=Reason.FIRST)
    assert not member.is_member

    member = step(member, Trigger.JOIN_SENT)
    assert member == Membership(Phase.JOINING)
    member = step(member, Trigger.ID_GIVEN, identity=Identity("m"))
    assert member == Membership(Phase.UNJOINED, Identity("m"), Reason.FIRST)
    member = step(member, Trigger.JOIN_SENT)
    member = step(member, Trigger.JOINED, identity=FIFTH)
    assert member == Membership(Phase.SYNCING, FIFTH)
    assert member.is_member
    member = step(member, Trigger.SYNCED)
    assert member == Membership(Phase.STABLE, FIFTH)


def test_a_rejoin_keeps_the_generation_until_the_next_begins() -> None:
    member = step(Membership(Phase.STABLE, FIFTH), Trigger.WANTED, reason=Reason.METADATA)
    assert member == Membership(Phase.PREPARING, FIFTH, Reason.METADATA)
    member = step(member, Trigger.JOIN_SENT)
    assert member == Membership(Phase.JOINING, FIFTH)
    member = step(member, Trigger.JOINED, identity=SIXTH)

    assert member == Membership(Phase.SYNCING, SIXTH)


def test_what_became_due_while_a_join_was_under_way_follows_it() -> None:
    for phase in (Phase.JOINING, Phase.SYNCING):
        member = step(Membership(phase, FIFTH), Trigger.WANTED, reason=Reason.RELEASED)
        member = step(member, Trigger.JOINED, identity=FIFTH)
        member = step(member, Trigger.SYNCED)

        assert member == Membership(Phase.PREPARING, FIFTH, Reason.RELEASED)


def test_a_member_whose_answer_did_not_come_keeps_what_it_holds() -> None:
    for phase in (Phase.JOINING, Phase.SYNCING):
        member = step(Membership(phase, FIFTH), Trigger.CUT_OFF)

        assert member == Membership(Phase.UNJOINED, FIFTH, Reason.CUT_OFF)
        assert member.is_member


def test_the_first_reason_stands() -> None:
    member = Membership(Phase.STABLE, FIFTH)
    for reason in (Reason.RELEASED, Reason.METADATA):
        member = step(member, Trigger.WANTED, reason=reason)

    assert member.wanted is Reason.RELEASED


def test_a_member_id_that_is_given_late_changes_nothing() -> None:
    member = Membership(Phase.STABLE, FIFTH)

    assert step(member, Trigger.ID_GIVEN, identity=Identity("other")) == member


# Verdicts.

REQUESTS: Final = tuple(Request)
FATAL: Final = (
    FencedInstanceIdError,
    GroupMaxSizeReachedError,
    errors.GroupAuthorizationFailedError,
    errors.InconsistentGroupProtocolError,
    errors.InvalidSessionTimeoutError,
    errors.InvalidGroupIdError,
    errors.IncompatibleBrokerVersion,
    errors.UnsupportedVersionError,
    errors.ClusterAuthorizationFailedError,
)
NO_ANSWER: Final = (
    errors.KafkaConnectionError,
    errors.NodeNotReadyError,
    errors.RequestTimedOutError,
    errors.StaleMetadata,
    errors.UnknownError,
    errors.CorrelationIdError,
    errors.Cancelled,
)
MOVED: Final = (errors.NotCoordinatorForGroupError, errors.GroupCoordinatorNotAvailableError)

# In the order of REQUESTS: JoinGroup, SyncGroup, Heartbeat, OffsetCommit; a plus is a coordinator
# that is somewhere else.
VERDICTS: Final[dict[tuple[type[KafkaError], ...], str]] = {
    (errors.RebalanceInProgressError,): "CUT_OFF REBALANCE WANTED WANTED",
    (errors.IllegalGenerationError,): " ".join(["GENERATION_LOST"] * 4),
    (errors.UnknownMemberIdError,): " ".join(["MEMBER_LOST"] * 4),
    (errors.GroupLoadInProgressError,): "CUT_OFF CUT_OFF - -",
    MOVED: "CUT_OFF+ CUT_OFF+ -+ -+",
    NO_ANSWER: "CUT_OFF+ CUT_OFF+ -+ -+",
    (FencedInstanceIdError,): "REFUSED REFUSED REFUSED REFUSED",
    tuple(set(FATAL) - {FencedInstanceIdError}): "REFUSED REFUSED REFUSED -",
    # What only an OffsetCommit is answered with.
    (errors.OffsetMetadataTooLargeError, errors.TopicAuthorizationFailedError): (
        "REFUSED REFUSED REFUSED -"
    ),
    (errors.UnknownTopicOrPartitionError, UnstableOffsetCommitError): "CUT_OFF+ CUT_OFF+ -+ -+",
}


def stated_verdicts() -> dict[tuple[str, type[KafkaError]], Verdict]:
    verdicts = {}
    for kinds, row in VERDICTS.items():
        for request, said in zip(REQUESTS, row.split(), strict=True):
            name = said.rstrip("+")
            trigger = None if name == "-" else Trigger[name]
            for kind in kinds:
                verdicts[request.value, kind] = Verdict(
                    trigger, coordinator_moved=said.endswith("+")
                )
    return verdicts


def test_each_error_says_what_the_table_says() -> None:
    stated = stated_verdicts()
    said = {(name, kind): judge(Request(name), kind()) for name, kind in stated}

    assert said == stated


def every_error() -> list[type[KafkaError]]:
    """Return every error of aiokafka and of ours; what an answer cannot be is among them."""
    kinds: set[type[KafkaError]] = set()
    left = [KafkaError]
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if kind.__module__ in ("aiokafka.errors", "kafka_utils.requests"):
            kinds.add(kind)
    return sorted(kinds - {errors.NoError}, key=lambda kind: kind.__name__)


@pytest.mark.parametrize(
    ("request_", "phase"), [(Request.JOIN, Phase.JOINING), (Request.SYNC, Phase.SYNCING)]
)
def test_no_answer_to_a_join_leaves_the_member_waiting_for_it(
    request_: Request, phase: Phase
) -> None:
    waiting = []
    for kind in every_error():
        trigger = judge(request_, kind()).trigger
        after = step(Membership(phase, FIFTH), trigger) if trigger else None
        if after is None or after.phase is phase or not (after.wanted or after.phase in ENDED):
            waiting.append(kind.__name__)

    assert waiting == []


def answered_by(trigger: Trigger, *requests: Request) -> set[str]:
    return {
        kind.__name__
        for kind in every_error()
        for request in requests
        if judge(request, kind()).trigger is trigger
    }


def test_only_these_words_end_what_a_member_is() -> None:
    assert answered_by(Trigger.MEMBER_LOST, *REQUESTS) == {"UnknownMemberIdError"}
    assert answered_by(Trigger.GENERATION_LOST, *REQUESTS) == {"IllegalGenerationError"}


def test_a_commit_is_refused_for_itself_and_ends_no_membership_but_a_fenced_one() -> None:
    assert answered_by(Trigger.REFUSED, Request.COMMIT) == {"FencedInstanceIdError"}


def test_what_may_pass_ends_nothing() -> None:
    said = {
        judge(request, kind()).trigger
        for kind in every_error()
        for request in REQUESTS
        if kind.retriable
    }

    assert said == {None, Trigger.CUT_OFF}


# Late answers.


@pytest.mark.parametrize(
    ("member", "spoken_as", "own"),
    [
        (Membership(Phase.STABLE, FIFTH), FIFTH, True),
        (Membership(Phase.STABLE, SIXTH), FIFTH, False),
        (Membership(Phase.STABLE, FIFTH), SIXTH, False),
        (Membership(Phase.STABLE, Identity("other", 5)), FIFTH, False),
        (Membership(Phase.UNJOINED, Identity("m")), FIFTH, False),
        (Membership(Phase.UNJOINED, NOBODY), NOBODY, True),
        (Membership(Phase.LEFT, FIFTH), FIFTH, False),
        (Membership(Phase.FAILED, FIFTH), FIFTH, False),
    ],
)
def test_only_an_answer_to_who_a_member_is_now_concerns_it(
    member: Membership, spoken_as: Identity, own: bool
) -> None:
    assert is_own_word(member, spoken_as) is own


@given(members, identities)
def test_an_answer_to_another_generation_or_member_id_never_concerns_it(
    member: Membership, spoken_as: Identity
) -> None:
    assert not (is_own_word(member, spoken_as) and spoken_as != member.identity)


def test_heartbeats_are_due_where_no_join_holds_the_member() -> None:
    assert {Phase.PREPARING, Phase.SYNCING, Phase.STABLE} == ALIVE


# A static leader that came back.

UUID: Final = "0f5e2a1c-9d0b-4a52-8d7e-2f9a3c1b7e64"


@pytest.mark.parametrize(
    ("instance_id", "leader_id", "returned"),
    [
        ("pod-1", f"pod-1-{UUID}", True),
        ("pod-1", "m", False),  # It is the leader, and knows it.
        ("pod-1", f"pod-10-{UUID}", False),
        ("pod", f"pod-1-{UUID}", False),
        ("pod-1", f"pod-{UUID}", False),
        ("pod-1", f"client-{UUID}", False),
        ("pod-1", "pod-1-", False),
        (None, f"pod-1-{UUID}", False),
    ],
)
def test_a_static_leader_that_came_back_is_known_by_its_instance_id(
    instance_id: str | None, leader_id: str, returned: bool
) -> None:
    assert returned_as_leader(instance_id, FIFTH, leader_id) is returned


def test_a_leader_by_its_present_id_has_not_come_back() -> None:
    leader_id = f"pod-1-{UUID}"

    assert not returned_as_leader("pod-1", Identity(leader_id, 5), leader_id)
