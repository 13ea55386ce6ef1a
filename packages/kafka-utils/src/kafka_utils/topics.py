"""What a cluster's metadata says: which brokers there are, and what each leads and stores."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition

_NOBODY = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A broker as clients are told to reach it."""

    node_id: int
    host: str
    port: int
    rack: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionDescription:
    """Who stores a partition; brokers by their node ids."""

    partition: int
    leader: int | None
    """None while no broker can lead it: it can be neither read nor written."""
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]

    @property
    def under_replicated(self) -> bool:
        """Whether a replica lags behind the leader or is away."""
        return len(self.in_sync) < len(self.replicas)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicDescription:
    """A topic with its partitions in order."""

    name: str
    internal: bool
    partitions: tuple[PartitionDescription, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDescription:
    """The live brokers, and topics by their names."""

    brokers: tuple[Broker, ...]
    topics: Mapping[str, TopicDescription]

    @property
    def leaders(self) -> Mapping[int, int]:
        """How many partitions of these topics each live broker leads, zero included."""
        leading = Counter(self.leader_of_each().values())
        return {broker.node_id: leading[broker.node_id] for broker in self.brokers}

    @property
    def under_replicated(self) -> tuple[TopicPartition, ...]:
        """The partitions with fewer replicas in sync than they should have, in order."""
        return tuple(
            TopicPartition(name, partition.partition)
            for name, topic in sorted(self.topics.items())
            for partition in topic.partitions
            if partition.under_replicated
        )

    def leader_of_each(self) -> Mapping[TopicPartition, int | None]:
        """Return every partition of these topics with the node id of its leader."""
        return {
            TopicPartition(name, partition.partition): partition.leader
            for name, topic in self.topics.items()
            for partition in topic.partitions
        }

    def only(self, names: Iterable[str]) -> "ClusterDescription":
        """Return the same brokers with the named topics only; a missing one is left out."""
        wanted = {name: self.topics[name] for name in names if name in self.topics}
        return ClusterDescription(brokers=self.brokers, topics=wanted)


def read_cluster(metadata: Mapping[str, Any]) -> ClusterDescription:
    """Return what a broker's answer to a MetadataRequest says, its fields by name.

    A topic that the broker says only an error about is left out.
    """
    brokers = [
        Broker(node_id=said["node_id"], host=said["host"], port=said["port"], rack=said.get("rack"))
        for said in metadata["brokers"]
    ]
    topics = [_read_topic(said) for said in metadata["topics"] if not said["error_code"]]
    return ClusterDescription(
        brokers=tuple(sorted(brokers, key=lambda broker: broker.node_id)),
        topics={topic.name: topic for topic in topics},
    )


def _read_topic(said: Mapping[str, Any]) -> TopicDescription:
    partitions = [
        PartitionDescription(
            partition=partition["partition"],
            leader=None if partition["leader"] == _NOBODY else partition["leader"],
            replicas=tuple(partition["replicas"]),
            in_sync=tuple(partition["isr"]),
        )
        for partition in said["partitions"]
    ]
    return TopicDescription(
        name=said["topic"],
        internal=said["is_internal"],
        partitions=tuple(sorted(partitions, key=lambda partition: partition.partition)),
    )
