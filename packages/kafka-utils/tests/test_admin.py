"""Topics and brokers as the Admin sees them, by a client that answers from a script."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    InvalidReplicationFactorError,
    NodeNotReadyError,
    NoError,
    NotControllerError,
    RequestTimedOutError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import OffsetAndMetadata

import kafka_utils.admin
from kafka_utils import Admin, ConfigurationError, Created, TopicCreationError, TopicSpec

OK = 0
EXISTS = TopicAlreadyExistsError.errno
NOT_CONTROLLER = NotControllerError.errno
OUT_OF_TIME = RequestTimedOutError.errno
BAD_REPLICATION = InvalidReplicationFactorError.errno
DENIED = TopicAuthorizationFailedError.errno


class ScriptedClient:
    """Answers each request by the next answer of a script; an exception is raised."""

    opened = 0
    closed = 0
    script: list[Any] = []  # noqa: RUF012 - each test sets its own
    asked: list[Any] = []  # noqa: RUF012 - likewise

    def __init__(self, **_: Any) -> None:
        pass

    async def start(self) -> None:
        type(self).opened += 1

    async def close(self) -> None:
        type(self).closed += 1

    async def answer(self, *request: Any, **_: Any) -> Any:
        self.asked.append(request)
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    create_topics = describe_topics = _send_request = list_consumer_group_offsets = answer


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[ScriptedClient]:
    class Client(ScriptedClient):
        asked: list[Any] = []  # noqa: RUF012 - this test's own

    monkeypatch.setattr(kafka_utils.admin, "AIOKafkaAdminClient", Client)
    monkeypatch.setattr(kafka_utils.admin, "keep_first_connection", lambda _, **__: None)
    monkeypatch.setattr(kafka_utils.admin, "_BACKOFF_SECONDS", 0)
    return Client


def admin(request_timeout_ms: int = 30_000) -> Admin:
    return Admin(("localhost:9092",), request_timeout_ms=request_timeout_ms)


def spec(name: str) -> TopicSpec:
    return TopicSpec(name=name, partitions=12, replication=3)


def topic(name: str, partitions: int) -> dict[str, Any]:
    return {"topic": name, "partitions": [{}] * partitions}


def response(*errors: tuple[Any, ...]) -> SimpleNamespace:
    return SimpleNamespace(topic_errors=errors)


async def test_topics_are_counted_without_naming_them_to_the_brokers(
    client: type[ScriptedClient],
) -> None:
    client.script = [[topic("webhook", 100), topic("other", 1)]] * 2

    async with admin() as cluster:
        counts = await cluster.partition_counts(["webhook", "missing"])
        of_all = await cluster.partition_counts()

    assert counts == {"webhook": 100}
    assert of_all == {"webhook": 100, "other": 1}
    assert client.asked == [(), ()]
    assert client.closed == client.opened == 1


async def test_brokers_and_topics_are_listed(client: type[ScriptedClient]) -> None:
    client.script = [SimpleNamespace(brokers=[1, 2, 3]), [topic("webhook", 100)]]

    async with admin() as cluster:
        assert await cluster.brokers() == 3
        assert await cluster.list_topics() == {"webhook"}


async def test_a_topic_that_exists_is_not_an_error(client: type[ScriptedClient]) -> None:
    client.script = [response(("old", EXISTS, "Topic 'old' already exists."), ("new", OK, None))]

    async with admin() as cluster:
        created = await cluster.create([spec("new"), spec("old")])

    assert created == Created(created=("new",), existing=("old",))


async def test_a_topic_is_created_as_specified(client: type[ScriptedClient]) -> None:
    client.script = [response(("webhook", OK, None))]
    wanted = TopicSpec(
        name="webhook", partitions=100, replication=3, configs={"min.insync.replicas": "2"}
    )

    async with admin() as cluster:
        await cluster.create([wanted])

    ((sent,),) = client.asked[0]
    assert (sent.name, sent.num_partitions, sent.replication_factor) == ("webhook", 100, 3)
    assert sent.topic_configs == {"min.insync.replicas": "2"}


async def test_a_refused_topic_is_named_with_its_reason(client: type[ScriptedClient]) -> None:
    client.script = [
        response(
            ("a", BAD_REPLICATION, "Replication factor: 3 larger than available brokers: 1."),
            ("b", OK, None),
            ("c", DENIED),
            ("d", EXISTS, None),
        )
    ]

    async with admin() as cluster:
        with pytest.raises(TopicCreationError) as caught:
            await cluster.create(map(spec, "abcd"))

    assert caught.value.failures.keys() == {"a", "c"}
    assert caught.value.created == ("b",)
    assert caught.value.existing == ("d",)
    assert str(caught.value).startswith(
        "topic 'a' was not created: Replication factor: 3 larger than available brokers: 1. "
        "(InvalidReplicationFactorError); topic 'c' was not created: "
    )


async def test_nothing_is_asked_for_no_topics(client: type[ScriptedClient]) -> None:
    async with admin() as cluster:
        assert await cluster.create([]) == Created(created=(), existing=())

    assert client.asked == []


@pytest.mark.parametrize(
    "failure",
    [
        NodeNotReadyError(),
        TimeoutError(),
        response(("webhook", NOT_CONTROLLER, None)),
        response(("webhook", OUT_OF_TIME, None)),
    ],
    ids=["broker gone", "no answer", "controller moved", "still creating"],
)
async def test_a_passing_failure_is_asked_again_over_a_new_connection(
    client: type[ScriptedClient], failure: Any
) -> None:
    client.script = [failure, response(("webhook", OK, None))]

    async with admin() as cluster:
        created = await cluster.create([spec("webhook")])

    assert created.created == ("webhook",)
    assert client.closed == client.opened == 2


async def test_a_lasting_failure_is_raised_at_once(client: type[ScriptedClient]) -> None:
    client.script = [TopicAuthorizationFailedError("webhook")]

    async with admin() as cluster:
        with pytest.raises(TopicAuthorizationFailedError):
            await cluster.list_topics()

    assert client.closed == client.opened == 1


async def test_a_passing_failure_that_stays_is_raised_in_the_end(
    client: type[ScriptedClient],
) -> None:
    client.script = [NodeNotReadyError() for _ in range(10_000)]

    async with admin(request_timeout_ms=1) as cluster:
        with pytest.raises(NodeNotReadyError):
            await cluster.list_topics()


async def test_a_client_that_fails_to_start_is_closed(
    client: type[ScriptedClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: ScriptedClient) -> None:
        raise TopicAuthorizationFailedError

    monkeypatch.setattr(client, "start", fail)

    with pytest.raises(TopicAuthorizationFailedError):
        await admin().__aenter__()

    assert client.closed == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "a/b"}, "name"),
        ({"name": "."}, "name"),
        ({"partitions": 0}, "partitions"),
        ({"replication": -1}, "replication"),
    ],
)
def test_a_topic_that_cannot_exist_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        replace(spec("webhook"), **changes)

    assert [problem.field for problem in caught.value.problems] == [field]


A, B = TopicPartition("webhook", 0), TopicPartition("webhook", 1)


async def test_a_partition_without_a_committed_offset_is_told_from_one_with(
    client: type[ScriptedClient],
) -> None:
    client.script = [{A: OffsetAndMetadata(7, ""), B: OffsetAndMetadata(-1, "")}]

    async with admin() as cluster:
        assert await cluster.committed_offsets("group", [A, B]) == {A: 7, B: None}


@pytest.mark.parametrize(
    "refusal",
    [{}, {A: OffsetAndMetadata(7, "")}, NoError("no offset info")],
    ids=["as a whole", "for one partition", "for one partition, in aiokafka's words"],
)
async def test_a_coordinator_that_refuses_has_not_said_that_nothing_is_committed(
    client: type[ScriptedClient], refusal: Any
) -> None:
    client.script = [refusal, {A: OffsetAndMetadata(7, ""), B: OffsetAndMetadata(9, "")}]

    async with admin() as cluster:
        assert await cluster.committed_offsets("group", [A, B]) == {A: 7, B: 9}
