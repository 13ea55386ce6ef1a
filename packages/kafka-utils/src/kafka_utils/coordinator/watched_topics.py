"""Knows how many partitions topics have, and notices when that changes: the leader's duty."""

from collections.abc import Callable, Mapping

from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata

from kafka_utils.aiokafka_internals import IncrementalSubscription


class WatchedTopics:
    """The topics that a group's members want. It is a ``member.Cluster``."""

    def __init__(
        self,
        client: AIOKafkaClient,
        subscription: IncrementalSubscription,
        changed: Callable[[], None],
    ) -> None:
        self._client = client
        self._subscription = subscription
        self._changed = changed
        self._counts: dict[str, int] = {}

    async def partition_counts(self, topics: frozenset[str]) -> Mapping[str, int]:
        """Return how many partitions these have, as of now; watch them from now on.

        A topic that does not exist is left out, and seen when it is created.
        """
        if self._subscription.by_pattern:
            # All topics are watched already; the named ones only would be from here on.
            await self._client.force_metadata_update()
        elif topics:
            await self._client.set_topics(topics)
        self._counts = {topic: self._count(topic) for topic in topics}
        return {topic: count for topic, count in self._counts.items() if count}

    def look(self, _: ClusterMetadata) -> None:
        """See whether what is watched has changed, with each new word of the brokers."""
        if any(self._count(topic) != count for topic, count in self._counts.items()):
            self._counts = {topic: self._count(topic) for topic in self._counts}
            self._changed()

    def _count(self, topic: str) -> int:
        return len(self._client.cluster.partitions_for_topic(topic) or ())
