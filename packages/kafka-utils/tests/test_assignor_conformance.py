"""The conformance suite: the built-in assignors pass it, and it catches what breaks a group."""

from collections.abc import Callable, Collection, Mapping
from typing import ClassVar

import pytest
from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from kafka_utils.assignors.base import Assignor, Plan
from kafka_utils.assignors.consumer_protocol import Subscription, encode_subscription
from kafka_utils.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka_utils.assignors.eager import adapt
from kafka_utils.testing import check_assignor

Owned = Collection[TopicPartition]
Members = Mapping[str, Subscription]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("make", "balanced", "sticky"),
    [
        (CooperativeStickyAssignor, True, True),
        (lambda: adapt(RangePartitionAssignor), False, False),
        (lambda: adapt(RoundRobinPartitionAssignor), True, False),
        # aiokafka's moves more than it must when the topics change.
        (lambda: adapt(StickyPartitionAssignor), True, False),
    ],
    ids=["cooperative-sticky", "range", "roundrobin", "sticky"],
)
def test_a_built_in_assignor_conforms(
    make: Callable[[], Assignor], balanced: bool, sticky: bool, seed: int
) -> None:
    check_assignor(make, balanced=balanced, sticky=sticky, cases=30, seed=seed)


class NoName(CooperativeStickyAssignor):
    name = ""


class ForgetsTopics(CooperativeStickyAssignor):
    def subscription(
        self,
        topics: Collection[str],
        owned: Owned,
        generation: int,
        rack: str | None,
        *,
        relief: bool = False,
    ) -> bytes:
        return super().subscription(list(topics)[:1], owned, generation, rack, relief=relief)


class TellsNothingOwned(CooperativeStickyAssignor):
    def subscription(
        self,
        topics: Collection[str],
        owned: Owned,
        generation: int,
        rack: str | None,
        *,
        relief: bool = False,
    ) -> bytes:
        return super().subscription(topics, (), generation, rack, relief=relief)


class TellsInAnyOrder(CooperativeStickyAssignor):
    def subscription(
        self,
        topics: Collection[str],
        owned: Owned,
        generation: int,
        rack: str | None,
        *,
        relief: bool = False,
    ) -> bytes:
        told = Subscription(tuple(topics), frozenset(owned), generation, user_data=b"")
        return encode_subscription(told) + repr(list(owned)).encode()


class RemembersOnItsClass(CooperativeStickyAssignor):
    given: ClassVar[list[Owned]] = []

    def on_assignment(self, assigned: Owned, generation: int) -> None:
        self.given.append(assigned)

    def subscription(
        self,
        topics: Collection[str],
        owned: Owned,
        generation: int,
        rack: str | None,
        *,
        relief: bool = False,
    ) -> bytes:
        return super().subscription(topics, owned, generation, rack, relief=relief) + b"." * len(
            self.given
        )


class Altered(CooperativeStickyAssignor):
    """Plans, and then spoils it."""

    def plan(self, partition_counts: Mapping[str, int], members: Members) -> Plan:
        plan = super().plan(partition_counts, members)
        return self.spoilt(plan, members)

    def spoilt(self, plan: Plan, members: Members) -> Plan:
        raise NotImplementedError


class LeavesOutWhoGetsNothing(Altered):
    def spoilt(self, plan: Plan, members: Members) -> Plan:
        return Plan({m: share for m, share in plan.assignment.items() if share}, plan.another_round)


class GivesTwice(Altered):
    def spoilt(self, plan: Plan, members: Members) -> Plan:
        everything = frozenset().union(*plan.assignment.values())
        return Plan(dict.fromkeys(members, everything), plan.another_round)


class GivesWhatDoesNotExist(Altered):
    def spoilt(self, plan: Plan, members: Members) -> Plan:
        more = {min(members): frozenset({TopicPartition("zzz", 0)})}
        return Plan({**plan.assignment, **more}, plan.another_round)


class NeverTellsOfAnotherRound(Altered):
    def spoilt(self, plan: Plan, members: Members) -> Plan:
        return Plan(plan.assignment)


