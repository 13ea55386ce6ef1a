"""The canary: what is used of aiokafka beyond its public names, and the consumer made of it."""

import ast
import asyncio
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import Fetcher, FetchError, FetchResult
from aiokafka.consumer.subscription_state import (
    Assignment,
    SubscriptionState,
    TopicPartitionState,
)
from aiokafka.structs import BrokerMetadata

from kafka_utils import aiokafka_internals
from kafka_utils.aiokafka_internals import (
    IncrementalConsumer,
    IncrementalFetcher,
    IncrementalSubscription,
    first_connection,
    keep_first_connection,
    send_within,
    sender,
)
from kafka_utils.coordinator.transport import JOINS

A = TopicPartition("t", 0)

# What is called or overridden, with the signature that it must have and the reason why it is used.
METHODS: Final[list[tuple[type, str, str, str]]] = [
    (
        AIOKafkaAdminClient,
        "_send_request",
        "(self, request, node_id)",
        "requests without a method",
    ),
    (AIOKafkaClient, "_get_conn", "(self, node_id, *, group, no_hint)", "a timeout for joins"),
    (AIOKafkaClient, "send", "(self, node_id, request, *, group)", "the joins' own connection"),
    (AIOKafkaClient, "ready", "(self, node_id, *, group)", "the coordinator can be talked to"),
    (AIOKafkaClient, "coordinator_lookup", "(self, coordinator_type, coordinator_key)", "find"),
    (AIOKafkaClient, "set_topics", "(self, topics)", "the leader watches all topics"),
    (
        AIOKafkaClient,
        "_metadata_update",
        "(self, cluster_metadata, topics)",
        "no missing topic is ever named",
    ),
    (AIOKafkaClient, "bootstrap", "(self)", "closes its connection"),
    (AIOKafkaClient, "get_random_node", "(self)", "draws one by lot that is not connected"),
    (AIOKafkaClient, "_md_synchronizer", "(self)", "bootstrap is written again"),
    (AIOKafkaClient, "force_metadata_update", "(self)", "counts as of now"),
    (AIOKafkaConsumer, "_wait_topics", "(self)", "start is written again"),
    (AIOKafkaConsumer, "start", "(self)", "names its parts itself, and has no hook"),
    (AIOKafkaConsumer, "stop", "(self)", "closes nothing when cancelled"),
    (AIOKafkaConsumer, "unsubscribe", "(self)", "leaves without a word to the application"),
    (AIOKafkaConsumer, "assign", "(self, partitions)", "refused: the group assigns"),
    (ClusterMetadata, "add_listener", "(self, listener)", "topics that change"),
    (ClusterMetadata, "remove_listener", "(self, listener)", "topics that change"),
    (ClusterMetadata, "partitions_for_topic", "(self, topic)", "topics that change"),
    (ClusterMetadata, "topics", "(self, exclude_internal_topics)", "patterns"),
    (Fetcher, "close", "(self)", "lets a cancellation of its own through"),
    (Fetcher, "next_record", "(self, partitions)", "waits for an assignment"),
    (Fetcher, "fetched_records", "(self, partitions, timeout, max_records)", "the same"),
    (Fetcher, "_create_fetch_waiter", "(self)", "waiting for records"),
    (Fetcher, "_notify", "(self, future)", "waking the fetch loop"),
    (Fetcher, "_set_error", "(self, tp, error)", "errors for who asks for records"),
    (Fetcher, "_get_actions_per_node", "(self, assignment)", "nobody waits for anybody"),
    (Fetcher, "_proc_fetch_request", "(self, assignment, node_id, request)", "late answers"),
    (Fetcher, "_select_read_replica", "(self, tp)", "whom a long fetch is sent to"),
    (Fetcher, "_retrieve_offsets", "(self, timestamps, timeout_ms)", "resets of their own"),
    (FetchResult, "getall", "(self, max_records)", "handing over"),
    (FetchResult, "has_more", "(self)", "whose turn is next"),
    (FetchResult, "check_assignment", "(self, tp)", "a view decides whether an answer is late"),
    (FetchError, "check_raise", "(self)", "errors for who asks for records"),
    (SubscriptionState, "_change_subscription", "(self, subscription)", "ends the assignment"),
    (SubscriptionState, "_notify_assignment_waiters", "(self)", "a first plan"),
    (SubscriptionState, "_notify_subscription_waiters", "(self)", "other topics"),
    (SubscriptionState, "subscribe_from_pattern", "(self, topics)", "patterns"),
    (SubscriptionState, "wait_for_assignment", "(self)", "the first assignment"),
    (SubscriptionState, "abort_waiters", "(self, exc)", "a failure for good"),
    (SubscriptionState, "unsubscribe", "(self)", "the end of a subscription"),
    (SubscriptionState, "resume", "(self, tp)", "a resume hands over at once"),
    (SubscriptionState, "fetch_context", "(self)", "never notes the end of a cancelled call"),
    (Assignment, "__init__", "(self, topic_partitions)", "one assignment for life"),
    (Assignment, "_unassign", "(self)", "other partitions by hand"),
    (Assignment, "state_value", "(self, tp)", "the state of a partition"),
    (TopicPartitionState, "__init__", "(self, assignment)", "a partition begins"),
    (TopicPartitionState, "reset_to", "(self, position)", "placing"),
    (TopicPartitionState, "await_reset", "(self, strategy)", "the reset policy"),
]

