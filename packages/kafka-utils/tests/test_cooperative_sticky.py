"""The assignor cooperative-sticky: what a member tells, and what a leader plans in one round."""

from collections.abc import Mapping
from random import Random

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from kafka_utils.assignors.base import Plan
from kafka_utils.assignors.consumer_protocol import (
    RELIEF,
    Subscription,
    decode_subscription,
    encode_generation,
)
from kafka_utils.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka_utils.testing import check_plan

ASSIGNOR = CooperativeStickyAssignor()


def some(names: str) -> frozenset[TopicPartition]:
    """``some("a0 b1")``."""
    return frozenset(TopicPartition(name[0], int(name[1:])) for name in names.split())


def member(topics: str, owned: str = "", generation: int = 5) -> Subscription:
    return Subscription(tuple(topics), some(owned), generation)


def leaving(topics: str, owned: str = "", generation: int = 5) -> Subscription:
    user_data = encode_generation(generation, relief=True)
    return member(topics, owned, generation)._replace(user_data=user_data)


def shown(plan: Plan) -> dict[str, str]:
    return {
        name: " ".join(f"{topic}{number}" for topic, number in sorted(share))
        for name, share in plan.assignment.items()
    }


def test_it_is_cooperative_and_has_the_name_that_java_and_librdkafka_know() -> None:
    assert ASSIGNOR.name == "cooperative-sticky"
    assert ASSIGNOR.cooperative


def test_a_subscription_tells_the_generation_twice() -> None:
    data = ASSIGNOR.subscription({"b", "a"}, some("a1 c0"), 9, "az-2")

    assert decode_subscription(data) == Subscription(
        ("a", "b"), some("a1 c0"), 9, "az-2", bytes.fromhex("00000009"), version=3
    )


def test_a_new_member_tells_that_it_has_no_generation() -> None:
    told = decode_subscription(ASSIGNOR.subscription(["a"], [], -1, None))

    assert told.generation == -1
    assert told.user_data == bytes.fromhex("ffffffff")


def test_a_request_for_relief_stands_behind_the_generation() -> None:
    told = decode_subscription(ASSIGNOR.subscription(["a"], some("a0"), 9, None, relief=True))

    assert told.relief
    assert told.user_data == bytes.fromhex("00000009") + RELIEF
    assert (told.topics, told.owned, told.generation) == (("a",), some("a0"), 9)


def test_a_subscription_does_not_depend_on_the_order_of_its_parts() -> None:
    owned = sorted(some("a0 a1 b7"))

    one = ASSIGNOR.subscription(["a", "b"], owned, 9, None)

    assert one == ASSIGNOR.subscription(["b", "a"], owned[::-1], 9, None)


