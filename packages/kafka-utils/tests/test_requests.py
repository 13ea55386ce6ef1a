"""Requests of a group's members byte by byte, and in which version a broker is given them."""

from io import BytesIO
from typing import Any

import pytest
from aiokafka import TopicPartition, errors
from aiokafka.errors import IncompatibleBrokerVersion, UnknownError, UnknownMemberIdError
from aiokafka.protocol.api import RequestStruct
from aiokafka.protocol.group import JoinGroupRequest, SyncGroupRequest
from aiokafka.structs import OffsetAndMetadata
from hypothesis import given
from hypothesis import strategies as st

from kafka_utils.requests import (
    DescribeGroupsRequest,
    FencedInstanceIdError,
    GroupMaxSizeReachedError,
    HeartbeatRequest,
    LeaveGroupRequest,
    LeavingMember,
    NegotiatedRequest,
    OffsetCommitRequest,
    OffsetFetchRequest,
    UnstableOffsetCommitError,
    for_code,
)

# Fields as they follow each other; a group "g", a member "m", an instance "i", a topic "t".
GROUP, MEMBER, INSTANCE, TOPIC = "0001 67", "0001 6d", "0001 69", "0001 74"
NULL_TEXT = "ffff"
EMPTY_TEXT = "0000"
HEARTBEAT, COMMIT, FETCH, LEAVE, DESCRIBE = 12, 8, 9, 13, 15

OFFSETS = {
    TopicPartition("t", 4): OffsetAndMetadata(9, "x"),
    TopicPartition("t", 2): OffsetAndMetadata(7, ""),
}
PARTITIONS = [TopicPartition("t", 2), TopicPartition("a", 1), TopicPartition("t", 0)]
STATIC = HeartbeatRequest(group="g", generation_id=5, member_id="m", group_instance_id="i")
DYNAMIC = HeartbeatRequest(group="g", generation_id=5, member_id="m")
STATIC_COMMIT = OffsetCommitRequest(
    group="g", offsets=OFFSETS, generation_id=5, member_id="m", group_instance_id="i"
)
DYNAMIC_COMMIT = OffsetCommitRequest(group="g", offsets=OFFSETS, generation_id=5, member_id="m")
ALL_FETCH = OffsetFetchRequest(group="g", partitions=None)
SOME_FETCH = OffsetFetchRequest(group="g", partitions=PARTITIONS)
STATIC_LEAVE = LeaveGroupRequest(
    group="g", members=[LeavingMember(group_instance_id="i"), LeavingMember("m")]
)
DYNAMIC_LEAVE = LeaveGroupRequest(group="g", members=[LeavingMember("m")])


def prepared(request: NegotiatedRequest[Any], version: int) -> RequestStruct:
    """Return it as it goes to a broker that knows all versions up to the given one."""
    struct: RequestStruct = request.prepare({request.API_KEY: (0, version)})
    return struct


def answer(request: NegotiatedRequest[Any], version: int, *fields: str) -> dict[str, Any]:
    """Return, by name, what the bytes of an answer say; all of them have to be used up."""
    data = BytesIO(bytes.fromhex("".join(fields)))
    response = prepared(request, version).RESPONSE_TYPE.decode(data)
    assert data.read() == b""
    return response.to_object()


@pytest.mark.parametrize(
    ("request_", "broker", "version", "fields"),
    [
        (STATIC, 3, 3, (GROUP, "00000005", MEMBER, INSTANCE)),
        (DYNAMIC, 4, 3, (GROUP, "00000005", MEMBER, NULL_TEXT)),
        (DYNAMIC, 2, 1, (GROUP, "00000005", MEMBER)),
        (
            STATIC_COMMIT,
            7,
            7,
            (
                *(GROUP, "00000005", MEMBER, INSTANCE, "00000001", TOPIC, "00000002"),
                *("00000002", "0000000000000007", "ffffffff", EMPTY_TEXT),
                *("00000004", "0000000000000009", "ffffffff", "0001 78"),
            ),
        ),
        (
            DYNAMIC_COMMIT,
            6,
            3,
            (
                *(GROUP, "00000005", MEMBER, "ffffffffffffffff", "00000001", TOPIC, "00000002"),
                *("00000002", "0000000000000007", EMPTY_TEXT),
                *("00000004", "0000000000000009", "0001 78"),
            ),
        ),
        (ALL_FETCH, 8, 7, ("02 67", "00", "01", "00")),
        (
            SOME_FETCH,
            7,
            7,
            (
                *("02 67", "03"),
                *("02 61", "02", "00000001", "00"),
                *("02 74", "03", "00000000", "00000002", "00"),
                *("01", "00"),
            ),
        ),
        (
            OffsetFetchRequest(group="g", partitions=[], require_stable=False),
            7,
            7,
            ("02 67", "01", "00", "00"),
        ),
        (ALL_FETCH, 6, 5, (GROUP, "ffffffff")),
        (ALL_FETCH, 4, 3, (GROUP, "ffffffff")),
        (ALL_FETCH, 2, 2, (GROUP, "ffffffff")),
        (
            SOME_FETCH,
            1,
            1,
            (
                *(GROUP, "00000002"),
                *("0001 61", "00000001", "00000001"),
                *(TOPIC, "00000002", "00000000", "00000002"),
            ),
        ),
        (STATIC_LEAVE, 5, 3, (GROUP, "00000002", EMPTY_TEXT, INSTANCE, MEMBER, NULL_TEXT)),
        (DYNAMIC_LEAVE, 2, 1, (GROUP, MEMBER)),
        (DescribeGroupsRequest(["g"]), 6, 4, ("00000001", GROUP, "00")),
        (DescribeGroupsRequest(["g"]), 3, 2, ("00000001", GROUP)),
    ],
)
def test_a_request_goes_out_in_the_highest_version_that_both_know(
    request_: NegotiatedRequest[Any], broker: int, version: int, fields: tuple[str, ...]
) -> None:
    struct = prepared(request_, broker)

    assert version == struct.API_VERSION
    assert struct.encode() == bytes.fromhex("".join(fields))


