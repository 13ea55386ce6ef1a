"""The balance among members with equal subscriptions: even, and nothing moves without need."""

from collections import Counter
from collections.abc import Mapping
from itertools import product
from random import Random

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from kafka_utils.assignors.sticky_balance import balance


def partitions_of(**counts: int) -> list[TopicPartition]:
    return [TopicPartition(topic, n) for topic, count in counts.items() for n in range(count)]


def owners(**shares: str) -> dict[TopicPartition, str]:
    """Owners by member: ``x="a0 b1"``."""
    return {
        TopicPartition(name[0], int(name[1:])): member
        for member, share in shares.items()
        for name in share.split()
    }


def shown(shares: Mapping[str, list[TopicPartition]]) -> dict[str, str]:
    return {
        member: " ".join(f"{topic}{number}" for topic, number in sorted(share))
        for member, share in shares.items()
    }


@pytest.mark.parametrize(
    ("partitions", "members", "owner", "expected"),
    [
        pytest.param([], "xy", {}, {"x": "", "y": ""}, id="no partitions"),
        pytest.param(partitions_of(a=3), "x", {}, {"x": "a0 a1 a2"}, id="one member"),
        pytest.param(
            partitions_of(a=2), "xyz", {}, {"x": "a0", "y": "a1", "z": ""}, id="more members"
        ),
        pytest.param(
            partitions_of(a=4, b=3),
            "xy",
            {},
            {"x": "a0 a2 b0 b2", "y": "a1 a3 b1"},
            id="each topic is dealt in turn",
        ),
        pytest.param(
            partitions_of(a=4),
            "xy",
            owners(x="a1 a2", y="a0 a3"),
            {"x": "a1 a2", "y": "a0 a3"},
            id="what is balanced stays",
        ),
        pytest.param(
            partitions_of(a=5),
            "xyz",
            owners(x="a0 a1 a2", y="a3 a4"),
            {"x": "a0 a1", "y": "a3 a4", "z": "a2"},
            id="a member joins",
        ),
        pytest.param(
            partitions_of(a=6),
            "xz",
            owners(x="a0 a1", y="a2 a3", z="a4 a5"),
            {"x": "a0 a1 a2", "z": "a3 a4 a5"},
            id="a member leaves",
        ),
        pytest.param(
            partitions_of(a=5),
            "xy",
            owners(x="a0", y="a1 a2 a3"),
            {"x": "a0 a4", "y": "a1 a2 a3"},
            id="the larger quota goes to who can keep more by it",
        ),
        pytest.param(
            partitions_of(a=4, b=4),
            "xy",
            owners(x="a0 a1 a2 a3 b0 b1 b2 b3"),
            {"x": "a0 a1 b0 b1", "y": "a2 a3 b2 b3"},
            id="a surplus comes from all topics alike",
        ),
        pytest.param(
            partitions_of(a=6),
            "xy",
            owners(x="a0", y="a1"),
            {"x": "a0 a2 a4", "y": "a1 a3 a5"},
            id="new partitions go to both",
        ),
        pytest.param(
            partitions_of(a=1), "x", owners(x="a0 a7 b0"), {"x": "a0"}, id="what is gone is gone"
        ),
    ],
)
def test_shares(
    partitions: list[TopicPartition],
    members: str,
    owner: Mapping[TopicPartition, str],
    expected: Mapping[str, str],
) -> None:
    assert shown(balance(partitions, list(members), owner)) == expected


def test_without_members_nobody_gets_anything() -> None:
    assert balance(partitions_of(a=2), [], {}) == {}


@st.composite
def situations(
    draw: st.DrawFn, most: int = 30
) -> tuple[list[TopicPartition], list[str], dict[TopicPartition, str]]:
    partitions = [
        TopicPartition(topic, number)
        for topic in "abc"
        for number in range(draw(st.integers(0, most // 3)))
    ]
    members = draw(st.lists(st.sampled_from("stuvwxyz"), min_size=1, unique=True))
    claimant = st.sampled_from([*members, "gone", ""])
    owner = {partition: member for partition in partitions if (member := draw(claimant))}
    return partitions, members, owner


@given(situations())
def test_all_is_shared_out_evenly_and_no_more_moves_than_that_needs(
    situation: tuple[list[TopicPartition], list[str], dict[TopicPartition, str]],
) -> None:
    partitions, members, owner = situation

    shares = balance(partitions, members, owner)

    assert sorted(each for share in shares.values() for each in share) == sorted(partitions)
    loads = [len(share) for share in shares.values()]
    assert max(loads) - min(loads) <= 1
    quota, larger = divmod(len(partitions), len(members))
    owned = Counter(member for member in owner.values() if member in members)
    surplus = [owned[member] - quota for member in members if owned[member] > quota]
    kept = sum(owner.get(each) == member for member, share in shares.items() for each in share)
    assert owned.total() - kept == sum(surplus) - min(larger, len(surplus))


@given(situations(most=6))
def test_no_other_even_sharing_keeps_more(
    situation: tuple[list[TopicPartition], list[str], dict[TopicPartition, str]],
) -> None:
    partitions, members, owner = situation
    members = members[:3]

    shares = balance(partitions, members, owner)

    best = max(
        sum(owner.get(each) == member for each, member in zip(partitions, choice, strict=True))
        for choice in product(members, repeat=len(partitions))
        if _even(Counter(choice), members)
    )
    kept = sum(owner.get(each) == member for member, share in shares.items() for each in share)
    assert kept == best


def _even(loads: Counter[str], members: list[str]) -> bool:
    return max(loads[m] for m in members) - min(loads[m] for m in members) <= 1


@given(situations())
def test_what_was_shared_out_is_not_shared_out_otherwise(
    situation: tuple[list[TopicPartition], list[str], dict[TopicPartition, str]],
) -> None:
    partitions, members, owner = situation
    shares = balance(partitions, members, owner)

    again = balance(partitions, members, {p: member for member, s in shares.items() for p in s})

    assert shown(again) == shown(shares)


@given(situations(), st.randoms(use_true_random=False))
def test_the_order_of_partitions_and_members_does_not_matter(
    situation: tuple[list[TopicPartition], list[str], dict[TopicPartition, str]],
    random: Random,
) -> None:
    partitions, members, owner = situation

    shuffled = balance(
        random.sample(partitions, len(partitions)), random.sample(members, len(members)), owner
    )

    assert shuffled == balance(partitions, members, owner)