# What an object must have, beyond its methods.
ATTRIBUTES: Final[dict[str, str]] = {
    "consumer": (
        "_client _loop _fetcher _coordinator _subscription _fetch_min_bytes _fetch_max_bytes "
        "_fetch_max_wait_ms _max_partition_fetch_bytes _check_crcs _consumer_timeout "
        "_retry_backoff_ms _auto_offset_reset _isolation_level _client_rack"
    ),
    "fetcher": (
        "_loop _subscriptions _records _fetch_waiters _wait_consume_future _closed _fetch_task "
        "_pending_tasks _default_reset_strategy error_future _in_flight _client _fetch_min_bytes "
        "_fetch_max_bytes _fetch_max_wait_ms _max_partition_fetch_bytes _isolation_level "
        "_client_rack"
    ),
    "subscription state": (
        "_subscription _subscribed_pattern _fetch_count _last_fetch_ended fetcher_idle_time "
        "listener _fetch_waiters"
    ),
    "subscription": "_assignment _reassignment_in_progress unsubscribe_future topics assignment",
    "assignment": "_topic_partitions _tp_state tps active unassign_future",
    "partition": (
        "_position_fut _resume_fut _committed_futs has_valid_position awaiting_reset "
        "reset_strategy paused"
    ),
    "connection": "_request_timeout _requests",
    "cluster": "_bootstrap_brokers",
    "producer": "client",
    "client": "_request_timeout_ms _conns _sync_task",
}

OURS: Final = {
    "_bootstrap",
    "_learn",
    "_keep",
    "_free_node",
    "_group_side",
    "_unsubscribing",
    "_shut",
    "_resets",
    "_states",
    "_take",
    "_is_open",
    "_raise",
    "_fail",
    "_drop",
    "_wake",
    "_reset",
    "_long",
    "_long_request",
    "_fetch_for_long",
    "_under_way",
    "_seen",
    "_since",
    "_bring",
}
"""Private names that are not aiokafka's: its classes must not begin to use them."""


def unordered(signature: inspect.Signature) -> str:
    """Return the names of the parameters, whatever their types and defaults are."""
    shown = [
        each.replace(annotation=inspect.Parameter.empty, default=inspect.Parameter.empty)
        for each in signature.parameters.values()
    ]
    return str(inspect.Signature(shown))


@pytest.mark.parametrize(
    ("owner", "name", "signature", "reason"),
    METHODS,
    ids=[f"{owner.__name__}.{name}" for owner, name, _, _ in METHODS],
)
def test_each_method_is_there_with_its_signature(
    owner: type, name: str, signature: str, reason: str
) -> None:
    assert unordered(inspect.signature(getattr(owner, name))) == signature, reason


@pytest.fixture
async def objects() -> Any:
    """One of aiokafka's own objects of each kind that is reached into."""
    state: Any = SubscriptionState()
    state.subscribe({"t"})
    state.assign_from_subscribed({A})
    stub: Any = SimpleNamespace(_loop=asyncio.get_running_loop(), _metadata_max_age_ms=1)
    stub.cluster = SimpleNamespace(leader_for_partition=lambda _: None)
    stub.force_metadata_update = asyncio.get_running_loop().create_future
    fetcher: Any = Fetcher(stub, state)
    await asyncio.sleep(0)  # It has begun to fetch, and made what it waits for.
    connection: Any = AIOKafkaConnection("127.0.0.1", 1)
    consumer: Any = AIOKafkaConsumer()
    producer: Any = AIOKafkaProducer()
    yield {
        "consumer": consumer,
        "fetcher": fetcher,
        "subscription state": state,
        "subscription": state.subscription,
        "assignment": state.subscription.assignment,
        "partition": state.subscription.assignment.state_value(A),
        "connection": connection,
        "producer": producer,
        "client": consumer._client,
        "cluster": consumer._client.cluster,
    }
    await fetcher.close()
    await consumer.stop()
    await producer.stop()