def test_only_a_compact_request_has_a_compact_header() -> None:
    compact = prepared(ALL_FETCH, 7).build_request_header(1, "c")
    plain = prepared(ALL_FETCH, 5).build_request_header(1, "c")

    assert compact.encode() == bytes.fromhex("0009 0007 00000001 0001 63 00")
    assert plain.encode() == bytes.fromhex("0009 0005 00000001 0001 63")


@pytest.mark.parametrize(
    ("request_", "versions"),
    [
        (STATIC, {HEARTBEAT: (0, 2)}),
        (STATIC_COMMIT, {COMMIT: (0, 6)}),
        (ALL_FETCH, {FETCH: (0, 1)}),
        (STATIC_LEAVE, {LEAVE: (0, 2)}),
        (LeaveGroupRequest(group="g", members=[LeavingMember("a")] * 2), {LEAVE: (0, 2)}),
        (LeaveGroupRequest(group="g", members=[]), {LEAVE: (0, 2)}),
        (DYNAMIC, {HEARTBEAT: (9, 9)}),
        (DYNAMIC_COMMIT, {COMMIT: (0, 1)}),
        (DescribeGroupsRequest(["g"]), {DESCRIBE: (9, 12)}),
        (DYNAMIC, {}),
    ],
    ids=[
        "heartbeat of a static member",
        "commit of a static member",
        "all offsets",
        "static members leave",
        "two members leave",
        "nobody leaves",
        "nothing that old is known here",
        "nothing that new is known there",
        "a description, from far away",
        "not known there at all",
    ],
)
def test_a_broker_that_supports_too_little_is_told_so_by_its_own_error(
    request_: NegotiatedRequest[Any], versions: dict[int, tuple[int, int]]
) -> None:
    with pytest.raises(IncompatibleBrokerVersion):
        request_.prepare(versions)


def test_the_answer_to_a_heartbeat() -> None:
    assert answer(STATIC, 3, "00000000", "0052") == {"throttle_time_ms": 0, "error_code": 82}


def test_the_answer_to_a_commit_says_what_became_of_each_partition() -> None:
    fields = ("00000000", "00000001", TOPIC, "00000001", "00000002", "001b")

    assert answer(STATIC_COMMIT, 7, *fields)["topics"] == [
        {"topic": "t", "partitions": [{"partition": 2, "error_code": 27}]}
    ]


@pytest.mark.parametrize(
    ("version", "fields"),
    [
        (
            7,
            (
                *("00000000", "02", "02 74", "02"),
                *("00000002", "0000000000000007", "00000003", "02 78", "0058", "00"),
                *("00", "0010", "00"),
            ),
        ),
        (
            5,
            (
                *("00000000", "00000001", TOPIC, "00000001"),
                *("00000002", "0000000000000007", "00000003", "0001 78", "0058"),
                "0010",
            ),
        ),
        (
            3,
            (
                *("00000000", "00000001", TOPIC, "00000001"),
                *("00000002", "0000000000000007", "0001 78", "0058"),
                "0010",
            ),
        ),
    ],
)
def test_an_answer_about_offsets_has_the_same_names_in_every_version(
    version: int, fields: tuple[str, ...]
) -> None:
    said = answer(ALL_FETCH, version, *fields)

    assert said["error_code"] == 16
    ((topic, (partition,)),) = [(said["topic"], said["partitions"]) for said in said["topics"]]
    assert topic == "t"
    assert (partition["partition"], partition["offset"]) == (2, 7)
    assert (partition["metadata"], partition["error_code"]) == ("x", 88)
    assert partition.get("leader_epoch", 3) == 3


