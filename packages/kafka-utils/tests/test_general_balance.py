"""The balance among members whose subscriptions differ: the best there is, and it stays."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from random import Random

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from kafka_utils.assignors.general_balance import balance

Shares = Mapping[str, list[TopicPartition]]
Owners = dict[TopicPartition, str]


@dataclass(frozen=True)
class Situation:
    counts: dict[str, int]
    topics: dict[str, frozenset[str]]
    owner: Owners

    def partitions(self) -> list[TopicPartition]:
        """All that somebody subscribes to."""
        wanted = sorted(frozenset().union(*self.topics.values()))
        return [TopicPartition(t, number) for t in wanted for number in range(self.counts[t])]


def owners_in(shares: Shares) -> Owners:
    return {partition: member for member, share in shares.items() for partition in share}


def cost(shares: Shares) -> int:
    return sum(len(share) ** 2 for share in shares.values())


def shown(shares: Shares) -> dict[str, str]:
    return {
        member: " ".join(f"{topic}{number}" for topic, number in sorted(share))
        for member, share in shares.items()
    }


@st.composite
def situations(draw: st.DrawFn, members: int = 6, most: int = 6) -> Situation:
    counts = {topic: draw(st.integers(0, most)) for topic in "abcd"}
    wanted = st.frozensets(st.sampled_from("abcd"), min_size=1)
    names = [f"m{number}" for number in range(draw(st.integers(1, members)))]
    topics = {name: draw(wanted) for name in names}
    claimant = st.sampled_from([*names, "gone", ""])
    owner = {
        TopicPartition(topic, number): member
        for topic, count in counts.items()
        for number in range(count)
        if (member := draw(claimant))
    }
    return Situation(counts, topics, owner)


def owners(**shares: str) -> Owners:
    return {
        TopicPartition(name[0], int(name[1:])): member
        for member, share in shares.items()
        for name in share.split()
    }


@pytest.mark.parametrize(
    ("counts", "topics", "owner", "expected"),
    [
        pytest.param(
            {"a": 1, "b": 2, "c": 3},
            {"x": "a", "y": "ab", "z": "abc"},
            {},
            {"x": "a0", "y": "b0 b1", "z": "c0 c1 c2"},
            id="each topic goes where nobody else is needed",
        ),
        pytest.param(
            {"a": 1, "b": 2, "c": 3},
            {"y": "ab", "z": "abc"},
            owners(x="a0", y="b0 b1", z="c0 c1 c2"),
            {"y": "a0 b0 b1", "z": "c0 c1 c2"},
            id="a member leaves, and the others keep what they had",
        ),
        pytest.param(
            {"a": 3, "b": 2},
            {"x": "a", "y": "ab", "z": "b"},
            owners(x="a0 a1 a2", y="b0 b1"),
            {"x": "a0 a1", "y": "a2 b0", "z": "b1"},
            id="a chain of two moves relieves the heaviest member",
        ),
        pytest.param(
            {"a": 2, "b": 2},
            {"x": "ab", "y": "b"},
            owners(x="a0 a1", y="b0 b1"),
            {"x": "a0 a1", "y": "b0 b1"},
            id="what is balanced stays",
        ),
        pytest.param(
            {"a": 2, "b": 2},
            {"x": "a", "y": "b"},
            owners(x="b0 b1", y="a0 a1"),
            {"x": "a0 a1", "y": "b0 b1"},
            id="what a member no longer subscribes to goes",
        ),
        pytest.param(
            {"a": 6, "b": 1},
            {"x": "a", "y": "b"},
            owners(x="a0 a1 a2 a3 a4 a5"),
            {"x": "a0 a1 a2 a3 a4 a5", "y": "b0"},
            id="nobody else can take it",
        ),
        pytest.param(
            {"a": 1, "b": 2},
            {"x": "a", "y": "b", "z": "ab"},
            owners(y="b0", z="a0"),
            {"x": "a0", "y": "b0", "z": "b1"},
            id="a member passes on what it was about to get before what it has",
        ),
        pytest.param(
            {"a": 1, "b": 1, "c": 2, "d": 4},
            {"m0": "abcd", "m1": "abc", "m2": "acd", "m3": "abd"},
            owners(m0="b0", m1="a0", m2="c1 d2", m3="d3"),
            {"m0": "b0 d1", "m1": "a0 c0", "m2": "c1 d2", "m3": "d0 d3"},
            id="what nobody owns is arranged anew before an owner is asked for anything",
        ),
    ],
)
def test_shares(
    counts: dict[str, int], topics: dict[str, str], owner: Owners, expected: dict[str, str]
) -> None:
    wanted = {member: frozenset(names) for member, names in topics.items()}

    assert shown(balance(counts, wanted, owner)) == expected


@given(situations())
def test_each_partition_goes_to_one_member_that_subscribes_to_it(situation: Situation) -> None:
    shares = balance(situation.counts, situation.topics, situation.owner)

    given_out = sorted(each for share in shares.values() for each in share)
    assert given_out == situation.partitions()
    for member, share in shares.items():
        assert {each.topic for each in share} <= situation.topics[member]


@given(situations())
def test_no_single_move_improves_the_balance(situation: Situation) -> None:
    shares = balance(situation.counts, situation.topics, situation.owner)

    for giver, share in shares.items():
        for partition in share:
            for taker, topics in situation.topics.items():
                if partition.topic in topics and taker != giver:
                    assert len(shares[taker]) + 1 >= len(share)


@given(situations(members=3, most=2))
def test_no_other_sharing_is_more_even(situation: Situation) -> None:
    shares = balance(situation.counts, situation.topics, situation.owner)

    choices = [
        [member for member, topics in situation.topics.items() if partition.topic in topics]
        for partition in situation.partitions()
    ]
    best = min(sum(n**2 for n in Counter(choice).values()) for choice in product(*choices))
    assert cost(shares) == best


@given(situations())
def test_what_was_shared_out_is_not_shared_out_otherwise(situation: Situation) -> None:
    shares = balance(situation.counts, situation.topics, situation.owner)

    again = balance(situation.counts, situation.topics, owners_in(shares))

    assert shown(again) == shown(shares)


@given(situations(), st.data())
def test_what_has_been_released_on_the_way_costs_nobody_anything_else(
    situation: Situation, data: st.DataObject
) -> None:
    owner = owners_in(balance(situation.counts, situation.topics, situation.owner))
    released = data.draw(st.sets(st.sampled_from(sorted(owner))) if owner else st.just(set()))
    kept = {partition: member for partition, member in owner.items() if partition not in released}

    shares = owners_in(balance(situation.counts, situation.topics, kept))

    assert {partition: shares[partition] for partition in kept} == kept


@given(situations(), st.randoms(use_true_random=False))
def test_the_order_of_members_and_topics_does_not_matter(
    situation: Situation, random: Random
) -> None:
    def shuffled(mapping: Mapping[str, object]) -> dict[str, object]:
        return dict(random.sample(list(mapping.items()), len(mapping)))

    other = balance(
        shuffled(situation.counts),  # type: ignore[arg-type]
        shuffled(situation.topics),  # type: ignore[arg-type]
        dict(reversed(situation.owner.items())),
    )

    assert other == balance(situation.counts, situation.topics, situation.owner)


@given(st.integers(0, 20), st.integers(1, 5), st.data())
def test_members_with_equal_subscriptions_move_as_little_as_they_can(
    partitions: int, members: int, data: st.DataObject
) -> None:
    topics = {f"m{number}": frozenset("a") for number in range(members)}
    claimant = st.sampled_from(sorted(topics))
    owner = {TopicPartition("a", number): data.draw(claimant) for number in range(partitions)}

    shares = balance({"a": partitions}, topics, owner)

    quota, larger = divmod(partitions, members)
    surplus = [load - quota for load in Counter(owner.values()).values() if load > quota]
    moved = sum(owner[each] != member for member, share in shares.items() for each in share)
    assert moved == sum(surplus) - min(larger, len(surplus))
