"""Asks a cluster what it has (brokers, topics, groups), creates topics, removes static members."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    KafkaConnectionError,
    KafkaError,
    NoError,
    NotControllerError,
    RequestTimedOutError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest

from kafka_utils.aiokafka_internals import any_broker, keep_first_connection, sender
from kafka_utils.config import Security, check_client
from kafka_utils.connection import reasons_unreachable, security_arguments
from kafka_utils.errors import TopicCreationError, UnreachableError
from kafka_utils.rules import Inspection

if TYPE_CHECKING:
    # Workers ask for offsets and topics, and never what a group looks like.
    from kafka_utils.group import GroupDescription
    from kafka_utils.group_questions import Removed
    from kafka_utils.topics import ClusterDescription

T = TypeVar("T")

_BACKOFF_SECONDS = 0.2

PASSING = (NotControllerError, RequestTimedOutError)
"""Answers that are not final: brokers that ran out of time have the topic a moment later."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """A topic that is to exist. Raises ConfigurationError if it cannot."""

    name: str
    partitions: int
    replication: int
    """On how many brokers each partition is stored."""
    configs: Mapping[str, str] = field(default_factory=dict)
    """The topic's own settings by Kafka's names, such as ``min.insync.replicas``."""

    def __post_init__(self) -> None:
        check = Inspection(self)
        check.legal_name("name")
        check.whole_number("partitions", "partitions")
        check.whole_number("replication", "replicas")
        check.conclude()


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """What became of topics that were to exist; the names are in the order of the request."""

    created: tuple[str, ...]
    existing: tuple[str, ...]
    """Topics that were there before, whatever their partitions and settings are."""


class Admin:
    """A connection for questions about the cluster; an async context manager.

    Entering raises UnreachableError with the reason for each server. Questions are asked again,
    over a new connection, while brokers fail in passing ways, for ``request_timeout_ms``; then the
    last error is raised.

    Raises ConfigurationError on construction, like the configuration values.
    """

    def __init__(
        self,
        bootstrap_servers: tuple[str, ...],
        client_id: str = "kafka-utils",
        request_timeout_ms: int = 30_000,
        security: Security | None = None,
    ) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.client_id = client_id
        self.request_timeout_ms = request_timeout_ms
        self.security = Security() if security is None else security
        check = Inspection(self)
        check_client(check)
        check.conclude()
        self._client: AIOKafkaAdminClient | None = None

    async def __aenter__(self) -> Self:
        try:
            self._client = await self._connect()
        except KafkaConnectionError as error:
            reasons = await reasons_unreachable(
                self.bootstrap_servers, self.client_id, self.security
            )
            raise UnreachableError(reasons) from error
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._disconnect()

    async def brokers(self) -> int:
        """Return how many brokers are alive."""
        return len((await self._ask(_without_topics)).brokers)

    async def cluster_id(self) -> str:
        """Return what tells this cluster from every other one, for as long as it exists."""
        return str((await self._ask(_without_topics)).cluster_id)

    async def list_topics(self) -> set[str]:
        """Return the names of all topics, Kafka's internal ones too."""
        return {topic["topic"] for topic in await self._describe()}

    async def partition_counts(self, topics: Iterable[str] | None = None) -> dict[str, int]:
        """Return how many partitions each of the topics has; a missing topic is left out.

        None means all topics, Kafka's internal ones too.

        Asking never creates a topic, whatever the brokers' ``auto.create.topics.enable`` is.
        """
        wanted = None if topics is None else set(topics)
        return {
            topic["topic"]: len(topic["partitions"])
            for topic in await self._describe()
            if wanted is None or topic["topic"] in wanted
        }

    async def create(self, specs: Iterable[TopicSpec]) -> Created:
        """Create the topics that do not exist yet.

        Brokers other than the controller learn of them a moment later.

        Raises TopicCreationError with the reason for each topic that was refused.
        """
        topics = [
            NewTopic(spec.name, spec.partitions, spec.replication, topic_configs=dict(spec.configs))
            for spec in specs
        ]
        if not topics:
            return Created(created=(), existing=())
        answers = await self._ask(lambda client: self._create(client, topics))
        created = tuple(t.name for t in topics if answers[t.name][0] is NoError)
        existing = tuple(t.name for t in topics if answers[t.name][0] is TopicAlreadyExistsError)
        there = {*created, *existing}
        failures = {t.name: answers[t.name][1] for t in topics if t.name not in there}
        if failures:
            raise TopicCreationError(failures, created, existing)
        return Created(created=created, existing=existing)

    async def committed_offsets(
        self, group_id: str, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int | None]:
        """Return the group's committed offset of each partition; None where it has none.

        Only a coordinator's own word counts. One that is loading or has moved refuses the request
        as a whole, which aiokafka's consumer (0.13, 0.14) takes for "nothing is committed"; here
        it is asked again.
        """
        wanted = list(partitions)
        found = await self._ask(lambda client: self._committed(client, group_id, wanted))
        return {here: None if found[here] < 0 else found[here] for here in wanted}

    async def topic_config(self, topic: str, names: Collection[str] = ()) -> dict[str, str] | None:
        """Return what is in force for the topic, by Kafka's names; None if there is no such topic.

        ``names`` are the settings that are wanted; without any, all are.

        Asking never creates it. Raises TopicAuthorizationFailedError without the right
        DescribeConfigs on it.
        """
        try:
            return await self._ask(
                lambda client: _config(client, ConfigResourceType.TOPIC, topic, names)
            )
        except _NoSuchTopicError:
            return None

    async def broker_config(self, names: Collection[str] = ()) -> dict[str, str]:
        """Return what is in force at one of the brokers, by Kafka's names, without its secrets.

        ``names`` are the settings that are wanted; without any, all are: hundreds.

        Raises ClusterAuthorizationFailedError without the right DescribeConfigs on the cluster.
        """

        async def ask(client: AIOKafkaAdminClient) -> dict[str, str]:
            return await _config(client, ConfigResourceType.BROKER, any_broker(client), names)

        return await self._ask(ask)

    async def topic_rights(self) -> dict[str, frozenset[str]]:
        """Return which of ``Read`` and ``Write`` the asker has on each topic that it may see.

        Both, where the brokers have no authorizer. Raises IncompatibleBrokerVersion with brokers
        before Kafka 2.3.
        """
        from kafka_utils.group_questions import topic_rights

        return await self._ask(lambda client: topic_rights(sender(client)))

    async def describe_topics(self, topics: Iterable[str] | None = None) -> "ClusterDescription":
        """Return the brokers, and who leads and stores the topics' partitions; None for all topics.

        A missing topic is left out, and asking never creates one.
        """
        from kafka_utils.group_questions import describe_cluster

        cluster = await self._ask(lambda client: describe_cluster(sender(client)))
        return cluster if topics is None else cluster.only(topics)

    async def describe_group(self, group_id: str) -> "GroupDescription":
        """Return the group's state, coordinator and members, and how far each has come.

        A group that does not exist is described too: see ``GroupDescription.exists``.
        """
        from kafka_utils.group_questions import describe_group

        return await self._ask(lambda client: describe_group(sender(client), group_id))

    async def remove_static_members(self, group_id: str, instance_ids: Iterable[str]) -> "Removed":
        """Take static members out of the group without waiting for their sessions to end.

        One that still runs is told by its next heartbeat and may join again. If the answer gets
        lost and is asked for again, members that are out already are among the unknown. Raises
        IncompatibleBrokerVersion with brokers before Kafka 2.4.
        """
        from kafka_utils.group_questions import remove_static_members

        wanted = tuple(instance_ids)
        return await self._ask(
            lambda client: remove_static_members(sender(client), group_id, wanted)
        )

    async def _committed(
        self, client: AIOKafkaAdminClient, group_id: str, wanted: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        try:
            answer = await client.list_consumer_group_offsets(group_id, partitions=wanted)
        except NoError as error:  # aiokafka's word for one partition that was refused
            raise GroupCoordinatorNotAvailableError(str(error)) from error
        missing = [here for here in wanted if here not in answer]
        if missing:
            raise GroupCoordinatorNotAvailableError(f"no word about {missing}")
        return {here: answer[here].offset for here in wanted}

    async def _create(
        self, client: AIOKafkaAdminClient, topics: list[NewTopic]
    ) -> dict[str, tuple[type[KafkaError], str]]:
        # aiokafka raises nothing here, whatever the brokers answer. They get half the time, so that
        # it is their answer which says that it took too long.
        response: Any = await client.create_topics(topics, timeout_ms=self.request_timeout_ms // 2)
        answers: dict[str, tuple[type[KafkaError], str]] = {}
        for name, code, *said in response.topic_errors:
            error = for_code(code)
            if error in PASSING:
                raise error(f"topic {name!r}")
            reason = said[0] if said and said[0] else getattr(error, "description", "")
            answers[name] = (error, f"{reason} ({error.__name__})")
        return answers

    async def _describe(self) -> list[Mapping[str, Any]]:
        # All topics: a request that names a missing one may make the brokers create it.
        return await self._ask(lambda client: client.describe_topics())

    async def _ask(self, question: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.request_timeout_ms / 1000
        while True:
            try:
                if self._client is None:
                    self._client = await self._connect()
                return await question(self._client)
            except (KafkaError, TimeoutError) as error:
                passing = isinstance(error, TimeoutError) or error.retriable
                if not passing or clock() >= deadline:
                    raise
                _log.info("the brokers are asked again after %r", error)
            await self._disconnect()
            await asyncio.sleep(_BACKOFF_SECONDS)

    async def _connect(self) -> AIOKafkaAdminClient:
        client = AIOKafkaAdminClient(
            bootstrap_servers=list(self.bootstrap_servers),
            client_id=self.client_id,
            request_timeout_ms=self.request_timeout_ms,
            **security_arguments(self.security),
        )
        keep_first_connection(client)
        try:
            await client.start()
        except BaseException:
            await client.close()
            raise
        return client

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


async def _without_topics(client: AIOKafkaAdminClient) -> Any:
    """The brokers' word about themselves; all topics with it, as aiokafka asks, would be much."""
    return await sender(client)(MetadataRequest([]), None)


class _NoSuchTopicError(KafkaError):
    """Not to be asked for again, as aiokafka's own is."""


async def _config(
    client: AIOKafkaAdminClient, kind: ConfigResourceType, name: str, wanted: Collection[str]
) -> dict[str, str]:
    answers: Any = await client.describe_configs(
        [ConfigResource(kind, name, dict.fromkeys(wanted))]
    )
    [answer] = answers
    [(code, reason, _, _, entries)] = answer.resources
    error = for_code(code)
    if error is UnknownTopicOrPartitionError:
        raise _NoSuchTopicError(name)
    if error is not NoError:
        raise error(reason or name)
    return {key: value for key, value, *_ in entries if value is not None}
