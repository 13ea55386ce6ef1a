"""The leader's work: whatever other members send, everybody gets a plan that can be read."""

from collections.abc import Mapping

import pytest
from aiokafka import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_utils.assignors import registry
from kafka_utils.assignors.consumer_protocol import (
    ANOTHER_ROUND,
    Assignment,
    Subscription,
    decode_assignment,
    encode_subscription,
)
from kafka_utils.coordinator.leader import draw_up, subscriptions, topics_of

COUNTS = {"t": 4}
ALL = frozenset(TopicPartition("t", number) for number in range(4))
GARBAGE = b"\xff\xff garbage"

versions = st.integers(min_value=0, max_value=3)
good = st.builds(
    lambda version, generation, owned: encode_subscription(
        Subscription(("t",), owned, generation, version=version)
    ),
    versions,
    st.integers(min_value=-1, max_value=3),
    st.frozensets(st.sampled_from(sorted(ALL))),
)
broken = st.one_of(
    st.binary(max_size=60),
    st.builds(lambda data, end: data[:end], good, st.integers(min_value=0, max_value=60)),
    st.builds(lambda data, more: data + more, good, st.binary(max_size=20)),
)


def planned(members: Mapping[str, bytes]) -> dict[str, Assignment]:
    assignor = registry.resolve("cooperative-sticky")
    plan = draw_up(assignor, COUNTS, subscriptions(members))
    return {member: decode_assignment(data) for member, data in plan.items()}


def wants(*topics: str, owned: frozenset[TopicPartition] = frozenset()) -> bytes:
    return encode_subscription(Subscription(topics, owned, 1))


def test_every_member_gets_its_part() -> None:
    plan = planned({"m": wants("t"), "n": wants("t")})

    assert plan.keys() == {"m", "n"}
    assert plan["m"].partitions | plan["n"].partitions == ALL
    assert not plan["m"].partitions & plan["n"].partitions


def test_a_member_that_cannot_be_understood_gets_nothing_and_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plan = planned({"m": wants("t"), "foreign": GARBAGE})

    assert plan["m"].partitions == ALL
    assert plan["foreign"].partitions == frozenset()
    (record,) = caplog.records
    assert record.getMessage().startswith("member foreign is given nothing: ")


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from("nopq"), good | broken))
def test_no_bytes_of_others_keep_the_leader_from_a_plan(others: Mapping[str, bytes]) -> None:
    members = {"m": wants("t"), **others}
    plan = planned(members)

    assert plan.keys() == members.keys()
    given_out = [here for assignment in plan.values() for here in assignment.partitions]
    assert len(given_out) == len(set(given_out))
    assert set(given_out) <= ALL


def test_a_plan_that_withholds_says_so_to_everybody() -> None:
    plan = planned({"m": wants("t", owned=ALL), "n": wants("t")})

    assert [assignment.user_data for assignment in plan.values()] == [ANOTHER_ROUND] * 2
    assert all(assignment.another_round for assignment in plan.values())


def test_a_plan_that_withholds_nothing_says_nothing() -> None:
    plan = planned({"m": wants("t"), "n": wants("t")})

    assert [assignment.user_data for assignment in plan.values()] == [None] * 2


def test_the_topics_are_what_any_member_wants() -> None:
    members = subscriptions({"m": wants("t", "u"), "n": wants("v"), "foreign": GARBAGE})

    assert topics_of(members.values()) == {"t", "u", "v"}
    assert topics_of([]) == frozenset()
