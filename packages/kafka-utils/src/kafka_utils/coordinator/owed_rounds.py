"""Finds out whether a static member that came back owes its group a round that nobody announces.

It ended after a plan had taken partitions from it, and before it joined without them. Back within
its session it is given that plan once more, by the coordinator, and nobody else starts the round
which is to give these partitions to others. Our leaders write into a plan that a round is to
follow, leaders of other kinds do not; but what no member has been given tells it as well.
"""

import asyncio
import logging
import random
from collections.abc import Callable

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from kafka_utils.assignors.consumer_protocol import MalformedMetadata, decode_assignment
from kafka_utils.coordinator import leader
from kafka_utils.coordinator.deadlines import backoff
from kafka_utils.coordinator.membership import Request, Trigger, judge
from kafka_utils.coordinator.messages import Transport
from kafka_utils.coordinator.rounds import Cluster

TRIES = 4
"""How often it is asked. A member that cannot find it out goes on; the group's next round mends
it."""

_log = logging.getLogger(__name__)


async def is_round_owed(
    transport: Transport, cluster: Cluster, group: str, goes_on: Callable[[], bool]
) -> bool:
    """Whether the group rests although partitions belong to nobody.

    ``goes_on`` says whether the generation of which this is asked is still the member's: with the
    next one nothing is owed any more.
    """
    for tries in range(1, TRIES + 1):
        try:
            await transport.find()
            return await _has_left_out(transport, cluster) and goes_on()
        except KafkaError as error:
            verdict = judge(Request.JOIN, error)
            if verdict.coordinator_moved:
                transport.forget(f"DescribeGroups: {type(error).__name__}")
            if verdict.trigger is not Trigger.CUT_OFF or tries == TRIES:
                _log.warning("group %r: whether a round is owed is not known: %r", group, error)
                return False
            await asyncio.sleep(backoff(tries, random.random()))
        if not goes_on():
            break
    return False


async def _has_left_out(transport: Transport, cluster: Cluster) -> bool:
    members = (await transport.describe()).members
    if members is None:
        return False  # A round is under way.
    wanted = leader.topics_of(
        leader.subscriptions({who: said for who, (said, _) in members.items()}).values()
    )
    given = frozenset[TopicPartition]().union(*(_read(plan) for _, plan in members.values()))
    counts = await cluster.partition_counts(wanted)
    return any(
        TopicPartition(topic, number) not in given
        for topic, count in counts.items()
        for number in range(count)
    )


def _read(plan: bytes) -> frozenset[TopicPartition]:
    try:
        return decode_assignment(plan).partitions
    except MalformedMetadata:
        return frozenset()  # Nobody can make anything of it.