def test_tagged_fields_of_a_later_broker_are_passed_over() -> None:
    tag = "01 05 02 ffff"
    said = answer(
        ALL_FETCH,
        7,
        *("00000000", "02", "02 74", "02"),
        *("00000002", "0000000000000007", "ffffffff", "00", "0000", tag),
        *(tag, "0000", tag),
    )

    assert said["error_code"] == 0
    assert said["topics"][0]["partitions"][0]["metadata"] is None


def test_the_answer_to_leaving_says_what_became_of_each_member() -> None:
    fields = (
        "00000000",
        "0000",
        "00000002",
        EMPTY_TEXT,
        INSTANCE,
        "0019",
        MEMBER,
        NULL_TEXT,
        "0000",
    )

    assert answer(STATIC_LEAVE, 3, *fields)["members"] == [
        {"member_id": "", "group_instance_id": "i", "error_code": 25},
        {"member_id": "m", "group_instance_id": None, "error_code": 0},
    ]


def test_a_description_names_the_instances_of_static_members() -> None:
    said = answer(
        DescribeGroupsRequest(["g"]),
        4,
        *("00000000", "00000001", "0000", GROUP, "0001 53", "0001 63", "0001 72"),
        *("00000002", MEMBER, INSTANCE, "0001 63", "0001 68", "00000001 aa", "00000001 bb"),
        *("0001 6e", NULL_TEXT, "0001 63", "0001 68", "00000000", "00000000"),
        "80000000",
    )

    (group,) = said["groups"]
    assert (group["state"], group["protocol_type"], group["protocol"]) == ("S", "c", "r")
    assert [member["group_instance_id"] for member in group["members"]] == ["i", None]
    assert group["members"][0]["member_metadata"] == b"\xaa"
    assert group["members"][0]["member_assignment"] == b"\xbb"


def test_aiokafka_reads_the_instances_of_those_who_join() -> None:
    request = JoinGroupRequest("g", 1, 2, "m", "i", "consumer", [("r", b"\xaa")])
    struct = request.prepare({11: (0, 5)})
    assert struct.encode() == bytes.fromhex(
        "".join((GROUP, "00000001", "00000002", MEMBER, INSTANCE, "0008", b"consumer".hex()))
        + "".join(("00000001", "0001 72", "00000001 aa"))
    )
    fields = (
        *("00000000", "0000", "00000005", "0001 72", MEMBER, MEMBER),
        *("00000002", MEMBER, INSTANCE, "00000001 aa", "0001 6e", NULL_TEXT, "00000000"),
    )
    data = BytesIO(bytes.fromhex("".join(fields)))
    read: Any = struct.RESPONSE_TYPE.decode(data)

    assert read.members == [("m", "i", b"\xaa"), ("n", None, b"")]
    assert data.read() == b""


def test_aiokafka_tells_the_instance_when_it_syncs() -> None:
    struct = SyncGroupRequest("g", 5, "m", "i", [("m", b"\xaa")]).prepare({14: (0, 3)})

    assert struct.encode() == bytes.fromhex(
        "".join((GROUP, "00000005", MEMBER, INSTANCE, "00000001", MEMBER, "00000001 aa"))
    )


@given(
    st.dictionaries(
        st.builds(TopicPartition, st.text(max_size=3), st.integers(0, 9)),
        st.builds(OffsetAndMetadata, st.integers(0, 2**63 - 1), st.text(max_size=3)),
    )
)
def test_every_offset_is_committed_once_whatever_their_order(
    offsets: dict[TopicPartition, OffsetAndMetadata],
) -> None:
    struct = prepared(OffsetCommitRequest(group="g", offsets=offsets), 7)
    read: Any = type(struct).decode(struct.encode())

    topics = [topic for topic, _ in read.topics]
    assert topics == sorted(set(topics))
    assert {
        TopicPartition(topic, partition): OffsetAndMetadata(offset, metadata)
        for topic, partitions in read.topics
        for partition, offset, _, metadata in partitions
    } == offsets


@pytest.mark.parametrize(
    ("code", "error", "retriable"),
    [
        (81, GroupMaxSizeReachedError, False),
        (82, FencedInstanceIdError, False),
        (88, UnstableOffsetCommitError, True),
        (25, UnknownMemberIdError, False),
        (0, errors.NoError, False),
        (9999, UnknownError, False),
    ],
)
def test_an_error_code_is_known_by_its_class(
    code: int, error: type[errors.BrokerResponseError], retriable: bool
) -> None:
    assert for_code(code) is error
    assert error.retriable is retriable
    assert issubclass(error, errors.KafkaError)


def test_an_error_speaks_for_itself() -> None:
    assert str(FencedInstanceIdError("member m")) == ("[Error 82] FencedInstanceIdError: member m")
