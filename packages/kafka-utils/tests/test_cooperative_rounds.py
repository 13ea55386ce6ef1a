"""Groups of cooperative members, round after round: one owner at a time, and rest in the end.

Members miss rounds, learn of a generation without learning of its plan, come back with claims of
long ago, leave in order and crash. No broker and no clock is in it: what happens between two rounds
is drawn.
"""

from dataclasses import dataclass, field
from itertools import combinations

from aiokafka import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kafka_utils.assignors.base import Plan
from kafka_utils.assignors.consumer_protocol import decode_subscription
from kafka_utils.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka_utils.testing import check_plan

NAMES = [f"m{number}" for number in range(6)]
TOPICS = "abc"
MOST_ROUNDS = 3


@dataclass
class Member:
    topics: tuple[str, ...]
    holding: frozenset[TopicPartition] = frozenset()
    generation: int = -1
    missed: bool = False
    """Was left out of a round, so that the group may have given away what it holds."""
    relief: bool = False
    assignor: CooperativeStickyAssignor = field(default_factory=CooperativeStickyAssignor)


class Group(RuleBasedStateMachine):
    """What the members hold, beside what the leader is told."""

    subscriptions = st.lists(st.sampled_from(TOPICS), min_size=1, unique=True).map(tuple)

    @initialize(counts=st.fixed_dictionaries(dict.fromkeys(TOPICS, st.integers(0, 4))))
    def begin(self, counts: dict[str, int]) -> None:
        self.counts = counts
        self.members: dict[str, Member] = {}
        self.generation = 0

    def round(
        self,
        absent: frozenset[str] = frozenset(),
        unheard: frozenset[str] = frozenset(),
        *,
        joined_early: bool = False,
    ) -> bool:
        """One rebalance. Tells whether somebody will ask for the next one."""
        joining = {name: each for name, each in self.members.items() if name not in absent}
        for name in absent & self.members.keys():
            self.members[name].missed = True
        if not joining:
            return False
        told = {
            name: decode_subscription(
                each.assignor.subscription(
                    each.topics, each.holding, each.generation, None, relief=each.relief
                )
            )
            for name, each in joining.items()
        }
        plan = joining[min(joining)].assignor.plan(self.counts, told)
        check_plan(plan, self.counts, told, cooperative=True)
        self.generation += 1
        self.give(plan, {n: each for n, each in joining.items() if n not in unheard})
        for name in unheard & joining.keys():
            # The answer to its join has told it the generation, unlike the answer to its sync.
            if joined_early and not joining[name].missed:
                joining[name].generation = self.generation
        revoked = any(told[n].owned - plan.assignment[n] for n in joining.keys() - unheard)
        assert revoked or not plan.another_round or unheard
        return revoked or plan.another_round or bool(unheard & joining.keys())

    def give(self, plan: Plan, members: dict[str, Member]) -> None:
        for name, member in members.items():
            member.holding = plan.assignment[name]
            member.generation = self.generation
            member.missed = False

    @rule(name=st.sampled_from(NAMES), topics=subscriptions)
    def join(self, name: str, topics: tuple[str, ...]) -> None:
        self.members.setdefault(name, Member(topics)).topics = topics

    @rule(name=st.sampled_from(NAMES))
    def crash(self, name: str) -> None:
        self.members.pop(name, None)

    @rule(name=st.sampled_from(NAMES))
    def mean_to_leave(self, name: str) -> None:
        if name in self.members:
            self.members[name].topics = ()

    @rule(name=st.sampled_from(NAMES))
    def ask_for_relief(self, name: str) -> None:
        if name in self.members:
            self.members[name].relief = True

    @rule(name=st.sampled_from(NAMES))
    def lose_everything(self, name: str) -> None:
        if name in self.members:
            self.members[name] = Member(self.members[name].topics)

    @rule(topic=st.sampled_from(TOPICS), count=st.integers(0, 5))
    def change_the_topic(self, topic: str, count: int) -> None:
        self.counts = {**self.counts, topic: count}

    @rule(
        absent=st.frozensets(st.sampled_from(NAMES), max_size=3),
        unheard=st.frozensets(st.sampled_from(NAMES), max_size=3),
        joined_early=st.booleans(),
    )
    def rebalance(
        self, absent: frozenset[str], unheard: frozenset[str], joined_early: bool
    ) -> None:
        self.round(absent, unheard, joined_early=joined_early)

    @precondition(lambda self: self.members)
    @rule()
    def come_to_rest(self) -> None:
        rounds = 1
        while self.round():
            rounds += 1
            assert rounds <= MOST_ROUNDS
        before = {name: each.holding for name, each in self.members.items()}
        assert not self.round()
        assert before == {name: each.holding for name, each in self.members.items()}
        held = frozenset[TopicPartition]().union(*before.values())
        wanted = {
            topic for each in self.members.values() if not each.relief for topic in each.topics
        }
        assert held == {
            TopicPartition(topic, number)
            for topic in wanted
            for number in range(self.counts[topic])
        }

    @invariant()
    def nobody_holds_what_another_member_holds(self) -> None:
        present = [each for each in getattr(self, "members", {}).values() if not each.missed]
        for one, other in combinations(present, 2):
            assert not one.holding & other.holding


TestGroup = Group.TestCase
TestGroup.settings = settings(max_examples=100, stateful_step_count=25)


@given(st.integers(1, 12), st.integers(0, 30), st.integers(0, 12), st.integers(0, 12))
def test_after_members_come_and_go_two_rounds_are_enough(
    members: int, partitions: int, come: int, gone: int
) -> None:
    group = Group()
    group.begin({"a": partitions})
    for number in range(members):
        group.join(f"m{number}", ("a",))
    assert not group.round()
    for number in range(gone):
        group.crash(f"m{number}")
    for number in range(come):
        group.join(f"n{number}", ("a",))

    if group.round():
        group.round()

    holding = [each.holding for each in group.members.values()]
    loads = [len(each) for each in holding]
    assert sum(loads) == (partitions if loads else 0)
    assert max(loads, default=0) - min(loads, default=0) <= 1
    assert not group.round()
    assert holding == [each.holding for each in group.members.values()]
