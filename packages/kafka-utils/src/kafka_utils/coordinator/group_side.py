"""What aiokafka's consumer takes for its coordinator: puts a member's parts together."""

import asyncio
import random
from collections.abc import Collection, Mapping

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from kafka_utils.aiokafka_internals import IncrementalFetcher, IncrementalSubscription
from kafka_utils.assignors import registry
from kafka_utils.config import ConsumerConfig
from kafka_utils.coordinator.deadlines import Pulse, backoff
from kafka_utils.coordinator.member import GroupMember, MemberSettings
from kafka_utils.coordinator.membership import Reason
from kafka_utils.coordinator.messages import NOBODY
from kafka_utils.coordinator.positions import Positions
from kafka_utils.coordinator.reconciler import CANCEL_SECONDS, Reconciler
from kafka_utils.coordinator.transport import BrokerTransport, Member
from kafka_utils.coordinator.watched_topics import WatchedTopics
from kafka_utils.events import ConsumerEvents


class GroupSide:
    """One consumer's part in its group."""

    def __init__(
        self,
        config: ConsumerConfig,
        events: ConsumerEvents,
        client: AIOKafkaClient,
        subscription: IncrementalSubscription,
        fetcher: IncrementalFetcher,
    ) -> None:
        self._client = client
        self._request_seconds = config.request_timeout_ms / 1000
        self._subscription = subscription
        self._fetcher = fetcher
        transport = self._transport = BrokerTransport(client, _member(config), events)
        self._positions = Positions(transport, fetcher, events)
        self._reconciler = Reconciler(
            fetcher,
            lambda: subscription.listener,
            config.revoke_timeout_ms / 1000,
            events,
            self._released,
        )
        self._watched = WatchedTopics(
            client, subscription, self._topics_changed, lambda: self._member.leads
        )
        self._member = GroupMember(
            _settings(config),
            transport,
            self._reconciler,
            [registry.resolve(name) for name in config.assignors],
            self._watched,
            lambda: subscription.topics_wanted,
            lambda: subscription.fetcher_idle_time,
            events,
        )
        fetcher.look = self._member.look
        fetcher.unplaced = self._positions.look_up
        subscription.changed = self._subscribed
        client.cluster.add_listener(self._metadata)
        self._running = asyncio.create_task(self._run())

    # What aiokafka's consumer calls.

    def check_errors(self) -> None:
        """Raise the GroupError that has ended the membership for good."""
        if self._member.failure is not None:
            raise self._member.failure

    async def commit_offsets(
        self, _: object, offsets: Mapping[TopicPartition, OffsetAndMetadata]
    ) -> None:
        """Store offsets of partitions that are held; see ``Commits.commit``."""
        self.check_errors()
        if self._subscription.topics_wanted is None:
            # Assigned by hand: as nobody, which the group allows while it has no members.
            await self._commit_as_nobody(offsets)
            return
        await self._member.commits.commit(offsets)

    async def _commit_as_nobody(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        failures = 0
        async with asyncio.timeout(self._request_seconds):
            while True:
                try:
                    await self._transport.find()
                    await self._transport.commit(NOBODY, offsets)
                except KafkaError as error:
                    if not error.retriable:
                        raise
                    failures += 1
                    self._transport.forget(f"OffsetCommit: {type(error).__name__}")
                    await asyncio.sleep(backoff(failures, random.random()))
                else:
                    return

    async def fetch_committed_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return what the group has committed; partitions of which nothing is are left out."""
        return await self._positions.committed(partitions)

    async def joined(self) -> None:
        """Return at the first assignment."""
        self.check_errors()
        await self._subscription.first_assignment()

    async def relinquish(self) -> None:
        """Be relieved of all partitions, and leave the group."""
        await self._member.relinquish()

    async def unsubscribe(self) -> None:
        """Give up all partitions and leave the group, until something is subscribed again."""
        before = self._subscription.subscription
        await self._member.part()
        if self._subscription.subscription is before:
            self._subscription.end()
        else:
            self._member.want(Reason.SUBSCRIPTION)

    async def close(self) -> None:
        """Leave the group in order, or just take part no more when it is cancelled."""
        try:
            await self._member.leave()
        finally:
            # A member that is leaving joins no more: with its heartbeats alone nobody got its own.
            self._running.cancel()
            self._positions.close()
            self._watched.close()
            self._client.cluster.remove_listener(self._metadata)
        await self._reconciler.close()

    async def _run(self) -> None:
        await self._member.run()
        if self._member.failure is not None:
            self._subscription.fail(self._member.failure)

    def _released(self) -> None:
        self._member.released()

    def _subscribed(self) -> None:
        self._member.want(Reason.SUBSCRIPTION)

    def _topics_changed(self) -> None:
        if self._member.leads:
            self._member.want(Reason.METADATA)

    def _metadata(self, cluster: ClusterMetadata) -> None:
        self._subscription.match(cluster.topics())
        self._watched.look(cluster)


def _member(config: ConsumerConfig) -> Member:
    return Member(
        group_id=config.group_id,
        group_instance_id=config.group_instance_id,
        session_timeout_ms=config.session_timeout_ms,
        rebalance_timeout_ms=config.rebalance_timeout_ms,
        request_timeout_ms=config.request_timeout_ms,
    )


def _settings(config: ConsumerConfig) -> MemberSettings:
    pulse = Pulse(
        interval=config.heartbeat_interval_ms / 1000,
        session=config.session_timeout_ms / 1000,
        near=config.revoke_timeout_ms / 1000 + CANCEL_SECONDS,
    )
    return MemberSettings(
        group_id=config.group_id,
        group_instance_id=config.group_instance_id,
        rack=config.client_rack,
        pulse=pulse,
        request_seconds=config.request_timeout_ms / 1000,
        max_poll_seconds=config.max_poll_interval_ms / 1000,
    )
