"""How long a leader takes to plan: ``cooperative-sticky`` beside aiokafka's ``sticky``.

`python -m benchmarks.assignor [--repeat N]` prints the CPU time of one plan, the least of N, for
groups of various sizes and histories. All of a row's members and partitions are made beforehand.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from kafka_utils.assignors.base import Assignor, Plan
from kafka_utils.assignors.consumer_protocol import Subscription, decode_subscription
from kafka_utils.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka_utils.assignors.eager import adapt

SIZES = ((100, 100), (200, 2_000))
TOPICS = 10
GENERATION = 7
HEADS = ("subscriptions", "members", "partitions", "event", "ours ms", "sticky ms", "moved")

Members = Mapping[str, Subscription]


@dataclass(frozen=True, slots=True)
class Case:
    """A group before an event, settled, and the members that join after it."""

    event: str
    before: Members
    after: Members


def group(members: int, *, equal: bool) -> dict[str, Subscription]:
    """Members by name; equal ones subscribe to all topics, others to some of them."""
    random = Random(members)
    topics = [f"topic-{number}" for number in range(TOPICS)]
    subscriptions = {}
    for number in range(members):
        wanted = topics if equal else random.sample(topics, random.randint(1, TOPICS))
        subscriptions[f"member-{number:04}"] = Subscription(tuple(wanted))
    return subscriptions


def cases(whole: Members) -> Iterator[Case]:
    """What may happen to such a group."""
    names = sorted(whole)
    some = {name: whole[name] for name in names[: len(names) // 2]}
    but_one = {name: whole[name] for name in names[1:]}
    yield Case("all are new", {}, whole)
    yield Case("nothing", whole, whole)
    yield Case("one joins", but_one, whole)
    yield Case("one leaves", whole, but_one)
    yield Case("half join", some, whole)
    yield Case("half leave", whole, some)


def _settled(counts: Mapping[str, int], members: Members) -> Plan:
    return CooperativeStickyAssignor().plan(counts, members)


def _owning(members: Members, plan: Plan) -> dict[str, Subscription]:
    return {
        name: told._replace(owned=plan.assignment.get(name, frozenset()), generation=GENERATION)
        for name, told in members.items()
    }


def _remembering(members: Members, plan: Plan) -> dict[str, Subscription]:
    told = {}
    for name, subscription in members.items():
        assignor: Assignor = adapt(StickyPartitionAssignor)
        if name in plan.assignment:
            assignor.on_assignment(plan.assignment[name], GENERATION)
        told[name] = decode_subscription(assignor.subscription(subscription.topics, (), 0, None))
    return told


def _least_ms(action: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        began = time.process_time()
        action()
        times.append(time.process_time() - began)
    return 1000 * min(times)


def _owners(plan: Plan) -> dict[TopicPartition, str]:
    return {partition: name for name, share in plan.assignment.items() for partition in share}


def measure(case: Case, counts: Mapping[str, int], repeat: int) -> tuple[float, float, int]:
    """Milliseconds of our plan and of aiokafka's, and how many partitions move in ours."""
    before = _settled(counts, case.before)
    ours, theirs = _owning(case.after, before), _remembering(case.after, before)
    assignor, sticky = CooperativeStickyAssignor(), adapt(StickyPartitionAssignor)
    after = assignor.plan(counts, ours)
    kept = _owners(after)
    moved = sum(
        name in ours and kept.get(partition) != name for partition, name in _owners(before).items()
    )
    return (
        _least_ms(lambda: assignor.plan(counts, ours), repeat),
        _least_ms(lambda: sticky.plan(counts, theirs), 1),
        moved,
    )


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.assignor", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    print("".join(f"{head:>15}" for head in HEADS))
    for members, partitions in SIZES:
        counts = {f"topic-{number}": partitions // TOPICS for number in range(TOPICS)}
        for equal in (True, False):
            for case in cases(group(members, equal=equal)):
                ours, theirs, moved = measure(case, counts, options.repeat)
                row = ("equal" if equal else "differing", members, partitions, case.event)
                figures = f"{ours:15.2f}{theirs:15.2f}{moved:15}"
                print("".join(f"{each:>15}" for each in row) + figures, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
