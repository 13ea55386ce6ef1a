"""Whose word about owning a partition counts."""

from collections.abc import Mapping

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from kafka_utils.assignors.claims import settle_claims
from kafka_utils.assignors.consumer_protocol import Subscription

COUNTS = {"a": 3}
A0, A1, A2 = (TopicPartition("a", number) for number in range(3))


def claiming(generation: int, *owned: TopicPartition) -> Subscription:
    return Subscription(("a",), frozenset(owned), generation)


@pytest.mark.parametrize(
    ("members", "owner", "disputed"),
    [
        pytest.param({}, {}, set(), id="nobody claims anything"),
        pytest.param(
            {"x": claiming(5, A0), "y": claiming(5, A1)}, {A0: "x", A1: "y"}, set(), id="all agree"
        ),
        pytest.param(
            {"x": claiming(4, A0, A1), "y": claiming(5, A1)},
            {A0: "x", A1: "y"},
            set(),
            id="an older claim holds only where it is not contested",
        ),
        pytest.param(
            {"x": claiming(-1, A0, A1), "y": claiming(0, A1)},
            {A0: "x", A1: "y"},
            set(),
            id="no generation is the lowest",
        ),
        pytest.param(
            {"x": claiming(5, A0), "y": claiming(5, A0)},
            {},
            {A0},
            id="two of one generation are both void",
        ),
        pytest.param(
            {"x": claiming(-1, A0), "y": claiming(-1, A0)},
            {},
            {A0},
            id="two without a generation are both void",
        ),
        pytest.param(
            {"x": claiming(5, A0), "y": claiming(5, A0), "z": claiming(4, A0)},
            {},
            {A0},
            id="an older one gains nothing from a dispute",
        ),
        pytest.param(
            {"x": claiming(5, A0), "y": claiming(5, A0), "z": claiming(6, A0)},
            {A0: "z"},
            set(),
            id="a newer one ends a dispute",
        ),
        pytest.param(
            {
                "x": claiming(5, A2, TopicPartition("a", 3), TopicPartition("a", -1)),
                "y": claiming(5, TopicPartition("gone", 0)),
            },
            {A2: "x"},
            set(),
            id="what does not exist cannot be claimed",
        ),
        pytest.param(
            {"x": Subscription((), frozenset({A0}), 5)},
            {A0: "x"},
            set(),
            id="what a member no longer subscribes to is still its own",
        ),
    ],
)
def test_the_highest_generation_owns(
    members: Mapping[str, Subscription],
    owner: Mapping[TopicPartition, str],
    disputed: set[TopicPartition],
) -> None:
    claims = settle_claims(COUNTS, members)

    assert claims.owner == owner
    assert claims.disputed == disputed


def test_a_partition_is_free_for_its_owner_and_where_nobody_owns_it() -> None:
    claims = settle_claims(
        COUNTS, {"x": claiming(5, A0, A1), "y": claiming(5, A1), "z": claiming(4, A0)}
    )

    assert [claims.free_for(A0, member) for member in "xyz"] == [True, False, False]
    assert [claims.free_for(A1, member) for member in "xyz"] == [False, False, False]
    assert [claims.free_for(A2, member) for member in "xyz"] == [True, True, True]


owned = st.frozensets(st.sampled_from([A0, A1, A2]))
claims_of_members = st.dictionaries(
    st.sampled_from("uvwxyz"),
    st.builds(Subscription, st.just(("a",)), owned, st.integers(-1, 3)),
)


@given(claims_of_members)
def test_no_lower_generation_defeats_a_higher_one(members: dict[str, Subscription]) -> None:
    claims = settle_claims(COUNTS, members)

    for partition in (A0, A1, A2):
        generations = [m.generation for m in members.values() if partition in m.owned]
        highest = max(generations, default=None)
        if partition in claims.owner:
            winner = members[claims.owner[partition]]
            assert partition in winner.owned
            assert winner.generation == highest
            assert generations.count(winner.generation) == 1
        else:
            assert (partition in claims.disputed) is bool(generations)


@given(claims_of_members)
def test_the_order_of_the_members_does_not_matter(members: dict[str, Subscription]) -> None:
    backwards = dict(reversed(members.items()))

    assert settle_claims(COUNTS, members) == settle_claims(COUNTS, backwards)
