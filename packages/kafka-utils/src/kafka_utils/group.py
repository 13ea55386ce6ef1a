"""What a group is doing: its state, its coordinator, its members, and how far they have come."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiokafka import TopicPartition

from kafka_utils.assignors.consumer_protocol import (
    NO_GENERATION,
    MalformedMetadata,
    Subscription,
    decode_assignment,
    decode_subscription,
)
from kafka_utils.topics import Broker, ClusterDescription

CONSUMERS = "consumer"
"""The protocol type of groups whose members read topics."""


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """How far a group has come in a partition."""

    partition: TopicPartition
    committed: int | None = None
    """The offset of the next record to be worked on; None if nothing is committed."""
    log_end: int | None = None
    """The offset of the next record to be written; None if the partition has no leader."""

    @property
    def lag(self) -> int | None:
        """How many records are to be done; None where one of the two offsets is not known.

        Below zero, the log has lost records that the group has seen.
        """
        if self.committed is None or self.log_end is None:
            return None
        return self.log_end - self.committed


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberDescription:
    """A member as the coordinator knows it.

    Coordinators do not tell what members subscribe to and own while a rebalance is under way.
    """

    member_id: str
    client_id: str
    host: str
    instance_id: str | None = None
    """What makes it a static member (KIP-345). Brokers before Kafka 2.4 do not tell."""
    topics: tuple[str, ...] = ()
    generation: int | None = None
    """In which generation it owned what it had when it last joined, if its assignor tells."""
    partitions: tuple[PartitionLag, ...] = ()
    unreadable: str | None = None
    """Why what it sent or was sent cannot be read: another client's bytes, or no consumer's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDescription:
    """A group at about one moment: its parts are asked for one after the other."""

    group_id: str
    state: str
    """In Kafka's words: Stable, PreparingRebalance, CompletingRebalance, Empty or Dead."""
    coordinator: Broker
    leaders: Mapping[int, int]
    """How many partitions of the whole cluster each live broker leads, the coordinator's too."""
    protocol_type: str
    assignor: str | None
    """The assignor that the members agreed on; None while there is none."""
    members: tuple[MemberDescription, ...]
    unowned: tuple[PartitionLag, ...]
    """Partitions that nobody has, of all topics that are subscribed to or have an offset.

    All of them while owners are not told.
    """

    @property
    def exists(self) -> bool:
        """Whether the coordinator knows the group.

        To a coordinator of Kafka 4 a group of the protocol of KIP-848 is Dead here too.
        """
        return self.state != "Dead"

    @property
    def stable(self) -> bool:
        """Whether every member knows its partitions and no rebalance is under way."""
        return self.state == "Stable"

    @property
    def owners_told(self) -> bool:
        """Whether the coordinator tells who owns what: not while a rebalance is under way."""
        return self.state in ("Stable", "Empty")

    @property
    def generation(self) -> int | None:
        """The newest generation that a member tells; the current one is later. None if none does.

        Coordinators do not tell it. Members of ``cooperative-sticky`` tell in which one they owned
        partitions before they joined.
        """
        return max((m.generation for m in self.members if m.generation is not None), default=None)

    @property
    def partitions(self) -> tuple[PartitionLag, ...]:
        """Every partition, whoever has it, once, in order."""
        all_of_them = {*self.unowned, *(p for member in self.members for p in member.partitions)}
        return tuple(sorted(all_of_them, key=lambda progress: progress.partition))


def total_lag(partitions: Iterable[PartitionLag]) -> int:
    """Return how many records are to be done, as far as it is known."""
    return sum(progress.lag or 0 for progress in partitions)


def read_members(said: Mapping[str, Any]) -> tuple[MemberDescription, ...]:
    """Return the members in a coordinator's answer about a group, its fields by name.

    Nothing is known of the offsets of their partitions yet. Bytes of a foreign member that cannot
    be read are told as ``unreadable``.
    """
    members = [_read_member(member, said["protocol_type"]) for member in said["members"]]
    return tuple(sorted(members, key=lambda member: (member.client_id, member.member_id)))


def _read_member(said: Mapping[str, Any], protocol_type: str) -> MemberDescription:
    topics: tuple[str, ...] = ()
    generation = NO_GENERATION
    owned: frozenset[TopicPartition] = frozenset()
    unreadable = None
    if protocol_type != CONSUMERS:
        unreadable = f"its protocol type is {protocol_type!r}"
    else:
        try:
            owned = decode_assignment(said["member_assignment"] or b"").partitions
            subscription = _subscription(said["member_metadata"] or b"")
            topics, generation = subscription.topics, subscription.generation
        except MalformedMetadata as error:
            unreadable = str(error)
    return MemberDescription(
        member_id=said["member_id"],
        client_id=said["client_id"],
        host=said["client_host"].removeprefix("/"),
        instance_id=said.get("group_instance_id"),
        topics=topics,
        generation=None if generation == NO_GENERATION else generation,
        partitions=tuple(map(PartitionLag, sorted(owned))),
        unreadable=unreadable,
    )


def _subscription(metadata: bytes) -> Subscription:
    # The coordinator leaves both out while the group rebalances.
    return decode_subscription(metadata) if metadata else Subscription(())


def partitions_at_stake(
    members: Iterable[MemberDescription],
    committed: Collection[TopicPartition],
    cluster: ClusterDescription,
) -> frozenset[TopicPartition]:
    """Return the partitions of all topics that are subscribed to, owned from, or have an offset.

    A partition with an offset counts also when its topic has been deleted.
    """
    held = {progress.partition for member in members for progress in member.partitions}
    topics = {topic for member in members for topic in member.topics}
    topics.update(partition.topic for partition in held.union(committed))
    existing = {
        TopicPartition(name, partition.partition)
        for name, topic in cluster.only(topics).topics.items()
        for partition in topic.partitions
    }
    return frozenset(existing.union(held, committed))


def with_offsets(
    members: Iterable[MemberDescription], known: Mapping[TopicPartition, PartitionLag]
) -> tuple[tuple[MemberDescription, ...], tuple[PartitionLag, ...]]:
    """Return the members with what is known of their partitions, and what nobody owns, in order."""
    complete = tuple(
        replace(member, partitions=tuple(known[here.partition] for here in member.partitions))
        for member in members
    )
    owned = {here.partition for member in complete for here in member.partitions}
    return complete, tuple(known[partition] for partition in sorted(known.keys() - owned))