@pytest.mark.parametrize(
    ("counts", "members", "expected", "another_round"),
    [
        pytest.param({}, {}, {}, False, id="no members"),
        pytest.param({}, {"x": member("a")}, {"x": ""}, False, id="no such topic"),
        pytest.param({"a": 2}, {"x": member("a")}, {"x": "a0 a1"}, False, id="one member"),
        pytest.param(
            {"a": 4, "b": 2},
            {"x": member("ab"), "y": member("ab")},
            {"x": "a0 a2 b0", "y": "a1 a3 b1"},
            False,
            id="nobody owns anything",
        ),
        pytest.param(
            {"a": 4},
            {"x": member("a", "a0 a1 a2 a3"), "y": member("a")},
            {"x": "a0 a1", "y": ""},
            True,
            id="a member joins and waits for what is to be its own",
        ),
        pytest.param(
            {"a": 4},
            {"x": member("a", "a0 a1"), "y": member("a")},
            {"x": "a0 a1", "y": "a2 a3"},
            False,
            id="it gets it when it is released",
        ),
        pytest.param(
            {"a": 4, "b": 4},
            {"x": member("ab", "a0 a1 a2 a3 b0 b1 b2 b3"), "y": member("ab")},
            {"x": "a0 a1 b0 b1", "y": ""},
            True,
            id="an owner gives up some of every topic",
        ),
        pytest.param(
            {"a": 3},
            {"x": member("a", "a0"), "y": member("a", "a1 a2")},
            {"x": "a0", "y": "a1 a2"},
            False,
            id="what is balanced stays",
        ),
        pytest.param(
            {"a": 2, "b": 2},
            {"x": member("a", "a0 a1 b0 b1"), "y": member("ab")},
            {"x": "a0 a1", "y": ""},
            True,
            id="what is no longer subscribed to waits for its release",
        ),
        pytest.param(
            {"a": 2, "b": 2},
            {"x": member("a", "a0 a1"), "y": member("ab")},
            {"x": "a0 a1", "y": "b0 b1"},
            False,
            id="and then goes to who subscribes to it",
        ),
        pytest.param(
            {"a": 2},
            {"x": member("ab"), "y": member("a", "a0 a1")},
            {"x": "", "y": "a0"},
            True,
            id="a missing topic does not make subscriptions differ",
        ),
        pytest.param(
            {"a": 1},
            {"x": member("a", "a0 a5 z0"), "y": member("a", "z1")},
            {"x": "a0", "y": ""},
            False,
            id="what is deleted is nobody's",
        ),
        pytest.param(
            {"a": 4},
            {"x": member("a", "a0 a1"), "y": member("", "a2 a3"), "z": member("a")},
            {"x": "a0 a1", "y": "", "z": ""},
            True,
            id="who means to leave is relieved, and nobody else gets that yet",
        ),
        pytest.param(
            {"a": 4},
            {"x": member("a", "a0 a1"), "y": member(""), "z": member("a")},
            {"x": "a0 a1", "y": "", "z": "a2 a3"},
            False,
            id="what it has released is shared out, and it gets none of it",
        ),
        pytest.param(
            {"a": 2},
            {"x": member("", "a0"), "y": member("", "a1")},
            {"x": "", "y": ""},
            False,
            id="all mean to leave",
        ),
        pytest.param(
            {"a": 4},
            {"x": member("a", "a0 a1"), "y": leaving("a", "a2 a3"), "z": member("a")},
            {"x": "a0 a1", "y": "", "z": ""},
            True,
            id="who asks for relief is relieved, and nobody else gets that yet",
        ),
        pytest.param(
            {"a": 4},
            {"x": member("a", "a0 a1"), "y": leaving("a"), "z": member("a")},
            {"x": "a0 a1", "y": "", "z": "a2 a3"},
            False,
            id="and gets nothing back",
        ),
        pytest.param(
            {"a": 2, "b": 1},
            {"x": member("a", "a0 a1"), "y": leaving("ab", "b0")},
            {"x": "a0 a1", "y": ""},
            False,
            id="what nobody else wants is withheld from nobody",
        ),
        pytest.param(
            {"a": 2, "b": 2},
            {"x": member("ab", "a0 a1 b1"), "y": member("ab", "b0"), "z": member("")},
            {"x": "a0 a1", "y": "b0", "z": ""},
            True,
            id="who means to leave does not make subscriptions differ",
        ),
        pytest.param(
            {"a": 2, "b": 2},
            {"x": member("a"), "y": member("", "a0"), "z": member("b")},
            {"x": "a1", "y": "", "z": "b0 b1"},
            True,
            id="one means to leave, and the others differ",
        ),
    ],
)
def test_a_plan(
    counts: Mapping[str, int],
    members: Mapping[str, Subscription],
    expected: Mapping[str, str],
    another_round: bool,
) -> None:
    plan = ASSIGNOR.plan(counts, members)

    assert shown(plan) == expected
    assert plan.another_round is another_round


