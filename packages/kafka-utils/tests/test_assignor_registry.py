"""Assignors by name: built-in ones, plugged-in ones, and what each consumer has for itself."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from kafka_utils import AssignorPluginError, ConsumerConfig, UnknownAssignorError
from kafka_utils.assignors import plugins, registry
from kafka_utils.assignors.base import Assignor
from kafka_utils.assignors.consumer_protocol import decode_subscription
from kafka_utils.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka_utils.assignors.eager import EagerAssignor

BUILT_IN = ("cooperative-sticky", "range", "roundrobin", "sticky")

GOOD = """
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

class Nearest(RoundRobinPartitionAssignor):
    name = "nearest"
"""

OURS = """
from kafka_utils.assignors.base import Assignor

class Nearest(Assignor):
    name = "nearest"
    def subscription(self, topics, owned, generation, rack): ...
    def plan(self, partition_counts, members): ...
"""

Plug = Callable[..., None]


@pytest.fixture
def plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plug]:
    """Install a distribution that has one module and one entry point."""
    modules = []

    def install(name: str, target: str, source: str, distribution: str = "rack-aware") -> None:
        root = tmp_path / distribution
        metadata = root / f"{distribution.replace('-', '_')}-1.2.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Name: {distribution}\nVersion: 1.2\n")
        (metadata / "entry_points.txt").write_text(
            f"[{plugins.ENTRY_POINT_GROUP}]\n{name} = {target}\n"
        )
        module = target.partition(":")[0]
        (root / f"{module}.py").write_text(source)
        modules.append(module)
        monkeypatch.syspath_prepend(str(root))

    yield install
    for module in modules:
        sys.modules.pop(module, None)


@pytest.mark.parametrize(
    ("name", "assignor"),
    [
        ("range", RangePartitionAssignor),
        ("roundrobin", RoundRobinPartitionAssignor),
        ("sticky", StickyPartitionAssignor),
    ],
)
def test_a_built_in_name_is_aiokafkas_assignor(name: str, assignor: type) -> None:
    resolved = registry.resolve(name)

    assert isinstance(resolved, EagerAssignor)
    assert issubclass(resolved.assignor, assignor)
    assert resolved.name == name
    assert not resolved.cooperative


def test_cooperative_sticky_is_built_in() -> None:
    assert isinstance(registry.resolve("cooperative-sticky"), CooperativeStickyAssignor)


def test_the_names_are_sorted() -> None:
    assert registry.names() == BUILT_IN


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownAssignorError, match=f"must be one of {', '.join(BUILT_IN)}"):
        registry.resolve("nearest")


def test_a_plugged_in_assignor_is_found_by_its_name(plug: Plug) -> None:
    plug("nearest", "rack_aware_good:Nearest", GOOD)

    assert registry.names() == ("cooperative-sticky", "nearest", *BUILT_IN[1:])
    assert "rack_aware_good" not in sys.modules
    resolved = registry.resolve("nearest")
    assert isinstance(resolved, EagerAssignor)
    assert resolved.assignor.__name__ == "Nearest"
    assert resolved.name == "nearest"


def test_a_plugged_in_assignor_may_be_one_of_our_own_kind(plug: Plug) -> None:
    plug("nearest", "rack_aware_ours:Nearest", OURS)

    first, second = registry.resolve("nearest"), registry.resolve("nearest")

    assert type(first).__name__ == "Nearest"
    assert isinstance(first, Assignor)
    assert first is not second


def test_a_config_accepts_a_plugged_in_assignor_and_an_unknown_one_lists_it(plug: Plug) -> None:
    plug("nearest", "rack_aware_listed:Nearest", GOOD)

    config = ConsumerConfig(bootstrap_servers=("a:1",), group_id="g", assignors=("nearest",))
    assert config.assignors == ("nearest",)
    with pytest.raises(UnknownAssignorError, match="one of cooperative-sticky, nearest, range"):
        ConsumerConfig(bootstrap_servers=("a:1",), group_id="g", assignors=("farthest",))


@pytest.mark.parametrize(
    ("target", "source", "sentence"),
    [
        (
            "broken_import:Nearest",
            "import no_such_module_anywhere",
            "broken_import:Nearest of rack-aware 1.2 raises ModuleNotFoundError",
        ),
        (
            "lacks_class:Nearest",
            "",
            "lacks_class:Nearest of rack-aware 1.2 raises AttributeError",
        ),
        (
            "other_type:Nearest",
            "class Nearest:\n    name = 'nearest'",
            "a subclass of Assignor or of AbstractPartitionAssignor, which other_type:Nearest of "
            "rack-aware 1.2 is not",
        ),
        (
            "wrong_name:Nearest",
            GOOD.replace('"nearest"', '"closest"'),
            "wrong_name:Nearest of rack-aware 1.2 is called 'closest'",
        ),
        (
            "no_name:Nearest",
            OURS.replace('    name = "nearest"', ""),
            "no_name:Nearest of rack-aware 1.2 is called None",
        ),
        (
            "needs_arguments:Nearest",
            OURS + "    def __init__(self, rack): ...",
            "can be made without arguments; needs_arguments:Nearest of rack-aware 1.2 raises Type",
        ),
        (
            "incomplete_ours:Nearest",
            OURS.replace("def plan", "def planned"),
            "incomplete_ours:Nearest of rack-aware 1.2 lacks plan",
        ),
        (
            "incomplete:Nearest",
            "from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor\n"
            "class Nearest(AbstractPartitionAssignor):\n    name = 'nearest'",
            "incomplete:Nearest of rack-aware 1.2 lacks assign, metadata, on_assignment",
        ),
    ],
)
def test_a_plugged_in_assignor_that_cannot_be_used_names_its_distribution(
    plug: Plug, target: str, source: str, sentence: str
) -> None:
    plug("nearest", target, source)

    with pytest.raises(AssignorPluginError) as caught:
        registry.resolve("nearest")

    assert sentence in str(caught.value)


def test_two_distributions_with_one_name_are_refused(plug: Plug) -> None:
    plug("nearest", "first_of_two:Nearest", GOOD)
    plug("nearest", "second_of_two:Nearest", GOOD, distribution="zone-aware")

    with pytest.raises(AssignorPluginError, match=r"not by rack-aware 1\.2 and zone-aware 1\.2"):
        registry.resolve("nearest")


def test_a_built_in_assignor_cannot_be_shadowed(plug: Plug) -> None:
    plug("sticky", "shadowing:Nearest", GOOD.replace('"nearest"', '"sticky"'))

    resolved = registry.resolve("sticky")

    assert isinstance(resolved, EagerAssignor)
    assert issubclass(resolved.assignor, StickyPartitionAssignor)
    assert registry.names() == BUILT_IN
    assert "shadowing" not in sys.modules


class Fleet:
    """The members of one group, who agree on an assignment as the coordinator would let them."""

    def __init__(self, partitions: dict[str, int], assignors: dict[str, Assignor]) -> None:
        self.partitions = partitions
        self.assignors = assignors
        self.generation = 0

    def rebalance(self, members: list[str]) -> dict[str, frozenset[TopicPartition]]:
        told = {
            member: decode_subscription(
                self.assignors[member].subscription(self.partitions, (), self.generation, None)
            )
            for member in members
        }
        plan = self.assignors[members[0]].plan(self.partitions, told)
        self.generation += 1
        for member in members:
            self.assignors[member].on_assignment(plan.assignment[member], self.generation)
        return dict(plan.assignment)


def kept_after_a_member_left(main: dict[str, Assignor], other: dict[str, Assignor]) -> int:
    main_group = Fleet({"webhook": 8}, main)
    other_group = Fleet({"webhook.retry.5s": 4, "webhook.retry.5m": 4}, other)
    before = main_group.rebalance(sorted(main))
    other_group.rebalance(sorted(other))
    after = main_group.rebalance(sorted(main)[1:])
    return sum(len(after[member] & before[member]) for member in after)


def test_two_consumers_of_one_process_do_not_share_what_sticky_remembers() -> None:
    members = ["a", "b", "c", "d"]

    main = {member: registry.resolve("sticky") for member in members}
    other = {member: registry.resolve("sticky") for member in members}

    assert kept_after_a_member_left(main, other) == 6


def test_consumers_that_share_a_class_forget_what_they_had() -> None:
    members = ["a", "b", "c", "d"]

    shared = {member: registry.resolve("sticky") for member in members}

    assert kept_after_a_member_left(shared, shared) == 0


@pytest.mark.parametrize("name", ["range", "roundrobin", "sticky"])
def test_each_resolution_is_a_class_of_its_own(name: str) -> None:
    first, second = registry.resolve(name), registry.resolve(name)

    assert isinstance(first, EagerAssignor)
    assert isinstance(second, EagerAssignor)
    first.assignor.leaked = True  # type: ignore[attr-defined]
    assert not hasattr(second.assignor, "leaked")
