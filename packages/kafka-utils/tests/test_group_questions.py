"""Which broker is asked what about a group, by brokers that answer from a script."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    IncompatibleBrokerVersion,
    KafkaError,
    NotCoordinatorForGroupError,
    NotLeaderForPartitionError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.api import Request
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest

import kafka_utils.admin
from kafka_utils import Admin
from kafka_utils.assignors.consumer_protocol import (
    Assignment,
    Subscription,
    encode_assignment,
    encode_subscription,
)
from kafka_utils.group import PartitionLag
from kafka_utils.group_questions import Removed, describe_group, remove_static_members
from kafka_utils.requests import (
    DescribeGroupsRequest,
    FencedInstanceIdError,
    LeaveGroupRequest,
    OffsetFetchRequest,
)
from kafka_utils.topics import Broker

OK, FORBIDDEN_GROUP, FORBIDDEN_TOPIC, UNKNOWN_MEMBER, FENCED = 0, 30, 29, 25, 82
LOADING, NO_COORDINATOR, NOT_COORDINATOR, NOT_LEADER = 14, 15, 16, 6
COORDINATOR = 2
NOT_THROTTLED = 0
KAFKA_2_8 = {2: (0, 6), 3: (0, 11), 9: (0, 7), 10: (0, 3), 13: (0, 4), 15: (0, 5)}
KAFKA_2_3 = {2: (0, 5), 3: (0, 8), 9: (0, 5), 10: (0, 2), 13: (0, 2), 15: (0, 3)}

MEMBER = (
    "m",
    "pod-1-0",
    "worker",
    "/10.0.0.1",
    encode_subscription(Subscription(("webhook",), generation=3)),
    encode_assignment(Assignment(frozenset({TopicPartition("webhook", 0)}))),
)
NO_OPERATIONS = -(2**31)


def metadata(leaders: dict[int, int]) -> tuple[Any, ...]:
    """Brokers 1 and 2, and a topic whose partitions have these leaders."""
    partitions: list[Any] = [
        (OK, number, leader, [1, 2], [1, 2], []) for number, leader in leaders.items()
    ]
    return (
        NOT_THROTTLED,
        [(1, "one", 9092, "az-1"), (2, "two", 9092, "az-2")],
        "cluster",
        1,
        [(OK, "webhook", False, partitions)],
    )


@dataclass(slots=True)
class Brokers:
    """Answers each kind of request by what is set here, in the version that was settled."""

    versions: dict[int, tuple[int, int]] = field(default_factory=lambda: KAFKA_2_8)
    leaders: dict[int, int] = field(default_factory=lambda: {0: 1, 1: 2, 2: 2})
    coordinator: tuple[Any, ...] = (NOT_THROTTLED, OK, None, COORDINATOR, "two", 9092)
    group: tuple[Any, ...] = (OK, "g", "Stable", "consumer", "sticky", [MEMBER], NO_OPERATIONS)
    committed: dict[int, tuple[int, int]] = field(default_factory=lambda: {0: (5, OK), 1: (7, OK)})
    committed_code: int = OK
    ends: dict[int, int] = field(default_factory=lambda: {0: 8, 1: 9, 2: 4})
    end_code: int = OK
    left: tuple[Any, ...] = (NOT_THROTTLED, OK, [])
    asked: list[tuple[type[Request[Any]], int | None]] = field(default_factory=list)
    sent: list[Any] = field(default_factory=list)

    async def send(self, request: Request[Any], node_id: int | None) -> Any:
        self.asked.append((type(request), node_id))
        struct = request.prepare(self.versions)
        self.sent.append(struct)
        answer = struct.RESPONSE_TYPE(*self._fields(request, struct))
        return type(answer).decode(answer.encode())

    def _fields(self, request: Request[Any], struct: Any) -> tuple[Any, ...]:
        match request:
            case MetadataRequest():
                return metadata(self.leaders)
            case FindCoordinatorRequest():
                return self.coordinator
            case DescribeGroupsRequest():
                return NOT_THROTTLED, [self.group]
            case OffsetFetchRequest():
                partitions: list[Any] = [
                    (number, offset, -1, "", code, {})
                    for number, (offset, code) in self.committed.items()
                ]
                topics: list[Any] = [("webhook", partitions, {})] if partitions else []
                return NOT_THROTTLED, topics, self.committed_code, {}
            case OffsetRequest():
                wanted = [(topic, numbers) for topic, numbers in struct.topics]
                return NOT_THROTTLED, [
                    (topic, [(n, self.end_code, -1, self.ends[n]) for n, _ in numbers])
                    for topic, numbers in wanted
                ]
            case _:
                return self.left


def lag(partition: int, committed: int | None, log_end: int | None) -> PartitionLag:
    return PartitionLag(TopicPartition("webhook", partition), committed, log_end)


async def test_a_group_is_put_together_from_its_coordinator_and_the_leaders() -> None:
    brokers = Brokers()

    group = await describe_group(brokers.send, "g")

    assert (group.group_id, group.state, group.assignor) == ("g", "Stable", "sticky")
    assert group.coordinator == Broker(node_id=2, host="two", port=9092, rack="az-2")
    assert group.leaders == {1: 1, 2: 2}
    (member,) = group.members
    assert (member.instance_id, member.topics) == ("pod-1-0", ("webhook",))
    assert member.partitions == (lag(0, 5, 8),)
    assert group.unowned == (lag(1, 7, 9), lag(2, None, 4))
    assert group.generation == 3
    assert brokers.asked == [
        (MetadataRequest, None),
        (FindCoordinatorRequest, None),
        (DescribeGroupsRequest, COORDINATOR),
        (OffsetFetchRequest, COORDINATOR),
        (OffsetRequest, 1),
        (OffsetRequest, 2),
    ]


async def test_all_offsets_are_asked_for_without_waiting_for_transactions() -> None:
    brokers = Brokers()

    await describe_group(brokers.send, "g")

    (fetch,) = (struct for struct in brokers.sent if struct.API_KEY == OffsetFetchRequest.API_KEY)
    assert (fetch.topics, fetch.require_stable) == (None, False)


async def test_a_coordinator_that_the_metadata_lacks_is_told_as_it_was_found() -> None:
    brokers = Brokers(coordinator=(NOT_THROTTLED, OK, None, 7, "seven", 9099))

    group = await describe_group(brokers.send, "g")

    assert group.coordinator == Broker(node_id=7, host="seven", port=9099)


async def test_a_group_that_does_not_exist_has_nothing() -> None:
    brokers = Brokers(group=(OK, "g", "Dead", "", "", [], NO_OPERATIONS), committed={})

    group = await describe_group(brokers.send, "g")

    assert (group.exists, group.assignor, group.members, group.unowned) == (False, None, (), ())
    assert OffsetRequest not in [kind for kind, _ in brokers.asked]


async def test_an_empty_group_has_its_offsets() -> None:
    brokers = Brokers(group=(OK, "g", "Empty", "consumer", "", [], NO_OPERATIONS))

    group = await describe_group(brokers.send, "g")

    assert group.unowned == (lag(0, 5, 8), lag(1, 7, 9), lag(2, None, 4))


async def test_an_offset_below_zero_is_none_at_all() -> None:
    brokers = Brokers(committed={0: (-1, OK)})

    group = await describe_group(brokers.send, "g")

    assert {here.committed for here in group.partitions} == {None}


async def test_the_end_of_a_log_without_a_leader_is_not_known() -> None:
    brokers = Brokers(leaders={0: 1, 1: -1, 2: 1})

    group = await describe_group(brokers.send, "g")

    assert [here.log_end for here in group.partitions] == [8, None, 4]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"coordinator": (0, NO_COORDINATOR, None, -1, "", -1)}, GroupCoordinatorNotAvailableError),
        ({"coordinator": (0, FORBIDDEN_GROUP, None, -1, "", -1)}, GroupAuthorizationFailedError),
        (
            {"group": (NOT_COORDINATOR, "g", "", "", "", [], NO_OPERATIONS)},
            NotCoordinatorForGroupError,
        ),
        ({"committed_code": LOADING, "committed": {}}, GroupLoadInProgressError),
        ({"committed": {0: (-1, FORBIDDEN_TOPIC)}}, TopicAuthorizationFailedError),
        ({"end_code": NOT_LEADER}, NotLeaderForPartitionError),
    ],
    ids=["no coordinator yet", "not allowed", "moved", "loading", "one offset", "a log's end"],
)
async def test_what_is_refused_is_never_taken_for_nothing(
    changes: dict[str, Any], error: type[KafkaError]
) -> None:
    with pytest.raises(error, match=r"group 'g'|webhook"):
        await describe_group(Brokers(**changes).send, "g")


async def test_static_members_are_removed_by_their_instance_ids() -> None:
    left = [("", "b", UNKNOWN_MEMBER), ("", "a", OK)]
    brokers = Brokers(left=(NOT_THROTTLED, OK, left))

    removed = await remove_static_members(brokers.send, "g", ["b", "a", "b"])

    assert removed == Removed(removed=("a",), unknown=("b",))
    assert brokers.asked == [(FindCoordinatorRequest, None), (LeaveGroupRequest, COORDINATOR)]
    assert brokers.sent[-1].members == [("", "b"), ("", "a")]


async def test_nobody_is_asked_to_remove_nobody() -> None:
    brokers = Brokers()

    assert await remove_static_members(brokers.send, "g", []) == Removed(removed=(), unknown=())
    assert brokers.asked == []


@pytest.mark.parametrize(
    ("left", "error"),
    [
        ((NOT_THROTTLED, NOT_COORDINATOR, []), NotCoordinatorForGroupError),
        ((NOT_THROTTLED, OK, [("", "a", FENCED)]), FencedInstanceIdError),
    ],
)
async def test_a_removal_that_is_refused_is_no_removal(
    left: tuple[Any, ...], error: type[KafkaError]
) -> None:
    with pytest.raises(error):
        await remove_static_members(Brokers(left=left).send, "g", ["a"])


async def test_brokers_too_old_for_static_members_are_named_as_such() -> None:
    with pytest.raises(IncompatibleBrokerVersion):
        await remove_static_members(Brokers(versions=KAFKA_2_3).send, "g", ["a"])


class Client:
    """An admin client that passes requests on to scripted brokers, once they can be reached."""

    def __init__(self, brokers: Brokers, failures: list[KafkaError]) -> None:
        self.brokers = brokers
        self.failures = failures

    def __call__(self, **_: Any) -> "Client":
        return self

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def _send_request(self, request: Request[Any], node_id: int | None = None) -> Any:
        if self.failures:
            raise self.failures.pop()
        return await self.brokers.send(request, node_id)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    client = Client(Brokers(), [])
    monkeypatch.setattr(kafka_utils.admin, "keep_first_connection", lambda _, **__: None)
    monkeypatch.setattr(kafka_utils.admin, "AIOKafkaAdminClient", client)
    monkeypatch.setattr(kafka_utils.admin, "_BACKOFF_SECONDS", 0)
    return client


async def test_an_admin_asks_again_while_the_coordinator_is_on_its_way(client: Client) -> None:
    client.failures = [NotCoordinatorForGroupError(), GroupLoadInProgressError()]
    client.brokers.left = (NOT_THROTTLED, OK, [("", "a", OK)])

    async with Admin(("localhost:9092",)) as admin:
        described = await admin.describe_group("g")
        client.failures = [NotCoordinatorForGroupError()]
        removed = await admin.remove_static_members("g", iter(["a"]))

    assert described.stable
    assert removed.removed == ("a",)
    assert client.failures == []


async def test_an_admin_describes_the_topics_that_are_asked_for(client: Client) -> None:
    async with Admin(("localhost:9092",)) as admin:
        everything = await admin.describe_topics()
        some = await admin.describe_topics(["missing"])

    assert (list(everything.topics), list(some.topics)) == (["webhook"], [])
    assert everything.leaders == {1: 1, 2: 2}
    assert [struct.topics for struct in client.brokers.sent] == [None, None]
