"""Makes the plan of ``cooperative-sticky``: who is to have what, without what others still hold."""

from collections.abc import Collection, Mapping

from aiokafka import TopicPartition

from kafka_utils.assignors import sticky_balance
from kafka_utils.assignors.base import Plan
from kafka_utils.assignors.claims import Claims, settle_claims
from kafka_utils.assignors.consumer_protocol import Subscription


def draw_up(partition_counts: Mapping[str, int], members: Mapping[str, Subscription]) -> Plan:
    """Balance the group, then withhold from new owners what others still hold."""
    claims = settle_claims(partition_counts, members)
    target = _balanced(partition_counts, members, claims)
    assignment = {
        member: frozenset(
            partition for partition in target.get(member, ()) if claims.free_for(partition, member)
        )
        for member in members
    }
    planned = sum(map(len, target.values()))
    return Plan(assignment, another_round=planned > sum(map(len, assignment.values())))


def _balanced(
    partition_counts: Mapping[str, int], members: Mapping[str, Subscription], claims: Claims
) -> Mapping[str, Collection[TopicPartition]]:
    topics = {
        member: frozenset(t for t in subscription.topics if partition_counts.get(t, 0) > 0)
        for member, subscription in members.items()
        if not subscription.relief
    }
    taking_part = {member: wanted for member, wanted in topics.items() if wanted}
    different = set(taking_part.values())
    if len(different) > 1:
        from kafka_utils.assignors import general_balance  # Large, and few groups need it.

        return general_balance.balance(partition_counts, taking_part, claims.owner)
    partitions = [
        TopicPartition(topic, number)
        for topic in frozenset().union(*different)
        for number in range(partition_counts[topic])
    ]
    return sticky_balance.balance(partitions, taking_part, claims.owner)
