"""The leader knows how many partitions topics have, and notices when that changes."""

import re
from typing import Any

from aiokafka.cluster import ClusterMetadata

from kafka_utils.aiokafka_internals import IncrementalSubscription
from kafka_utils.coordinator.watched_topics import WatchedTopics


class Client:
    """A client that learns with each update what the brokers know."""

    def __init__(self, **topics: int) -> None:
        self.brokers = topics
        self.known: dict[str, int] = {}
        self.cluster: Any = self
        self.tracked: set[str] | None = None
        self.updates = 0

    async def set_topics(self, topics: frozenset[str]) -> bool:
        self.tracked = set(topics)
        return await self.force_metadata_update()

    async def force_metadata_update(self) -> bool:
        self.updates += 1
        self.known = dict(self.brokers)
        return True

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self.known[topic])) if topic in self.known else None


class Watch:
    """What watches a client's topics, and how often it found them changed."""

    def __init__(self, client: Client, subscription: IncrementalSubscription) -> None:
        self.client = client
        self.changes = 0
        stub: Any = client
        self.topics = WatchedTopics(stub, subscription, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    async def look(self, **brokers: int) -> int:
        """Let the brokers say this, and return the changes so far."""
        self.client.brokers = brokers
        await self.client.force_metadata_update()
        self.topics.look(ClusterMetadata())
        return self.changes


def by_name() -> IncrementalSubscription:
    subscription = IncrementalSubscription()
    subscription.subscribe({"t"})
    return subscription


async def test_counts_are_those_of_the_moment() -> None:
    watch = Watch(Client(t=3, u=1, other=9), by_name())

    assert await watch.topics.partition_counts(frozenset({"t", "u"})) == {"t": 3, "u": 1}
    assert watch.client.tracked == {"t", "u"}


async def test_a_topic_that_does_not_exist_is_left_out_and_seen_when_it_is_created() -> None:
    watch = Watch(Client(t=3), by_name())

    assert await watch.topics.partition_counts(frozenset({"t", "new"})) == {"t": 3}
    assert await watch.look(t=3) == 0
    assert await watch.look(t=3, new=2) == 1


async def test_more_partitions_are_noticed_once() -> None:
    watch = Watch(Client(t=3), by_name())
    await watch.topics.partition_counts(frozenset({"t"}))

    assert await watch.look(t=4) == 1
    assert await watch.look(t=4) == 1


async def test_a_deleted_topic_is_noticed() -> None:
    watch = Watch(Client(t=3, u=1), by_name())
    await watch.topics.partition_counts(frozenset({"t", "u"}))

    assert await watch.look(t=3) == 1


async def test_other_topics_are_nobodys_business() -> None:
    watch = Watch(Client(t=3, u=1), by_name())
    await watch.topics.partition_counts(frozenset({"t"}))

    assert await watch.look(t=3, u=2, new=1) == 0


async def test_what_nobody_wants_any_more_is_not_watched() -> None:
    watch = Watch(Client(t=3, u=1), by_name())
    await watch.topics.partition_counts(frozenset({"t", "u"}))
    await watch.topics.partition_counts(frozenset({"t"}))

    assert await watch.look(t=3) == 0


async def test_before_a_first_plan_nothing_is_watched() -> None:
    watch = Watch(Client(t=3), by_name())

    assert await watch.look(t=4) == 0


async def test_a_group_without_topics_asks_for_none() -> None:
    watch = Watch(Client(t=3), by_name())

    assert await watch.topics.partition_counts(frozenset()) == {}
    # An empty set of topics would be all of them.
    assert watch.client.updates == 0


async def test_who_subscribes_by_pattern_goes_on_hearing_of_all_topics() -> None:
    subscription = IncrementalSubscription()
    subscription.subscribe_pattern(re.compile("t.*"))
    watch = Watch(Client(t=3), subscription)

    assert await watch.topics.partition_counts(frozenset({"t"})) == {"t": 3}
    assert watch.client.tracked is None
