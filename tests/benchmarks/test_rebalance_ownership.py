"""Who owns what before and after a change of members, and how little would have to move."""

from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.rebalance.ownership import Group, moved, must_move, retained, staying


def test_a_partition_is_retained_when_its_owner_is_the_same() -> None:
    before = {0: "a", 1: "a", 2: "b"}
    after = {0: "a", 1: "b", 2: "b"}
    assert retained(before, after) == {0, 2}
    assert moved(before, after) == {1}


def test_a_partition_without_an_owner_has_moved() -> None:
    assert moved({0: "a", 1: "b"}, {0: "a"}) == {1}


def test_the_partitions_of_those_who_stay_are_staying_wherever_they_went() -> None:
    assert staying({0: "a", 1: "b", 2: "b"}, frozenset("bc")) == {1, 2}


@pytest.mark.parametrize(
    ("before", "members", "expected"),
    [
        ("aabb", "ab", 0),
        ("aabb", "a", 2),
        ("aabb", "abc", 1),
        ("aaaabbbb", "abcd", 4),
        ("aaabb", "ab", 0),
        ("aaab", "ab", 1),
        ("aabb", "cd", 4),
    ],
    ids=[
        "nothing changes",
        "one leaves",
        "one joins, and one share stays larger",
        "two join",
        "an uneven number is balanced already",
        "one has two more than the other",
        "all are new",
    ],
)
def test_as_many_must_move_as_lack_an_owner_or_exceed_a_share(
    before: str, members: str, expected: int
) -> None:
    assert must_move(dict(enumerate(before)), frozenset(members)) == expected


@given(
    before=st.text("abc", min_size=1, max_size=6),
    members=st.sets(st.sampled_from("abcd"), min_size=1),
)
def test_no_balanced_assignment_moves_fewer(before: str, members: set[str]) -> None:
    owners = dict(enumerate(before))

    def is_balanced(assignment: tuple[str, ...]) -> bool:
        shares = Counter(assignment)
        return max(shares[m] for m in members) - min(shares[m] for m in members) <= 1

    fewest = min(
        len(moved(owners, dict(enumerate(assignment))))
        for assignment in product(sorted(members), repeat=len(before))
        if is_balanced(assignment)
    )
    assert must_move(owners, frozenset(members)) == fewest


def balanced(owners: str, members: str = "ab", state: str = "Stable", partitions: int = 4) -> bool:
    return Group(state, tuple(members), dict(enumerate(owners))).is_balanced(2, partitions)


def test_a_group_is_balanced_when_its_members_own_everything_in_equal_shares() -> None:
    assert balanced("aabb")
    assert balanced("aab", partitions=3)


@pytest.mark.parametrize(
    "group",
    [
        Group("PreparingRebalance", ("a", "b"), dict(enumerate("aabb"))),
        Group("Stable", ("a", "b"), dict(enumerate("aab"))),
        Group("Stable", ("a", "b"), dict(enumerate("aaab"))),
        Group("Stable", ("a", "b"), dict(enumerate("aaaa"))),
        Group("Stable", ("a",), dict(enumerate("aaaa"))),
        Group("Stable", ("a", "b", "c"), dict(enumerate("aabb"))),
        Group("Stable", ("a", "b", "b"), dict(enumerate("aabb"))),
        Group("Stable", ("a", "a"), dict(enumerate("aaaa"))),
    ],
    ids=[
        "while it rebalances",
        "without an owner of everything",
        "with unequal shares",
        "with a member that has nothing",
        "before all have come",
        "before one has gone",
        "with a ghost",
        "with a ghost in a missing one's place",
    ],
)
def test_a_group_is_not_balanced(group: Group) -> None:
    assert not group.is_balanced(2, 4)
