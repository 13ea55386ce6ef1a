"""Knows how many partitions topics have, and notices when that changes: the leader's duty."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping

from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata

from kafka_utils.aiokafka_internals import IncrementalSubscription
from kafka_utils.coordinator.deadlines import backoff

MOST_QUESTIONS = 4
"""How often a plan asks again for what the brokers do not seem to have (any more). Of what was just
made not every broker has heard, and a broker that was just started has heard of nothing: a plan
without it would take it from everybody."""

NEWS_SECONDS = 3.0
"""How long a plan of what is known already waits for the brokers' newest word: the one asked may be
silent. What it says later is seen as every change is."""

_log = logging.getLogger(__name__)


class WatchedTopics:
    """The topics that a group's members want. It is a ``member.Cluster``."""

    def __init__(
        self,
        client: AIOKafkaClient,
        subscription: IncrementalSubscription,
        changed: Callable[[], None],
        leads: Callable[[], bool],
    ) -> None:
        self._client = client
        self._subscription = subscription
        self._changed = changed
        self._leads = leads
        self._counts: dict[str, int] = {}
        self._planned: dict[str, int] = {}
        """What the newest plan was made of: the counts go on following what the brokers say."""
        self._question: asyncio.TimerHandle | None = None

    async def partition_counts(self, topics: frozenset[str]) -> Mapping[str, int]:
        """Return how many partitions these have as of now; watch them from now on.

        A topic that does not exist is left out, and seen soon after it is created.
        """
        expected = {topic: max(self._planned.get(topic, 1), self._count(topic)) for topic in topics}
        self._counts = {}  # What is heard from here on is in this plan already.
        await self._hear_of(topics)
        await self._ask_for(expected)
        self._planned = self._counts = {topic: self._count(topic) for topic in topics}
        self._ask_later(1)
        return {topic: count for topic, count in self._counts.items() if count}

    def look(self, _: ClusterMetadata) -> None:
        """See whether what is watched has changed, with each new word of the brokers."""
        if any(self._count(topic) != count for topic, count in self._counts.items()):
            self._counts = {topic: self._count(topic) for topic in self._counts}
            self._changed()

    def close(self) -> None:
        """Ask no more."""
        if self._question:
            self._question.cancel()

    async def _hear_of(self, topics: frozenset[str]) -> None:
        by_pattern = self._subscription.by_pattern
        if topics and not by_pattern:
            # By a pattern all are watched already; the named ones only would be from here on.
            self._client.set_topics(topics)
        if topics or by_pattern:
            # A member that was no leader until now knows what its last refresh told, long ago.
            await asyncio.wait({self._client.force_metadata_update()}, timeout=NEWS_SECONDS)

    async def _ask_for(self, expected: Mapping[str, int]) -> None:
        for number in range(1, MOST_QUESTIONS + 1):
            missing = sorted(topic for topic in expected if self._count(topic) < expected[topic])
            if not missing:
                return
            _log.info("not all brokers know (all) of %s (yet); they are asked again", missing)
            await asyncio.sleep(backoff(number, random.random()))
            await self._client.force_metadata_update()

    def _ask_later(self, number: int) -> None:
        """While a topic is missing, ask more often than the metadata's age would have it."""
        self.close()
        if not all(self._counts.values()):
            pause = backoff(number, random.random())
            loop = asyncio.get_running_loop()
            self._question = loop.call_later(pause, self._ask_again, number)

    def _ask_again(self, number: int) -> None:
        if self._leads():
            self._client.force_metadata_update()
            self._ask_later(number + 1)

    def _count(self, topic: str) -> int:
        return len(self._client.cluster.partitions_for_topic(topic) or ())
