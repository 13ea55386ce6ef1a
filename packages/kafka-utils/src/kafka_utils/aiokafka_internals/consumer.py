"""aiokafka's consumer, made of the parts beside this and of a coordinator of ours."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.structs import OffsetAndMetadata

from kafka_utils.aiokafka_internals.fetcher import IncrementalFetcher
from kafka_utils.aiokafka_internals.first_connection import keep_first_connection
from kafka_utils.aiokafka_internals.subscription import IncrementalSubscription


class GroupSide(Protocol):
    """What aiokafka's consumer asks of its coordinator."""

    def check_errors(self) -> None:
        """Raise what has ended the membership for good."""

    async def joined(self) -> None:
        """Return at the first assignment."""

    async def close(self) -> None:
        """Leave the group."""

    async def relinquish(self) -> None:
        """Be relieved of all partitions, and leave the group."""

    async def unsubscribe(self) -> None:
        """Give up all partitions and leave the group, until something is subscribed again."""


class IncrementalConsumer(AIOKafkaConsumer):
    """aiokafka's consumer with the parts of this module, and a coordinator of ours.

    ``start`` names aiokafka's own classes and has no hook for others, so it is written again.
    """

    def __init__(
        self,
        group_side: Callable[
            [AIOKafkaClient, IncrementalSubscription, IncrementalFetcher], GroupSide
        ],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        keep_first_connection(self)
        self._group_side = group_side
        self._unsubscribing: asyncio.Task[None] | None = None
        self._subscription: IncrementalSubscription = IncrementalSubscription(loop=self._loop)

    async def start(self) -> None:
        """Connect; if topics are subscribed already, join the group and wait for partitions."""
        if self._fetcher is not None:
            raise RuntimeError("a consumer is started once")
        await self._client.bootstrap()
        await self._wait_topics()
        self._fetcher = IncrementalFetcher(
            self._client,
            self._subscription,
            fetch_min_bytes=self._fetch_min_bytes,
            fetch_max_bytes=self._fetch_max_bytes,
            fetch_max_wait_ms=self._fetch_max_wait_ms,
            max_partition_fetch_bytes=self._max_partition_fetch_bytes,
            check_crcs=self._check_crcs,
            fetcher_timeout=self._consumer_timeout,
            retry_backoff_ms=self._retry_backoff_ms,
            auto_offset_reset=self._auto_offset_reset,
            isolation_level=self._isolation_level,
            client_rack=self._client_rack,
        )
        self._coordinator = self._group_side(self._client, self._subscription, self._fetcher)
        if self._subscription.topics_wanted is not None:
            await self._coordinator.joined()
        elif self._subscription.assigned() is not None:
            self._fetcher.unplaced(frozenset(self._subscription.assigned_partitions()))

    @property
    def fetching(self) -> asyncio.Future[Any]:
        """What ends, with its error, when the background fetching of a started consumer ends.

        It is not to be cancelled. Without it ``getmany`` just returns nothing for ever after.
        """
        fetcher: Any = self._fetcher
        failure: asyncio.Future[Any] = fetcher.error_future
        return failure

    def committed_at_start(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        """Return what the group had committed when this partition came, its metadata with it.

        It is what the coordinator said then, and so what this partition is read from. None if
        nothing was committed, if it is not known yet, or if the partition is not assigned.
        """
        fetcher: Any = self._fetcher
        found: OffsetAndMetadata | None = fetcher.committed_at_start.get(partition)
        return found

    async def committed_now(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, OffsetAndMetadata]:
        """Ask the coordinator what the group has committed, with its metadata.

        Partitions of which nothing is committed are left out. What may pass is tried again until it
        is known, so bound it in time. Raises KafkaError.
        """
        coordinator: Any = self._coordinator
        known: Mapping[TopicPartition, OffsetAndMetadata]
        known = await coordinator.fetch_committed_offsets(partitions)
        return known

    async def stop(self) -> None:
        """Give up every partition in order, leave the group and close every connection.

        When it is cancelled it takes part no more, fetches no more and closes every connection all
        the same, which aiokafka's own never comes to: the group waits for its session to end.
        """
        try:
            await super().stop()
        finally:
            try:
                if self._fetcher is not None:
                    await self._fetcher.close()
            finally:
                await self._client.close()

    async def relinquish(self) -> None:
        """Give up every partition in order and leave the group, delivering as long as possible.

        The group is asked to plan without this member, and the member goes on meanwhile: keep
        asking for records. Then ``on_partitions_revoked`` is called, and after it the group is
        left. ``stop`` does the same without asking first, so its partitions wait for the others to
        learn of it. Cancel it when it takes too long, and ``stop``.
        """
        if self._coordinator is not None:
            await self._coordinator.relinquish()

    def unsubscribe(self) -> None:
        """Give up every partition in order and leave the group, in the background."""
        if self._coordinator is None:
            self._subscription.end()  # aiokafka's own asks the coordinator, which is not there.
        elif self._unsubscribing is None or self._unsubscribing.done():
            self._unsubscribing = asyncio.create_task(self._coordinator.unsubscribe())

    def assign(self, partitions: Collection[TopicPartition]) -> None:
        """Read these without taking part in the group, and commit by it while it is empty."""
        self._subscription.assign_from_user(partitions)
        self._client.set_topics([here.topic for here in partitions])
        if self._fetcher is not None:
            self._fetcher.unplaced(frozenset(partitions))
