"""Requests to a group's coordinator in versions that aiokafka lacks, and the errors they bring.

They are sent like aiokafka's own, ``await client.send(node_id, request, group=...)``, and settle
for the highest version that the broker knows too. An answer's fields have the same names in every
version; ``answer.to_object()`` gives them by name where versions place them differently.

JoinGroup v5 and SyncGroup v3 of aiokafka carry the instance id already.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from aiokafka import errors
from aiokafka.errors import BrokerResponseError, IncompatibleBrokerVersion
from aiokafka.protocol.api import Request, RequestStruct
from aiokafka.protocol.commit import OffsetFetchRequest_v1
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from kafka_utils.request_schemas import (
    DescribeGroupsRequestV4,
    DescribeGroupsStruct,
    HeartbeatRequestV3,
    HeartbeatStruct,
    LeaveGroupRequestV3,
    LeaveGroupStruct,
    MetadataRequestV8,
    OffsetCommitRequestV7,
    OffsetCommitStruct,
    OffsetFetchRequestV7,
    OffsetFetchStruct,
)

T = TypeVar("T", bound=RequestStruct)
V = TypeVar("V")

_NO_EPOCH = -1
_BROKERS_RETENTION = -1
_NO_TAGS: Mapping[int, bytes] = {}


class GroupMaxSizeReachedError(BrokerResponseError):
    """The group has as many members as the brokers' ``group.max.size`` allows (KIP-389)."""

    errno = 81
    message = "GROUP_MAX_SIZE_REACHED"
    description = "The group has as many members as the brokers allow"


class FencedInstanceIdError(BrokerResponseError):
    """Another member has joined with this member's instance id; this one is out (KIP-345)."""

    errno = 82
    message = "FENCED_INSTANCE_ID"
    description = "Another member has joined with the same group instance id"


class UnstableOffsetCommitError(BrokerResponseError):
    """A transaction that commits the offset is still open: ask again (KIP-447)."""

    errno = 88
    message = "UNSTABLE_OFFSET_COMMIT"
    description = "A transaction that commits the offset is still open"
    retriable = True


_OURS: Mapping[int, type[BrokerResponseError]] = {
    error.errno: error
    for error in (GroupMaxSizeReachedError, FencedInstanceIdError, UnstableOffsetCommitError)
}


def for_code(error_code: int) -> type[BrokerResponseError]:
    """Return the class of an error code, aiokafka's or this module's; UnknownError if neither."""
    return _OURS.get(error_code) or errors.for_code(error_code)


class NegotiatedRequest(Request[T]):
    """A request that raises IncompatibleBrokerVersion when sent to a broker that cannot take it."""

    API_KEY = -1  # aiokafka asks for one of every class; the real ones are below

    def prepare(self, versions: dict[int, tuple[int, int]]) -> T:
        """Return the request in the highest version that the broker, too, supports."""
        try:
            return super().prepare(versions)
        except NotImplementedError as error:
            raise IncompatibleBrokerVersion(
                f"{type(self).__name__}: the broker supports versions "
                f"{versions[self.API_KEY]}, none of which is known here"
            ) from error


def _needs(version: int, request: object, why: str) -> IncompatibleBrokerVersion:
    return IncompatibleBrokerVersion(f"{why} needs {type(request).__name__} v{version}")


def _by_topic(values: Iterable[tuple[TopicPartition, V]]) -> list[tuple[str, list[V]]]:
    topics: defaultdict[str, list[V]] = defaultdict(list)
    for partition, value in sorted(values, key=lambda pair: pair[0]):
        topics[partition.topic].append(value)
    return list(topics.items())


class HeartbeatRequest(NegotiatedRequest[HeartbeatStruct]):
    """A member's sign of life. A static one needs v3, a dynamic one any version.

    The answer has ``error_code``.
    """

    API_KEY = 12

    def __init__(
        self,
        *,
        group: str,
        generation_id: int,
        member_id: str,
        group_instance_id: str | None = None,
    ) -> None:
        self.group = group
        self.generation_id = generation_id
        self.member_id = member_id
        self.group_instance_id = group_instance_id

    def build(self, request_struct_class: type[HeartbeatStruct]) -> HeartbeatStruct:
        """Return the request in the given version."""
        fields = (self.group, self.generation_id, self.member_id)
        if issubclass(request_struct_class, HeartbeatRequestV3):
            return request_struct_class(*fields, self.group_instance_id)
        if self.group_instance_id is not None:
            raise _needs(3, self, "a static member")
        return request_struct_class(*fields)


