"""A conformance suite for assignors, those of other distributions too; needs no test library.

from kafka_utils.testing import check_assignor

def test_nearest_is_a_good_assignor() -> None:
    check_assignor(Nearest)
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from random import Random
from typing import TypeVar

from aiokafka import TopicPartition

from kafka_utils.assignors.base import Assignor, Plan
from kafka_utils.assignors.claims import Claims, settle_claims
from kafka_utils.assignors.consumer_protocol import Subscription, decode_subscription

Value = TypeVar("Value")

_TOPICS = ("a", "b", "c", "d")
_MOST_PARTITIONS = 6
_MOST_MEMBERS = 6
_EVENTS = 4
_MOST_ROUNDS = 3

Topics = Mapping[str, tuple[str, ...]]
"""Which topics each member subscribes to."""


def check_assignor(
    make: Callable[[], Assignor],
    *,
    balanced: bool = True,
    sticky: bool = False,
    cases: int = 100,
    seed: int = 0,
) -> None:
    """Check that an assignor does what a group depends on, in generated cases.

    ``make`` returns a new instance for each member. ``balanced`` is whether the loads of members
    with equal subscriptions shall differ by one at most, and ``sticky`` whether no more partitions
    shall move among them than that needs. Equal ``cases`` and ``seed`` give equal cases.

    Raises AssertionError with the case and a sentence that says what is wrong.
    """
    check_identity(make)
    random = Random(seed)
    for _ in range(cases):
        _check_history(make, random, balanced=balanced, sticky=sticky)
        if make().cooperative:
            _check_contested_claims(make(), random)


def check_identity(make: Callable[[], Assignor]) -> None:
    """Check the name, that members share nothing, and what a subscription tells."""
    first, second = make(), make()
    name: object = getattr(first, "name", None)
    _require(isinstance(name, str) and name != "", "the name must be a text", name)
    _require(first is not second, "each member needs an instance of its own")
    owned = [TopicPartition("b", 1), TopicPartition("a", 0)]
    before = second.subscription(["b", "a"], [], -1, None)
    first.on_assignment(owned, 7)
    _require(
        before == second.subscription(["b", "a"], [], -1, None),
        "what one member was given must not change what another one tells",
    )
    told = second.subscription(["b", "a"], owned, 7, None)
    _require(
        told == second.subscription(["a", "b"], owned[::-1], 7, None),
        "a subscription must not depend on the order of topics or partitions (KAFKA-12898)",
    )
    read = decode_subscription(told)
    _require(set(read.topics) == {"a", "b"}, "a subscription must tell its topics", read)
    if first.cooperative:
        _require(
            read.owned == set(owned) and read.generation == 7,  # noqa: PLR2004
            "a cooperative subscription must tell what is owned, and since when",
            read,
        )


def check_plan(
    plan: Plan,
    partition_counts: Mapping[str, int],
    members: Mapping[str, Subscription],
    *,
    cooperative: bool,
) -> None:
    """Check what holds for every single plan, whatever the members claim.

    Raises AssertionError with a sentence.
    """
    flaw = _flaw(plan, partition_counts, members, cooperative=cooperative)
    if flaw is not None:
        raise AssertionError(f"{flaw} (for {dict(members)} of {dict(partition_counts)}: {plan})")


def _flaw(
    plan: Plan,
    partition_counts: Mapping[str, int],
    members: Mapping[str, Subscription],
    *,
    cooperative: bool,
) -> str | None:
    if plan.assignment.keys() != members.keys():
        return "each member needs an entry"
    given = Counter(each for share in plan.assignment.values() for each in share)
    if max(given.values(), default=1) > 1:
        return "a partition is given twice"
    for member, share in plan.assignment.items():
        if not share <= _partitions(partition_counts, members[member].topics):
            return f"{member} is given what does not exist or what it does not subscribe to"
    wanted = {topic for each in members.values() if not each.relief for topic in each.topics}
    complete = given.keys() >= _partitions(partition_counts, wanted)
    if not cooperative:
        whole = complete and not plan.another_round
        return None if whole else "an eager plan must give everything at once"
    return _cooperative_flaw(plan, settle_claims(partition_counts, members), complete=complete)


def _cooperative_flaw(plan: Plan, claims: Claims, *, complete: bool) -> str | None:
    if plan.another_round is complete:
        return "another round must be told if, and only if, partitions are withheld"
    for member, share in plan.assignment.items():
        for partition in share:
            if not claims.free_for(partition, member):
                return f"{member} is given {partition}, which another member holds"
    return None


@dataclass(slots=True)
class _Group:
    """Members that do what they are told, and a leader that is any of them."""

    make: Callable[[], Assignor]
    random: Random
    assignors: dict[str, Assignor] = field(default_factory=dict)
    owned: dict[str, frozenset[TopicPartition]] = field(default_factory=dict)
    generation: int = 0

    def rebalance(self, partition_counts: Mapping[str, int], topics: Topics) -> Plan:
        """One round: all join, the leader plans, all learn of it."""
        for gone in self.assignors.keys() - topics.keys():
            del self.assignors[gone], self.owned[gone]
        members = {member: self._told(member, wanted) for member, wanted in topics.items()}
        leader = self.assignors[self.random.choice(sorted(members))]
        plan = leader.plan(partition_counts, members)
        check_plan(plan, partition_counts, members, cooperative=leader.cooperative)
        other = leader.plan(self._shuffled(partition_counts), self._shuffled(members))
        _require(other == plan, "the order of members or topics matters", plan, other)
        self.generation += 1
        for member, share in plan.assignment.items():
            self.owned[member] = share
            self.assignors[member].on_assignment(share, self.generation)
        return plan

    def settle(self, partition_counts: Mapping[str, int], topics: Topics) -> None:
        """Rounds until nothing is withheld; one more must change nothing."""
        plan = self.rebalance(partition_counts, topics)
        for _ in range(_MOST_ROUNDS - 1):
            if plan.another_round:
                plan = self.rebalance(partition_counts, topics)
        _require(not plan.another_round, f"no rest after {_MOST_ROUNDS} rounds", plan)
        again = self.rebalance(partition_counts, topics)
        _require(again == plan, "a group at rest is moved", plan, again)

    def _told(self, member: str, wanted: tuple[str, ...]) -> Subscription:
        assignor = self.assignors.setdefault(member, self.make())
        owned = self.owned.setdefault(member, frozenset()) if assignor.cooperative else ()
        return decode_subscription(assignor.subscription(wanted, owned, self.generation, None))

    def _shuffled(self, mapping: Mapping[str, Value]) -> dict[str, Value]:
        return dict(self.random.sample(sorted(mapping.items(), key=itemgetter(0)), len(mapping)))


def _check_history(
    make: Callable[[], Assignor], random: Random, *, balanced: bool, sticky: bool
) -> None:
    group = _Group(make, random)
    uniform = random.random() < 1 / 2
    for _ in range(_EVENTS):
        partition_counts, topics = _drawn(random, uniform=uniform)
        before = dict(group.owned)
        group.settle(partition_counts, topics)
        taking_part = [member for member, wanted in topics.items() if wanted]
        if not uniform or not taking_part:
            continue
        case = (partition_counts, topics, before, group.owned)
        loads = [len(group.owned[member]) for member in taking_part]
        _require(
            not balanced or max(loads) - min(loads) <= 1, "loads differ by more than one", *case
        )
        wanted = _partitions(partition_counts, topics[taking_part[0]])
        kept = {member: before.get(member, frozenset()) & wanted for member in taking_part}
        moved = sum(len(share - group.owned[member]) for member, share in kept.items())
        least = _fewest_moves(len(wanted), [len(share) for share in kept.values()])
        _require(not sticky or moved == least, f"{moved} partitions move instead of {least}", *case)


def _fewest_moves(partitions: int, loads: list[int]) -> int:
    """How many partitions members must give up, so that their loads differ by one at most."""
    quota, larger = divmod(partitions, len(loads))
    above = [load - quota for load in loads if load > quota]
    return sum(above) - min(larger, len(above))


def _check_contested_claims(assignor: Assignor, random: Random) -> None:
    """One round in which members claim what others claim too, of various generations."""
    partition_counts, topics = _drawn(random, uniform=False)
    everything = [*sorted(_partitions(partition_counts, _TOPICS)), TopicPartition("gone", 0)]
    members = {
        member: Subscription(
            topics=wanted,
            owned=frozenset(random.sample(everything, random.randint(0, len(everything)))),
            generation=random.randint(-1, 2),
        )
        for member, wanted in topics.items()
    }
    plan = assignor.plan(partition_counts, members)
    check_plan(plan, partition_counts, members, cooperative=True)


def _drawn(random: Random, *, uniform: bool) -> tuple[dict[str, int], Topics]:
    """Topics that exist, and what each member subscribes to: some want to leave, and want none."""
    partition_counts = {
        topic: random.randint(1, _MOST_PARTITIONS) for topic in _TOPICS if random.random() < 9 / 10
    }
    names = [f"member-{number}" for number in range(_MOST_MEMBERS)]
    common = _some(random, _TOPICS)
    topics: dict[str, tuple[str, ...]] = {}
    for member in _some(random, names):
        leaving = random.random() < 1 / 10
        topics[member] = () if leaving else common if uniform else _some(random, _TOPICS)
    return partition_counts, topics


def _some(random: Random, choices: Sequence[str]) -> tuple[str, ...]:
    return tuple(random.sample(choices, random.randint(1, len(choices))))


def _partitions(
    partition_counts: Mapping[str, int], topics: Iterable[str]
) -> frozenset[TopicPartition]:
    return frozenset(
        TopicPartition(topic, number)
        for topic in topics
        for number in range(partition_counts.get(topic, 0))
    )


def _require(condition: bool, sentence: str, *shown: object) -> None:
    if not condition:
        raise AssertionError(": ".join((sentence, *map(repr, shown))))
