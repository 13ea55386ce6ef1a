"""The leader's work: from the members' bytes to a plan, and back to bytes."""

import logging
from collections.abc import Collection, Mapping

from kafka_utils.assignors.base import Assignor
from kafka_utils.assignors.consumer_protocol import (
    ANOTHER_ROUND,
    Assignment,
    MalformedMetadata,
    Subscription,
    decode_subscription,
    encode_assignment,
)

_log = logging.getLogger(__name__)


def subscriptions(members: Mapping[str, bytes]) -> dict[str, Subscription]:
    """Read what the members want. One that cannot be understood wants nothing, and gets nothing."""
    understood = {}
    for member_id, metadata in members.items():
        try:
            understood[member_id] = decode_subscription(metadata)
        except MalformedMetadata as error:
            _log.error("member %s is given nothing: %s", member_id, error)
            understood[member_id] = Subscription(topics=())
    return understood


def topics_of(members: Collection[Subscription]) -> frozenset[str]:
    """Return every topic that any member wants."""
    wanted = {topic for member in members for topic in member.topics}
    return frozenset(wanted)


def draw_up(
    assignor: Assignor, partition_counts: Mapping[str, int], members: Mapping[str, Subscription]
) -> dict[str, bytes]:
    """Decide who is to have what."""
    plan = assignor.plan(partition_counts, members)
    note = ANOTHER_ROUND if plan.another_round else None
    return {
        member_id: encode_assignment(Assignment(partitions, note))
        for member_id, partitions in plan.assignment.items()
    }