class OffsetCommitRequest(NegotiatedRequest[OffsetCommitStruct]):
    """Stores a group's offsets. A static member needs v7, everybody else any version.

    The answer has ``topics`` of (topic, partitions of (partition, error_code)). The brokers'
    ``offsets.retention.minutes`` says how long offsets are kept; leader epochs are not stored.
    """

    API_KEY = 8

    def __init__(
        self,
        *,
        group: str,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        generation_id: int = -1,
        member_id: str = "",
        group_instance_id: str | None = None,
    ) -> None:
        self.group = group
        self.offsets = offsets
        self.generation_id = generation_id
        self.member_id = member_id
        self.group_instance_id = group_instance_id

    def build(self, request_struct_class: type[OffsetCommitStruct]) -> OffsetCommitStruct:
        """Return the request in the given version."""
        member = (self.group, self.generation_id, self.member_id)
        if issubclass(request_struct_class, OffsetCommitRequestV7):
            with_epochs = _by_topic(
                (here, (here.partition, kept.offset, _NO_EPOCH, kept.metadata))
                for here, kept in self.offsets.items()
            )
            return request_struct_class(*member, self.group_instance_id, with_epochs)
        if self.group_instance_id is not None:
            raise _needs(7, self, "a static member")
        topics = _by_topic(
            (here, (here.partition, kept.offset, kept.metadata))
            for here, kept in self.offsets.items()
        )
        return request_struct_class(*member, _BROKERS_RETENTION, topics)


class OffsetFetchRequest(NegotiatedRequest[OffsetFetchStruct]):
    """Asks for a group's committed offsets; of every partition that has one if none are named.

    Brokers before Kafka 2.5 know no ``require_stable`` and answer at once, as Java has it too.

    The answer has ``topics`` of (topic, partitions) and, from v2 on, an ``error_code`` for the
    whole: with that set, what it says of partitions (or leaves out) means nothing. An offset of -1
    says that none is committed.
    """

    API_KEY = 9

    def __init__(
        self,
        *,
        group: str,
        partitions: Collection[TopicPartition] | None,
        require_stable: bool = True,
    ) -> None:
        self.group = group
        self.partitions = partitions
        self.require_stable = require_stable

    def build(self, request_struct_class: type[OffsetFetchStruct]) -> OffsetFetchStruct:
        """Return the request in the given version."""
        topics: list[Any] | None = None
        if self.partitions is not None:
            topics = [*_by_topic((here, here.partition) for here in self.partitions)]
        if issubclass(request_struct_class, OffsetFetchRequestV7):
            tagged = None if topics is None else [(*topic, _NO_TAGS) for topic in topics]
            return request_struct_class(self.group, tagged, self.require_stable, _NO_TAGS)
        if topics is None and issubclass(request_struct_class, OffsetFetchRequest_v1):
            raise _needs(2, self, "naming no partitions")
        return request_struct_class(self.group, topics)


class LeavingMember(NamedTuple):
    """Who is to leave: a member by its id, or whoever has the instance id if that is empty."""

    member_id: str = ""
    group_instance_id: str | None = None


class LeaveGroupRequest(NegotiatedRequest[LeaveGroupStruct]):
    """Takes members out of a group. Only a single dynamic one can leave below v3.

    The answer has ``error_code`` and, in v3, ``members`` of (member_id, group_instance_id,
    error_code). Below v3 the first speaks of the member itself.
    """

    API_KEY = 13

    def __init__(self, *, group: str, members: Sequence[LeavingMember]) -> None:
        self.group = group
        self.members = members

    def build(self, request_struct_class: type[LeaveGroupStruct]) -> LeaveGroupStruct:
        """Return the request in the given version."""
        if issubclass(request_struct_class, LeaveGroupRequestV3):
            members = [(member.member_id, member.group_instance_id) for member in self.members]
            return request_struct_class(self.group, members)
        if any(member.group_instance_id is not None for member in self.members):
            raise _needs(3, self, "a static member")
        if len(self.members) != 1:
            raise _needs(3, self, "any number of members but one")
        return request_struct_class(self.group, self.members[0].member_id)


class DescribeGroupsRequest(NegotiatedRequest[DescribeGroupsStruct]):
    """Asks a coordinator what it knows of its groups. Instance ids are told from v4 on."""

    API_KEY = 15

    def __init__(self, groups: Sequence[str]) -> None:
        self.groups = groups

    def build(self, request_struct_class: type[DescribeGroupsStruct]) -> DescribeGroupsStruct:
        """Return the request in the given version."""
        if issubclass(request_struct_class, DescribeGroupsRequestV4):
            return request_struct_class(list(self.groups), False)
        return request_struct_class(list(self.groups))


class TopicRightsRequest(NegotiatedRequest[MetadataRequestV8]):
    """Asks for all topics, and what the asker may do with each; it never creates one."""

    API_KEY = 3

    def build(self, request_struct_class: type[MetadataRequestV8]) -> MetadataRequestV8:
        """Return the request in the given version."""
        return request_struct_class(None, False, False, True)