@pytest.mark.parametrize("kind", ATTRIBUTES)
async def test_each_attribute_is_there(objects: dict[str, Any], kind: str) -> None:
    missing = [name for name in ATTRIBUTES[kind].split() if not hasattr(objects[kind], name)]

    assert missing == []


async def test_no_private_name_of_ours_is_one_of_aiokafkas(objects: dict[str, Any]) -> None:
    taken = {name for each in objects.values() for name in dir(each)}

    assert OURS & taken == set()


def private_names() -> Iterator[str]:
    for path in Path(aiokafka_internals.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                yield node.attr
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name


def test_no_private_name_is_used_that_is_not_in_the_tables() -> None:
    stated = OURS | {name for _, name, _, _ in METHODS}
    for names in ATTRIBUTES.values():
        stated |= set(names.split())
    used = {name for name in private_names() if name[0] == "_" and not name.endswith("__")}

    assert used - stated == set()
    assert OURS - used == set()


def test_a_fetcher_is_made_as_aiokafka_makes_it() -> None:
    def given(owner: type, called: str) -> dict[str, str]:
        method: Any = owner.__dict__["start"]
        source = textwrap.dedent(inspect.getsource(method))
        (call,) = (
            node
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == called
        )
        return {word.arg or "": ast.unparse(word.value) for word in call.keywords}

    stock = given(AIOKafkaConsumer, "Fetcher")
    # Records are handed over as bytes.
    del stock["key_deserializer"], stock["value_deserializer"]

    assert given(IncrementalConsumer, "IncrementalFetcher") == stock


def test_what_a_consumer_asks_of_its_coordinator_is_known() -> None:
    asked = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(AIOKafkaConsumer).lstrip()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "_coordinator"
    }

    assert asked == {
        "check_errors",
        "close",
        "commit_offsets",
        "fetch_committed_offsets",
        # What is not asked of ours: in start, assign and unsubscribe, which are written again.
        "assign_all_partitions",
        "maybe_leave_group",
        "start_commit_offsets_refresh_task",
        # Set when a pattern is subscribed; ours looks at every new word of the brokers anyway.
        "_metadata_snapshot",
    }


async def test_a_connection_is_kept_by_any_name() -> None:
    client: Any = AIOKafkaClient()
    kept: Any = SimpleNamespace(connected=lambda: True, _request_timeout=40.0)
    client._conns[0, JOINS] = kept
    client._conns[0, ConnectionGroup.COORDINATION] = SimpleNamespace(connected=lambda: True)

    assert await client._get_conn(0, group=JOINS) is kept


async def test_one_connections_requests_may_take_longer_than_those_of_the_rest() -> None:
    joins, rest = SimpleNamespace(_request_timeout=40.0), SimpleNamespace(_request_timeout=40.0)
    sent: list[tuple[int, str, str]] = []

    class Client:
        async def _get_conn(self, node: int, *, group: str) -> Any:
            return joins if group == JOINS else rest

        async def send(self, node: int, request: str, *, group: str) -> str:
            sent.append((node, request, group))
            return "answer"

    client: Any = Client()

    assert await send_within(client, 2, "JoinGroup", JOINS, 65.0) == "answer"
    assert sent == [(2, "JoinGroup", JOINS)]
    assert (joins._request_timeout, rest._request_timeout) == (65.0, 40.0)


async def test_a_connections_timeout_is_read_for_each_request() -> None:
    connection: Any = AIOKafkaConnection("127.0.0.1", 1, request_timeout_ms=40_000)

    assert connection._request_timeout == 40.0
    assert "self._request_timeout)" in inspect.getsource(AIOKafkaConnection.send)


async def test_a_broker_that_cannot_be_connected_is_left_to_the_client() -> None:
    class Client:
        async def _get_conn(self, *_: Any, **__: Any) -> None:
            return None

        async def send(self, *_: Any, **__: Any) -> None:
            raise errors.NodeNotReadyError

    client: Any = Client()
    with pytest.raises(errors.NodeNotReadyError):
        await send_within(client, 0, "JoinGroup", JOINS, 65.0)


async def test_the_admin_client_sends_what_it_has_no_method_for() -> None:
    sent: list[tuple[str, int | None]] = []

    class Client:
        async def _send_request(self, request: str, node: int | None) -> str:
            sent.append((request, node))
            return "answer"

    client: Any = Client()

    assert await sender(client)("DescribeGroups", None) == "answer"
    assert sent == [("DescribeGroups", None)]


# The consumer.


