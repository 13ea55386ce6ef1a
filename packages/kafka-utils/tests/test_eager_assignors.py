"""aiokafka's assignor classes, as assignors of ours."""

from collections.abc import Mapping
from typing import ClassVar

import pytest
from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.coordinator.protocol import (
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)

from kafka_utils.assignors.base import Plan
from kafka_utils.assignors.consumer_protocol import Subscription, decode_subscription
from kafka_utils.assignors.eager import EagerAssignor, adapt


class Recording(RoundRobinPartitionAssignor):
    """Remembers what it was asked, and leaves out the last member."""

    name = "recording"
    asked: ClassVar[list[tuple[object, ...]]] = []

    @classmethod
    def assign(
        cls, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        cls.asked = [
            (name, told.version, told.subscription, told.user_data)
            for name, told in members.items()
        ]
        cls.asked.append((cluster.topics(), cluster.available_partitions_for_topic("a")))
        answer = super().assign(cluster, members)
        del answer[max(members)]
        return answer


def test_a_subscription_is_what_aiokafkas_class_writes() -> None:
    data = adapt(RoundRobinPartitionAssignor).subscription(
        ["b", "a", "b"], [TopicPartition("a", 0)], 7, "az-1"
    )

    assert data == RoundRobinPartitionAssignor.metadata(["a", "b"]).encode()


def test_a_class_may_write_bytes_itself() -> None:
    class Bytes(RoundRobinPartitionAssignor):
        @classmethod
        def metadata(cls, topics: object) -> bytes:  # type: ignore[override]
            return b"\0\0" + repr(topics).encode()

    assert adapt(Bytes).subscription(["b", "a"], (), -1, None) == b"\0\0['a', 'b']"


def test_a_class_sees_members_and_topics_in_order_and_the_topics_that_exist() -> None:
    assignor = adapt(Recording)
    assert isinstance(assignor, EagerAssignor)

    plan = assignor.plan(
        {"a": 3}, {"y": Subscription(("b", "a"), user_data=b"\1"), "x": Subscription(("a",))}
    )

    assert getattr(assignor.assignor, "asked") == [  # noqa: B009 - of the subclass
        ("x", 0, ["a"], None),
        ("y", 0, ["a", "b"], b"\1"),
        ({"a"}, {0, 1, 2}),
    ]
    assert Recording.asked == []
    x = frozenset({TopicPartition("a", 0), TopicPartition("a", 2)})
    assert plan == Plan({"y": frozenset(), "x": x})


def test_sticky_tells_what_it_was_given_and_when() -> None:
    assignor = adapt(StickyPartitionAssignor)
    given = [TopicPartition("b", 1), TopicPartition("a", 2), TopicPartition("a", 0)]

    assert decode_subscription(assignor.subscription(["a"], (), -1, None)).user_data == b""
    assignor.on_assignment(given, 12)

    told = decode_subscription(assignor.subscription(["a"], (), 12, None))
    assert told.generation == 12
    assert told.user_data is not None
    previous = StickyPartitionAssignor.parse_member_metadata(
        ConsumerProtocolMemberMetadata(0, ["a"], told.user_data)
    )
    assert sorted(previous.partitions) == sorted(given)
    assert previous.generation == 12


@pytest.mark.parametrize("assignor", [RoundRobinPartitionAssignor, StickyPartitionAssignor])
def test_an_adapted_class_keeps_its_name_and_module(
    assignor: type[RoundRobinPartitionAssignor],
) -> None:
    adapted = adapt(assignor)

    assert isinstance(adapted, EagerAssignor)
    assert adapted.name == assignor.name
    assert not adapted.cooperative
    assert adapted.assignor.__name__ == assignor.__name__
    assert adapted.assignor.__module__ == assignor.__module__
