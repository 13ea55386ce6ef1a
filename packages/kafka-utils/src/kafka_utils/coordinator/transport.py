"""Carries a member's words to its coordinator over two connections: joins have one of their own.

A broker serves one request of a connection at a time, and holds a JoinGroup back until every member
has joined. What came behind it (a heartbeat, a commit) would wait as long, and be answered by the
next generation.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    KafkaError,
    MemberIdRequired,
    NodeNotReadyError,
    NoError,
)
from aiokafka.protocol.group import JoinGroupRequest, SyncGroupRequest
from aiokafka.structs import OffsetAndMetadata

from kafka_utils.aiokafka_internals import send_within
from kafka_utils.coordinator.deadlines import join_timeout
from kafka_utils.coordinator.messages import Described, Identity, Joined, MemberIdGiven
from kafka_utils.events import ConsumerEvents, CoordinatorChange, tell
from kafka_utils.requests import (
    DescribeGroupsRequest,
    HeartbeatRequest,
    LeaveGroupRequest,
    LeavingMember,
    OffsetCommitRequest,
    OffsetFetchRequest,
    for_code,
)

JOINS: Final = "joins"
"""The name of the connection for JoinGroup and SyncGroup."""

PROTOCOL_TYPE: Final = "consumer"
NO_OFFSET: Final = -1

STABLE: Final = "Stable"
"""The state of a group in which every member has its part of the plan."""


class Member(NamedTuple):
    """What a member tells its coordinator of itself; times in milliseconds."""

    group_id: str
    group_instance_id: str | None
    session_timeout_ms: int
    rebalance_timeout_ms: int
    request_timeout_ms: int


class BrokerTransport:
    """Speaks to the coordinator by aiokafka's client. It is a ``messages.Transport``."""

    def __init__(self, client: AIOKafkaClient, member: Member, events: ConsumerEvents) -> None:
        self._client = client
        self._member = member
        self._events = events
        self._node: int | None = None
        self._join_seconds = join_timeout(
            member.request_timeout_ms / 1000, member.rebalance_timeout_ms / 1000
        )

    async def find(self) -> None:
        """Find the coordinator, if it is not known; returns when it can be talked to."""
        if self._node is not None:
            return
        try:
            node: int = await self._client.coordinator_lookup(
                CoordinationType.GROUP, self._member.group_id
            )
        except (AssertionError, GroupCoordinatorNotAvailableError):
            # While a cluster is starting, it makes the offsets topic first.
            await self._client.force_metadata_update()
            raise GroupCoordinatorNotAvailableError from None
        if not await self._client.ready(node, group=JOINS):
            raise NodeNotReadyError(f"the coordinator is broker {node}, which cannot be connected")
        if self._node is None:
            self._node = node
            self._tell("found")

    def forget(self, reason: str) -> None:
        """The coordinator is another broker, or gone: the next ``find`` asks for it."""
        if self._node is not None:
            self._node = None
            self._tell(reason)

    async def join(
        self, member_id: str, protocols: Collection[tuple[str, bytes]]
    ) -> Joined | MemberIdGiven:
        """Join with a subscription for each assignor, by preference."""
        member = self._member
        request = JoinGroupRequest(
            member.group_id,
            member.session_timeout_ms,
            member.rebalance_timeout_ms,
            member_id,
            member.group_instance_id,  # type: ignore[arg-type]  # None is a dynamic member
            PROTOCOL_TYPE,
            list(protocols),
        )
        node = self._coordinator()
        joining = send_within(self._client, node, request, JOINS, self._join_seconds)
        if member_id or member.group_instance_id is not None:
            # The coordinator takes its time now: the other connection is made meanwhile.
            answer, _ = await asyncio.gather(
                joining, self._client.ready(node, group=ConnectionGroup.COORDINATION)
            )
        else:
            answer = await joining
        if for_code(answer.error_code) is MemberIdRequired:
            return MemberIdGiven(answer.member_id)
        _raise(answer.error_code)
        return Joined(
            identity=Identity(answer.member_id, answer.generation_id),
            leader_id=answer.leader_id,
            protocol=answer.group_protocol,
            members={who: metadata for who, *_, metadata in answer.members},
        )

    async def sync(self, identity: Identity, assignments: Mapping[str, bytes]) -> bytes:
        """Return this member's assignment; the leader brings that of every member."""
        request = SyncGroupRequest(
            self._member.group_id,
            identity.generation,
            identity.member_id,
            self._member.group_instance_id,  # type: ignore[arg-type]  # None is a dynamic member
            list(assignments.items()),
        )
        answer = await send_within(
            self._client, self._coordinator(), request, JOINS, self._join_seconds
        )
        _raise(answer.error_code)
        assignment: bytes = answer.member_assignment
        return assignment

    async def heartbeat(self, identity: Identity) -> None:
        """Tell that the member is alive."""
        answer = await self._send(
            HeartbeatRequest(
                group=self._member.group_id,
                generation_id=identity.generation,
                member_id=identity.member_id,
                group_instance_id=self._member.group_instance_id,
            )
        )
        _raise(answer.error_code)

    async def commit(
        self, identity: Identity, offsets: Mapping[TopicPartition, OffsetAndMetadata]
    ) -> None:
        """Store offsets; raises the first error if any partition was refused."""
        answer = await self._send(
            OffsetCommitRequest(
                group=self._member.group_id,
                offsets=offsets,
                generation_id=identity.generation,
                member_id=identity.member_id,
                group_instance_id=self._member.group_instance_id,
            )
        )
        for _, partitions in answer.topics:
            for _, error_code, *_ in partitions:
                _raise(error_code)

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, OffsetAndMetadata | KafkaError | None]:
        """Return what the group has committed of each partition; None for nothing.

        An error of the whole answer is raised: aiokafka takes it for "nothing is committed", and
        the reset policy then loses or repeats whole partitions.
        """
        request = OffsetFetchRequest(group=self._member.group_id, partitions=partitions)
        answer = (await self._send(request)).to_object()
        _raise(answer.get("error_code", 0))
        return {
            TopicPartition(topic["topic"], kept["partition"]): _kept(kept)
            for topic in answer["topics"]
            for kept in topic["partitions"]
        }

    async def leave(self, identity: Identity) -> None:
        """Leave the group, even while a join is pending."""
        request = LeaveGroupRequest(
            group=self._member.group_id,
            members=[LeavingMember(identity.member_id, self._member.group_instance_id)],
        )
        answer = (await self._send(request)).to_object()
        _raise(answer["error_code"])

    async def describe(self) -> Described:
        """Return what the coordinator says of the whole group."""
        answer = (await self._send(DescribeGroupsRequest([self._member.group_id]))).to_object()
        for group in answer["groups"]:
            _raise(group["error_code"])
            rests = group["state"] == STABLE
            members = {
                each["member_id"]: (each["member_metadata"], each["member_assignment"])
                for each in group["members"]
            }
            return Described(group["protocol"] or None, members if rests else None)
        return Described(None, None)

    async def _send(self, request: Any) -> Any:
        return await self._client.send(
            self._coordinator(), request, group=ConnectionGroup.COORDINATION
        )

    def _coordinator(self) -> int:
        if self._node is None:
            raise GroupCoordinatorNotAvailableError
        return self._node

    def _tell(self, reason: str) -> None:
        change = CoordinatorChange(node_id=self._node, reason=reason)
        tell(self._events.coordinator_changed, change)


def _kept(answer: Mapping[str, Any]) -> OffsetAndMetadata | KafkaError | None:
    error: type[KafkaError] = for_code(answer["error_code"])
    if error is not NoError:
        return error()
    offset = answer["offset"]
    return None if offset == NO_OFFSET else OffsetAndMetadata(offset, answer["metadata"] or "")


def _raise(error_code: int) -> None:
    error: type[KafkaError] = for_code(error_code)
    if error is not NoError:
        raise error