class AlwaysTellsOfAnotherRound(Altered):
    def spoilt(self, plan: Plan, members: Members) -> Plan:
        return Plan(plan.assignment, another_round=True)


class WithholdsForEver(Altered):
    def spoilt(self, plan: Plan, members: Members) -> Plan:
        kept = {m: frozenset(sorted(share)[1:]) for m, share in plan.assignment.items()}
        return Plan(kept, another_round=plan.another_round or kept != plan.assignment)


class AtOnce(CooperativeStickyAssignor):
    """Moves what others hold at once, as an eager assignor does."""

    def plan(self, partition_counts: Mapping[str, int], members: Members) -> Plan:
        free = {name: Subscription(told.topics) for name, told in members.items()}
        return super().plan(partition_counts, free)


class Preferring(AtOnce):
    """The eager plan of whoever comes first."""

    cooperative = False

    def plan(self, partition_counts: Mapping[str, int], members: Members) -> Plan:
        plan = super().plan(partition_counts, members)
        first, other = next(iter(members)), min(members)
        if members[first].topics != members[other].topics:
            return plan
        shares = {first: plan.assignment[other], other: plan.assignment[first]}
        return Plan({**plan.assignment, **shares})


class Withholding(CooperativeStickyAssignor):
    cooperative = False

    def plan(self, partition_counts: Mapping[str, int], members: Members) -> Plan:
        return Plan(dict.fromkeys(members, frozenset()), another_round=True)


class Restless(AtOnce):
    """An eager plan that is another one each time that a member has been given something."""

    cooperative = False

    def __init__(self) -> None:
        self.generation = 0

    def on_assignment(self, assigned: Owned, generation: int) -> None:
        self.generation = generation

    def plan(self, partition_counts: Mapping[str, int], members: Members) -> Plan:
        plan = super().plan(partition_counts, members)
        names = sorted(members)
        if len({members[name].topics for name in names}) > 1:
            return plan
        turn = self.generation % len(names)
        shares = [plan.assignment[name] for name in names]
        return Plan(dict(zip(names, shares[turn:] + shares[:turn], strict=True)))


class AllToOne(AtOnce):
    cooperative = False

    def plan(self, partition_counts: Mapping[str, int], members: Members) -> Plan:
        plan = super().plan(partition_counts, members)
        if len({told.topics for told in members.values()}) > 1:
            return plan
        everything = frozenset().union(*plan.assignment.values())
        return Plan({**dict.fromkeys(members, frozenset()), min(members): everything})


@pytest.mark.parametrize(
    ("assignor", "sentence"),
    [
        (NoName, "the name must be a text"),
        (ForgetsTopics, "a subscription must"),
        (TellsNothingOwned, "a cooperative subscription must tell what is owned"),
        (TellsInAnyOrder, "must not depend on the order of topics or partitions"),
        (RemembersOnItsClass, "must not change what another one tells"),
        (LeavesOutWhoGetsNothing, "each member needs an entry"),
        (GivesTwice, "a partition is given twice"),
        (GivesWhatDoesNotExist, "is given what does not exist"),
        (NeverTellsOfAnotherRound, "another round must be told if, and only if"),
        (AlwaysTellsOfAnotherRound, "another round must be told if, and only if"),
        (WithholdsForEver, "no rest after 3 rounds"),
        (AtOnce, "which another member holds"),
        (Preferring, "the order of members or topics matters"),
        (Withholding, "an eager plan must give everything at once"),
        (Restless, "a group at rest is moved"),
        (AllToOne, "loads differ by more than one"),
    ],
)
def test_an_assignor_that_breaks_a_group_is_caught(
    assignor: Callable[[], Assignor], sentence: str
) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_assignor(assignor)


def test_members_that_share_one_instance_are_caught() -> None:
    one = CooperativeStickyAssignor()

    with pytest.raises(AssertionError, match="each member needs an instance of its own"):
        check_assignor(lambda: one)


def test_moves_without_need_are_caught() -> None:
    with pytest.raises(AssertionError, match=r"\d+ partitions move instead of \d+"):
        check_assignor(lambda: adapt(RoundRobinPartitionAssignor), sticky=True)
