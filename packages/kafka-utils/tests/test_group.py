"""A group as values: what its members' bytes say, what nobody owns, and how much there is to do."""

from dataclasses import replace
from typing import Any

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from kafka_utils.assignors.consumer_protocol import (
    Assignment,
    Subscription,
    encode_assignment,
    encode_subscription,
)
from kafka_utils.group import (
    GroupDescription,
    MemberDescription,
    PartitionLag,
    partitions_at_stake,
    read_members,
    total_lag,
    with_offsets,
)
from kafka_utils.topics import (
    Broker,
    ClusterDescription,
    PartitionDescription,
    TopicDescription,
)

A0, A1, A2 = (TopicPartition("a", number) for number in range(3))
B0 = TopicPartition("b", 0)


def said(
    member_id: str,
    metadata: bytes | None = b"",
    assignment: bytes | None = b"",
    client_id: str = "worker",
    **more: Any,
) -> dict[str, Any]:
    return {
        "member_id": member_id,
        "client_id": client_id,
        "client_host": "/10.0.0.1",
        "member_metadata": metadata,
        "member_assignment": assignment,
    } | more


def read(*members: dict[str, Any], protocol_type: str = "consumer") -> list[MemberDescription]:
    return list(read_members({"protocol_type": protocol_type, "members": members}))


def subscription(*topics: str, generation: int = -1) -> bytes:
    return encode_subscription(Subscription(topics, generation=generation))


def assignment(*partitions: TopicPartition) -> bytes:
    return encode_assignment(Assignment(frozenset(partitions)))


def topic(name: str, partitions: int) -> TopicDescription:
    return TopicDescription(
        name=name,
        internal=False,
        partitions=tuple(
            PartitionDescription(partition=number, leader=1, replicas=(1,), in_sync=(1,))
            for number in range(partitions)
        ),
    )


BROKER = Broker(node_id=1, host="a", port=9092)
CLUSTER = ClusterDescription(
    brokers=(BROKER,), topics={"a": topic("a", 3), "b": topic("b", 1), "other": topic("other", 9)}
)
GROUP = GroupDescription(
    group_id="g",
    state="Stable",
    coordinator=BROKER,
    leaders={1: 13},
    protocol_type="consumer",
    assignor="sticky",
    members=(),
    unowned=(),
)


def member(member_id: str, *partitions: PartitionLag, **more: Any) -> MemberDescription:
    return MemberDescription(
        member_id=member_id, client_id="c", host="h", partitions=partitions, **more
    )


def test_a_members_bytes_are_read() -> None:
    (told,) = read(
        said(
            "m",
            subscription("b", "a", generation=4),
            assignment(A1, A0),
            group_instance_id="pod-1-0",
        )
    )

    assert told == MemberDescription(
        member_id="m",
        client_id="worker",
        host="10.0.0.1",
        instance_id="pod-1-0",
        topics=("a", "b"),
        generation=4,
        partitions=(PartitionLag(A0), PartitionLag(A1)),
    )


def test_a_broker_that_tells_no_instance_ids_has_no_static_members() -> None:
    (told,) = read(said("m", subscription("a")))

    assert told.instance_id is None
    assert told.generation is None


@pytest.mark.parametrize("nothing", [b"", None])
def test_while_the_group_rebalances_nothing_is_known_and_nothing_is_wrong(
    nothing: bytes | None,
) -> None:
    (told,) = read(said("m", nothing, nothing))

    assert (told.topics, told.partitions, told.generation) == ((), (), None)
    assert told.unreadable is None


def test_what_a_foreign_member_was_sent_is_shown_though_what_it_sent_is_unreadable() -> None:
    (told,) = read(said("m", b"\x00", assignment(A0)))

    assert told.partitions == (PartitionLag(A0),)
    assert told.topics == ()
    assert told.unreadable


def test_members_that_are_no_consumers_are_not_read_as_such() -> None:
    (told,) = read(said("m", subscription("a"), assignment(A0)), protocol_type="connect")

    assert told.unreadable == "its protocol type is 'connect'"
    assert (told.topics, told.partitions) == ((), ())


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_bytes_of_a_foreign_member_are_an_error(metadata: bytes, assigned: bytes) -> None:
    foreign, ours = read(
        said("m", metadata, assigned), said("n", subscription("a"), assignment(A0))
    )

    assert foreign.member_id == "m"
    assert (ours.topics, ours.partitions, ours.unreadable) == (("a",), (PartitionLag(A0),), None)


def test_members_are_in_the_order_of_their_clients() -> None:
    members = read(said("3", client_id="b"), said("2", client_id="a"), said("1", client_id="b"))

    assert [told.member_id for told in members] == ["2", "1", "3"]


def test_all_partitions_of_the_topics_that_somebody_wants_are_at_stake() -> None:
    members = read(said("m", subscription("a")))

    assert partitions_at_stake(members, (), CLUSTER) == {A0, A1, A2}


def test_a_topic_with_an_offset_or_an_owner_is_at_stake_too() -> None:
    members = read(said("m", subscription(), assignment(B0)))
    gone = TopicPartition("deleted", 5)

    assert partitions_at_stake(members, [A1, gone], CLUSTER) == {A0, A1, A2, B0, gone}


def test_nothing_is_at_stake_for_a_group_that_does_not_exist() -> None:
    assert partitions_at_stake((), (), CLUSTER) == frozenset()


def test_each_partition_goes_to_its_owners_and_the_rest_to_nobody() -> None:
    members = read(said("m", b"", assignment(A0)), said("n", b"", assignment(A0, A2)))
    known = {here: PartitionLag(here, 1, 5) for here in (A2, A1, B0, A0)}

    described, unowned = with_offsets(members, known)

    assert [told.partitions for told in described] == [
        (known[A0],),
        (known[A0], known[A2]),
    ]
    assert unowned == (known[A1], known[B0])


@pytest.mark.parametrize(
    ("committed", "log_end", "lag"),
    [(3, 10, 7), (10, 10, 0), (12, 10, -2), (0, 10, 10), (None, 10, None), (3, None, None)],
)
def test_lag_is_known_only_where_both_offsets_are(
    committed: int | None, log_end: int | None, lag: int | None
) -> None:
    assert PartitionLag(A0, committed, log_end).lag == lag


def test_what_is_not_known_adds_nothing_to_the_lag() -> None:
    assert total_lag([PartitionLag(A0, 3, 10), PartitionLag(A1, None, 5)]) == 7


def test_the_newest_generation_that_a_member_tells_is_the_groups() -> None:
    members = (member("1", generation=4), member("2"), member("3", generation=7))

    assert replace(GROUP, members=members).generation == 7
    assert replace(GROUP, members=(member("2"),)).generation is None
    assert GROUP.generation is None


def test_a_groups_partitions_are_named_once_whoever_has_them() -> None:
    group = replace(
        GROUP,
        members=(member("1", PartitionLag(A1)), member("2", PartitionLag(A1), PartitionLag(A0))),
        unowned=(PartitionLag(A2),),
    )

    assert [here.partition for here in group.partitions] == [A0, A1, A2]


@pytest.mark.parametrize(
    ("state", "exists", "stable", "owners_told"),
    [
        ("Stable", True, True, True),
        ("Empty", True, False, True),
        ("PreparingRebalance", True, False, False),
        ("CompletingRebalance", True, False, False),
        ("Dead", False, False, False),
    ],
)
def test_a_group_is_known_by_its_state(
    state: str, exists: bool, stable: bool, owners_told: bool
) -> None:
    group = replace(GROUP, state=state)

    assert (group.exists, group.stable, group.owners_told) == (exists, stable, owners_told)
