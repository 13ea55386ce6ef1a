"""What is asked, and of which broker, to describe a group or to take static members out of it."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from aiokafka import TopicPartition
from aiokafka.errors import UnknownMemberIdError
from aiokafka.protocol.api import Request
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest

from kafka_utils.group import (
    GroupDescription,
    PartitionLag,
    partitions_at_stake,
    read_members,
    with_offsets,
)
from kafka_utils.requests import (
    DescribeGroupsRequest,
    LeaveGroupRequest,
    LeavingMember,
    OffsetFetchRequest,
    TopicRightsRequest,
    for_code,
)
from kafka_utils.topics import Broker, ClusterDescription, read_cluster

Send: TypeAlias = Callable[[Request[Any], int | None], Awaitable[Any]]
"""Sends a request to the broker of a node id (None: to any) and returns its answer."""

_OF_GROUPS = 0
_RIGHTS = {"Read": 3, "Write": 4}
"""Bits, by the codes of Kafka's ``AclOperation``."""
_ALL_TOPICS = None
_LOG_END = -1
_NO_REPLICA = -1
_READ_UNCOMMITTED = 0
_NOTHING_COMMITTED = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What became of static members that were to be removed, by their instance ids."""

    removed: tuple[str, ...]
    unknown: tuple[str, ...]
    """Instance ids that no member of the group has."""


async def describe_cluster(send: Send) -> ClusterDescription:
    """Return all brokers and topics. Asking for all never creates one."""
    answer = await send(MetadataRequest(_ALL_TOPICS), None)
    return read_cluster(answer.to_object())


async def topic_rights(send: Send) -> dict[str, frozenset[str]]:
    """Return which of Read and Write the asker has on each topic that it may see."""
    answer = (await send(TopicRightsRequest(), None)).to_object()
    return {
        topic["topic"]: frozenset(
            name for name, bit in _RIGHTS.items() if topic["authorized_operations"] >> bit & 1
        )
        for topic in answer["topics"]
    }


async def describe_group(send: Send, group_id: str) -> GroupDescription:
    """Return the group with its members and lag. Raises KafkaError if any part is refused."""
    cluster = await describe_cluster(send)
    found = await _find_coordinator(send, group_id)
    # The metadata tells the rack too.
    known_brokers = {broker.node_id: broker for broker in cluster.brokers}
    coordinator = known_brokers.get(found.node_id, found)
    answer = await send(DescribeGroupsRequest([group_id]), coordinator.node_id)
    (said,) = answer.to_object()["groups"]
    _check(said["error_code"], f"group {group_id!r}")
    # Offsets before log ends: what is committed in between would be a lag below zero.
    committed = await _committed(send, group_id, coordinator.node_id)
    members = read_members(said)
    at_stake = partitions_at_stake(members, committed, cluster)
    ends = await _log_ends(send, at_stake, cluster)
    known = {here: PartitionLag(here, committed.get(here), ends.get(here)) for here in at_stake}
    described, unowned = with_offsets(members, known)
    return GroupDescription(
        group_id=group_id,
        state=said["state"],
        coordinator=coordinator,
        leaders=cluster.leaders,
        protocol_type=said["protocol_type"],
        assignor=said["protocol"] or None,
        members=described,
        unowned=unowned,
    )


async def remove_static_members(send: Send, group_id: str, instance_ids: Iterable[str]) -> Removed:
    """Take the static members with these instance ids out of the group (KIP-345)."""
    leaving = [LeavingMember(group_instance_id=name) for name in dict.fromkeys(instance_ids)]
    if not leaving:
        return Removed(removed=(), unknown=())
    coordinator = await _find_coordinator(send, group_id)
    answer = await send(LeaveGroupRequest(group=group_id, members=leaving), coordinator.node_id)
    _check(answer.error_code, f"group {group_id!r}")
    removed, unknown = [], []
    for _, instance_id, code in answer.members:
        if for_code(code) is UnknownMemberIdError:
            unknown.append(instance_id)
        else:
            _check(code, f"member {instance_id!r} of group {group_id!r}")
            removed.append(instance_id)
    return Removed(removed=tuple(removed), unknown=tuple(unknown))


async def _find_coordinator(send: Send, group_id: str) -> Broker:
    answer = await send(FindCoordinatorRequest(group_id, _OF_GROUPS), None)
    _check(answer.error_code, f"the coordinator of group {group_id!r}")
    return Broker(node_id=answer.coordinator_id, host=answer.host, port=answer.port)


async def _committed(send: Send, group_id: str, node_id: int) -> dict[TopicPartition, int]:
    # An open transaction is no reason to wait: what was committed before is the answer.
    request = OffsetFetchRequest(group=group_id, partitions=None, require_stable=False)
    answer = (await send(request, node_id)).to_object()
    _check(answer["error_code"], f"the offsets of group {group_id!r}")
    offsets: dict[TopicPartition, int] = {}
    for topic in answer["topics"]:
        for said in topic["partitions"]:
            here = TopicPartition(topic["topic"], said["partition"])
            _check(said["error_code"], f"the offset of group {group_id!r} in {here}")
            if said["offset"] > _NOTHING_COMMITTED:
                offsets[here] = said["offset"]
    return offsets


async def _log_ends(
    send: Send, partitions: Iterable[TopicPartition], cluster: ClusterDescription
) -> dict[TopicPartition, int]:
    by_leader: defaultdict[int, defaultdict[str, list[tuple[int, int]]]]
    by_leader = defaultdict(lambda: defaultdict(list))
    leaders = cluster.leader_of_each()
    for here in sorted(partitions):
        leader = leaders.get(here)
        if leader is not None:
            by_leader[leader][here.topic].append((here.partition, _LOG_END))
    answers = await asyncio.gather(
        *(
            send(OffsetRequest(_NO_REPLICA, _READ_UNCOMMITTED, list(topics.items())), leader)
            for leader, topics in by_leader.items()
        )
    )
    return {here: end for answer in answers for here, end in _read_log_ends(answer.to_object())}


def _read_log_ends(said: Mapping[str, Any]) -> Iterable[tuple[TopicPartition, int]]:
    for topic in said["topics"]:
        for partition in topic["partitions"]:
            here = TopicPartition(topic["topic"], partition["partition"])
            _check(partition["error_code"], f"the log end of {here}")
            yield here, partition["offset"]


def _check(code: int, what: str) -> None:
    """Raise what the code stands for, unless it says that nothing is wrong."""
    if code:
        raise for_code(code)(what)
