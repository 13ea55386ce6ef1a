"""What an assignor is: how one consumer takes part in sharing out a group's partitions."""

import abc
from collections.abc import Collection, Mapping
from typing import ClassVar, NamedTuple

from aiokafka import TopicPartition

from kafka_utils.assignors.consumer_protocol import Subscription


class Plan(NamedTuple):
    """Which member is to have which partitions, from now until the next rebalance."""

    assignment: Mapping[str, frozenset[TopicPartition]]
    """One entry for every member, also for one that gets nothing."""
    another_round: bool = False
    """Whether partitions are withheld until their owners have released them.

    A further rebalance follows such a plan at once: the owners ask for it.
    """


class Assignor(abc.ABC):
    """Shares out a group's partitions; one instance belongs to one consumer.

    All members of a group agree on one assignor by its ``name``. Each tells the group's leader what
    it wants (``subscription``), the leader decides for all of them (``plan``), and each learns what
    became of it (``on_assignment``).
    """

    name: ClassVar[str]
    """The name that the members agree upon, unique among assignors."""
    cooperative: ClassVar[bool] = False
    """Whether members go on with their partitions during a rebalance (KIP-429).

    A cooperative plan never gives a member what another one still holds. An eager one may, since
    every member has released everything before it joins.
    """

    @abc.abstractmethod
    def subscription(
        self,
        topics: Collection[str],
        owned: Collection[TopicPartition],
        generation: int,
        rack: str | None,
        *,
        relief: bool = False,
    ) -> bytes:
        """Return what this member tells the leader, as Kafka's ConsumerProtocolSubscription.

        ``owned`` is what the member holds now and ``generation`` the one in which it was a member
        last, -1 if it is new or has lost what it had. ``relief`` says that it means to leave, and
        would like a plan without it first; only a cooperative assignor is asked for that.
        """

    @abc.abstractmethod
    def plan(
        self, partition_counts: Mapping[str, int], members: Mapping[str, Subscription]
    ) -> Plan:
        """Decide, as the group's leader, who is to have what.

        ``partition_counts`` has the topics that exist; one that is missing gives nobody anything.
        Equal arguments give equal plans, whatever their order and whoever is asked.
        """

    def on_assignment(  # noqa: B027 - most assignors remember nothing
        self, assigned: Collection[TopicPartition], generation: int
    ) -> None:
        """Learn what this member was given, and in which generation of the group."""