class Group:
    """A group side that does nothing, slowly."""

    def __init__(self, *_: Any) -> None:
        self.calls: list[str] = []
        self.may_end = asyncio.Event()

    def check_errors(self) -> None:
        self.calls.append("check_errors")

    async def joined(self) -> None:
        self.calls.append("joined")

    async def close(self) -> None:
        self.calls.append("close")
        await self.may_end.wait()

    async def relinquish(self) -> None:
        self.calls.append("relinquish")

    async def unsubscribe(self) -> None:
        self.calls.append("unsubscribe")
        await self.may_end.wait()


@pytest.fixture
async def consumer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A consumer whose brokers are there, and have nothing to say."""

    async def nothing(_: Any) -> None:
        pass

    closed: list[bool] = []

    async def close(_: Any) -> None:
        closed.append(True)

    monkeypatch.setattr(first_connection, "_bootstrap", nothing)
    monkeypatch.setattr(AIOKafkaConsumer, "_wait_topics", nothing)
    monkeypatch.setattr(AIOKafkaClient, "close", close)
    consumer: Any = IncrementalConsumer(Group, group_id="g", auto_offset_reset="none")
    consumer.closed = closed
    yield consumer
    if consumer._coordinator is not None:
        consumer._coordinator.may_end.set()
    await consumer.stop()


async def test_a_consumer_that_has_subscribed_joins_at_the_start(consumer: Any) -> None:
    consumer.subscribe(["t"])
    await consumer.start()

    assert consumer._coordinator.calls == ["joined"]
    assert isinstance(consumer._fetcher, IncrementalFetcher)
    assert isinstance(consumer._subscription, IncrementalSubscription)


async def test_a_consumer_that_has_not_subscribed_waits_for_nothing(consumer: Any) -> None:
    await consumer.start()

    assert consumer._coordinator.calls == []


async def test_a_consumer_is_started_once(consumer: Any) -> None:
    await consumer.start()
    with pytest.raises(RuntimeError, match="started once"):
        await consumer.start()


async def test_the_end_of_fetching_is_the_task_that_fetches(consumer: Any) -> None:
    await consumer.start()

    assert consumer.fetching is consumer._fetcher.error_future
    assert not consumer.fetching.done()


async def test_all_is_closed_also_when_the_end_is_cancelled(consumer: Any) -> None:
    await consumer.start()
    stopping = asyncio.create_task(consumer.stop())
    await asyncio.sleep(0)
    assert consumer.closed == []
    stopping.cancel()
    with suppress(asyncio.CancelledError):
        await stopping

    assert consumer.closed
    assert consumer.fetching.done()


async def test_aiokafka_closes_no_connection_when_the_end_is_cancelled(consumer: Any) -> None:
    await consumer.start()
    stopping = asyncio.create_task(AIOKafkaConsumer.stop(consumer))
    await asyncio.sleep(0)
    stopping.cancel()
    with suppress(asyncio.CancelledError):
        await stopping

    assert consumer.closed == []


async def test_relinquishing_is_the_group_sides_work(consumer: Any) -> None:
    await consumer.relinquish()  # Not started: nothing to give up.
    await consumer.start()
    await consumer.relinquish()

    assert consumer._coordinator.calls == ["relinquish"]


async def test_unsubscribing_is_done_once_in_the_background(consumer: Any) -> None:
    consumer.subscribe(["t"])
    await consumer.start()
    consumer.unsubscribe()
    consumer.unsubscribe()
    await asyncio.sleep(0)

    assert consumer._coordinator.calls == ["joined", "unsubscribe"]


async def test_unsubscribing_before_the_start_is_done_at_once(consumer: Any) -> None:
    consumer.subscribe(["t"])
    consumer.unsubscribe()

    assert consumer.subscription() == frozenset()


async def test_partitions_assigned_by_hand_are_no_reason_to_join_the_group(consumer: Any) -> None:
    consumer.assign([A])

    assert consumer.assignment() == {A}
    assert consumer._subscription.topics_wanted is None


@pytest.mark.parametrize(
    ("connected", "owes", "chosen"),
    [(True, [], 1), (True, ["a fetch"], None), (False, [], None)],
)
async def test_what_any_broker_can_answer_goes_over_a_connection_that_owes_no_answer(
    connected: bool, owes: list[str], chosen: int | None
) -> None:
    admin: Any = AIOKafkaAdminClient()
    client = admin._client
    client.cluster._brokers = {node: BrokerMetadata(node, "b", node, None) for node in (1, 2)}
    connection = SimpleNamespace(connected=lambda: connected, _requests=owes)
    client._conns = {
        (1, ConnectionGroup.DEFAULT): connection,
        (2, "another channel"): SimpleNamespace(connected=lambda: True, _requests=[]),
    }
    client.get_random_node = lambda: None
    keep_first_connection(admin)

    assert client.get_random_node() == chosen
