"""Whose word about owning a partition counts, when members claim what others claim too."""

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from aiokafka import TopicPartition

from kafka_utils.assignors.consumer_protocol import Subscription


class Claims(NamedTuple):
    """What members own by right, out of what they say that they own."""

    owner: Mapping[TopicPartition, str]
    """The one member whose claim no other claim equals or beats."""
    disputed: frozenset[TopicPartition]
    """Claimed by several members in the same, highest generation: nobody's by right."""

    def free_for(self, partition: TopicPartition, member: str) -> bool:
        """Tell whether the member may have the partition at once: nobody else holds it by right."""
        return partition not in self.disputed and self.owner.get(partition, member) == member


def settle_claims(
    partition_counts: Mapping[str, int], members: Mapping[str, Subscription]
) -> Claims:
    """Decide between the members' claims (KIP-792, KAFKA-14639).

    The claim of the highest generation wins, and one that tells no generation is the lowest. A
    member whose claim is beaten has missed a rebalance in which the partition became another's. It
    will give it up when it learns of its assignment, but the partition is not withheld for its
    sake: the owner by right consumes it already, so there is nothing left to protect.

    Two claims of one generation are possible if a rebalance was cut short after only one of two
    members had learned of its assignment. Either may be the one that consumes, so both are void.

    Claims of an older generation hold where nobody contests them. What does not exist (a deleted
    topic, a partition beyond the count) cannot be claimed.
    """
    claimants: defaultdict[TopicPartition, list[str]] = defaultdict(list)
    for member, subscription in members.items():
        for claimed in subscription.owned:
            if 0 <= claimed.partition < partition_counts.get(claimed.topic, 0):
                claimants[claimed].append(member)
    owner, disputed = {}, set()
    for partition, claiming in claimants.items():
        highest = max(members[member].generation for member in claiming)
        rightful = [member for member in claiming if members[member].generation == highest]
        if len(rightful) == 1:
            owner[partition] = rightful[0]
        else:
            disputed.add(partition)
    return Claims(owner, frozenset(disputed))
