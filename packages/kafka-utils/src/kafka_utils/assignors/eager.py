"""Makes an ``Assignor`` of an assignor class that was written for aiokafka's own consumer."""

import types
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any, cast

from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocol

from kafka_utils.assignors.base import Assignor, Plan
from kafka_utils.assignors.consumer_protocol import Subscription

_VERSION = 0


def adapt(assignor: type[AbstractPartitionAssignor]) -> Assignor:
    """Return the assignor for one consumer, under its own name; it is eager.

    Each call makes a new subclass of it. aiokafka calls assignors as classes and its ``sticky``
    remembers on the class what its consumer owns (aiokafka #1175), so consumers that shared one
    class would claim each other's partitions, and a group would forget who had what.
    """
    own = types.new_class(assignor.__name__, (assignor,))
    own.__module__ = assignor.__module__

    class Adapted(EagerAssignor):
        name = str(assignor.name)

    return Adapted(own)


class EagerAssignor(Assignor):
    """Does what an ``Assignor`` does by means of one of aiokafka's classes."""

    def __init__(self, assignor: type[AbstractPartitionAssignor]) -> None:
        self.assignor = assignor

    def subscription(
        self,
        topics: Collection[str],
        owned: Collection[TopicPartition],  # noqa: ARG002 - an eager member owns nothing then
        generation: int,  # noqa: ARG002
        rack: str | None,  # noqa: ARG002 - version 0 has no field for it
        *,
        relief: bool = False,  # noqa: ARG002 - an eager member has nothing to be relieved of
    ) -> bytes:
        """Return the metadata as aiokafka's class writes it, with the topics sorted."""
        metadata: Any = self.assignor.metadata(sorted(set(topics)))
        return bytes(metadata if isinstance(metadata, bytes) else metadata.encode())

    def plan(
        self, partition_counts: Mapping[str, int], members: Mapping[str, Subscription]
    ) -> Plan:
        """Return what aiokafka's class decides; a member that it leaves out gets nothing.

        It sees members and topics in sorted order, and of the cluster the topics that exist.
        """
        answer = self.assignor.assign(
            cast(ClusterMetadata, _Cluster(partition_counts)),
            {
                member: ConsumerProtocol.METADATA(
                    _VERSION, sorted(set(members[member].topics)), members[member].user_data
                )
                for member in sorted(members)
            },
        )
        return Plan(
            {
                member: frozenset(answer[member].partitions()) if member in answer else frozenset()
                for member in members
            }
        )

    def on_assignment(self, assigned: Collection[TopicPartition], generation: int) -> None:
        """Tell aiokafka's class, and the generation too if it has a place for it."""
        by_topic: defaultdict[str, list[int]] = defaultdict(list)
        for topic, partition in sorted(assigned):
            by_topic[topic].append(partition)
        self.assignor.on_assignment(
            ConsumerProtocol.ASSIGNMENT(_VERSION, list(by_topic.items()), b"")
        )
        tell_generation = getattr(self.assignor, "on_generation_assignment", None)
        if tell_generation is not None:
            tell_generation(generation)


class _Cluster:
    """What assignors ask of aiokafka's ClusterMetadata."""

    def __init__(self, partition_counts: Mapping[str, int]) -> None:
        self._partition_counts = partition_counts

    def topics(self) -> set[str]:
        return set(self._partition_counts)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        count = self._partition_counts.get(topic)
        return None if count is None else set(range(count))

    available_partitions_for_topic = partitions_for_topic