@pytest.mark.parametrize(
    ("members", "expected", "another_round"),
    [
        pytest.param(
            {"x": member("a", "a0 a1", 5), "y": member("a", "a1 a2", 4), "z": member("a")},
            {"x": "a0 a1", "y": "a2 a3", "z": "a4 a5"},
            False,
            id="a stale member keeps only what has gone to nobody else",
        ),
        pytest.param(
            {"x": member("a", "a0 a1 a2 a3", 5), "y": member("a", "a3", 4), "z": member("a")},
            {"x": "a0 a1", "y": "a4", "z": "a5"},
            True,
            id="what a stale member lost is not given back to it while another has it",
        ),
        pytest.param(
            {"x": member("a", "a0 a1 a2 a3 a4", -1), "y": member("a", "a0 a1", 0)},
            {"x": "a2 a3 a4", "y": "a0 a1 a5"},
            False,
            id="claims without a generation are the lowest, but they are claims",
        ),
        pytest.param(
            {"x": member("a", "a0 a1 a2", 5), "y": member("a", "a2 a3 a4", 5)},
            {"x": "a0 a1", "y": "a3 a4 a5"},
            True,
            id="what two members claim by one generation goes to neither",
        ),
        pytest.param(
            {"x": member("a", "a2", 5), "y": member("a", "a2", 5), "z": member("a", "a2", 4)},
            {"x": "a0 a3", "y": "a1 a4", "z": "a5"},
            True,
            id="nor to a third",
        ),
        pytest.param(
            {"x": member("", "a0 a1", 4), "y": member("a", "a1", 5)},
            {"x": "", "y": "a1 a2 a3 a4 a5"},
            True,
            id="who means to leave holds back only what it holds by right",
        ),
    ],
)
def test_a_plan_among_claims_that_contradict_each_other(
    members: Mapping[str, Subscription], expected: Mapping[str, str], another_round: bool
) -> None:
    plan = ASSIGNOR.plan({"a": 6}, members)

    assert shown(plan) == expected
    assert plan.another_round is another_round


def test_the_same_holds_where_subscriptions_differ() -> None:
    members = {
        "x": member("ab", "a0 a1 b0", 5),
        "y": member("a", "a1", 4),  # is to have a1 again, which x holds
        "z": member("b", "b0", 5),  # and x have the same claim to b0
    }

    plan = ASSIGNOR.plan({"a": 2, "b": 2}, members)

    assert shown(plan) == {"x": "a0", "y": "", "z": "b1"}
    assert plan.another_round


counts = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 5))
claimed = st.frozensets(st.builds(TopicPartition, st.sampled_from("abcd"), st.integers(0, 6)))
subscriptions = st.builds(
    Subscription,
    topics=st.lists(st.sampled_from("abcd"), unique=True).map(tuple),
    owned=claimed,
    generation=st.integers(-1, 2),
    user_data=st.sampled_from([None, encode_generation(0), encode_generation(0, relief=True)]),
)
groups = st.dictionaries(st.sampled_from("stuvwxyz"), subscriptions)


@given(counts, groups)
def test_a_plan_is_valid_and_gives_nobody_what_another_member_holds(
    partition_counts: dict[str, int], members: dict[str, Subscription]
) -> None:
    plan = ASSIGNOR.plan(partition_counts, members)

    check_plan(plan, partition_counts, members, cooperative=True)


@given(counts, groups)
def test_no_partition_is_given_while_a_claim_as_good_stands_against_it(
    partition_counts: dict[str, int], members: dict[str, Subscription]
) -> None:
    plan = ASSIGNOR.plan(partition_counts, members)

    for name, share in plan.assignment.items():
        for partition in share:
            claiming = {m: s.generation for m, s in members.items() if partition in s.owned}
            own = claiming.pop(name, None)
            assert not claiming or (own is not None and own > max(claiming.values()))


@given(counts, groups, st.randoms(use_true_random=False))
def test_a_plan_does_not_depend_on_the_order_of_anything(
    partition_counts: dict[str, int], members: dict[str, Subscription], random: Random
) -> None:
    shuffled = {
        name: told._replace(topics=tuple(random.sample(told.topics, len(told.topics))))
        for name, told in random.sample(sorted(members.items(), key=lambda m: m[0]), len(members))
    }
    backwards = dict(reversed(list(partition_counts.items())))

    assert ASSIGNOR.plan(backwards, shuffled) == ASSIGNOR.plan(partition_counts, members)


@given(counts, groups)
def test_what_has_been_released_is_given_in_the_next_round(
    partition_counts: dict[str, int], members: dict[str, Subscription]
) -> None:
    plan = ASSIGNOR.plan(partition_counts, members)
    released = _having(members, plan)

    second = ASSIGNOR.plan(partition_counts, released)

    assert not second.another_round
    for name, share in plan.assignment.items():
        assert second.assignment[name] >= share
    assert ASSIGNOR.plan(partition_counts, _having(members, second)) == second


def _having(members: Mapping[str, Subscription], plan: Plan) -> dict[str, Subscription]:
    return {
        name: told._replace(owned=plan.assignment[name], generation=9)
        for name, told in members.items()
    }
