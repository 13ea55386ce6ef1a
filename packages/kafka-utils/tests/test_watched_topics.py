"""The leader knows how many partitions topics have, and notices when that changes."""

import asyncio
import re
from typing import Any

import pytest
from aiokafka.cluster import ClusterMetadata

from kafka_utils.aiokafka_internals import IncrementalSubscription
from kafka_utils.coordinator.watched_topics import NEWS_SECONDS, WatchedTopics

pytestmark = pytest.mark.looptime


class Client:
    """A client that learns with each update what the brokers know."""

    def __init__(self, **topics: int) -> None:
        self.brokers = topics
        self.known: dict[str, int] = {}
        self.cluster: Any = self
        self.tracked: set[str] | None = None
        self.updates = 0
        self.silent = False
        self.asked_at: list[float] = []
        self.listener: Any = lambda _: None

    def set_topics(self, topics: frozenset[str]) -> asyncio.Future[bool]:
        if self.tracked is not None and topics <= self.tracked:
            return _done()  # What is tracked is not asked for again.
        self.tracked = set(topics)
        return self.force_metadata_update()

    def force_metadata_update(self) -> asyncio.Future[bool]:
        self.updates += 1
        self.asked_at.append(asyncio.get_running_loop().time())
        if self.silent:
            return asyncio.get_running_loop().create_future()
        self.known = dict(self.brokers)
        self.listener(ClusterMetadata())
        return _done()

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self.known[topic])) if topic in self.known else None


def _done() -> asyncio.Future[bool]:
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    done.set_result(True)
    return done


class Watch:
    """What watches a client's topics, and how often it found them changed."""

    def __init__(self, client: Client, subscription: IncrementalSubscription) -> None:
        self.client = client
        self.changes = 0
        stub: Any = client
        self.leads = True
        self.topics = WatchedTopics(stub, subscription, self._changed, lambda: self.leads)

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


async def test_a_topic_that_a_broker_has_not_heard_of_yet_is_asked_for_before_a_plan_is_made() -> (
    None
):
    client = Client(u=1)
    watch = Watch(client, by_name())
    asyncio.get_running_loop().call_later(0.5, client.brokers.update, {"t": 3})

    assert await watch.topics.partition_counts(frozenset({"t", "u"})) == {"t": 3, "u": 1}


async def test_a_known_topic_that_a_broker_does_not_tell_of_is_asked_for_again() -> None:
    client = Client(t=3)
    watch = Watch(client, by_name())
    await watch.topics.partition_counts(frozenset({"t"}))
    client.known, client.brokers = {}, {}
    asyncio.get_running_loop().call_later(0.5, client.brokers.update, {"t": 3})

    assert await watch.topics.partition_counts(frozenset({"t"})) == {"t": 3}


async def test_a_topic_that_vanished_between_two_plans_is_asked_for_before_it_is_left_out() -> None:
    client = Client(t=3)
    watch = Watch(client, by_name())
    client.listener = watch.topics.look
    await watch.topics.partition_counts(frozenset({"t"}))
    client.brokers = {}
    await client.force_metadata_update()
    assert watch.changes == 1
    asyncio.get_running_loop().call_later(0.5, client.brokers.update, {"t": 3})

    assert await watch.topics.partition_counts(frozenset({"t"})) == {"t": 3}


async def test_partitions_that_one_broker_told_of_are_not_given_up_for_one_that_lags() -> None:
    client = Client(t=3)
    watch = Watch(client, by_name())
    await watch.topics.partition_counts(frozenset({"t"}))
    assert await watch.look(t=4) == 1
    client.brokers = {"t": 3}
    asyncio.get_running_loop().call_later(0.5, client.brokers.update, {"t": 4})

    assert await watch.topics.partition_counts(frozenset({"t"})) == {"t": 4}


async def test_a_new_leader_plans_with_the_counts_of_the_moment() -> None:
    client = Client(t=4)
    watch = Watch(client, by_name())
    await client.set_topics(frozenset({"t"}))  # As a member does that only follows.
    client.brokers = {"t": 5}

    assert await watch.topics.partition_counts(frozenset({"t"})) == {"t": 5}


async def test_what_a_plan_has_learned_is_no_reason_for_another() -> None:
    client = Client(t=3)
    watch = Watch(client, by_name())
    client.listener = watch.topics.look
    await watch.topics.partition_counts(frozenset({"t"}))
    client.brokers = {"t": 4}

    assert await watch.topics.partition_counts(frozenset({"t"})) == {"t": 4}
    assert watch.changes == 0
    assert await watch.look(t=5) == 1


async def test_a_silent_broker_keeps_no_plan_waiting_and_what_it_says_later_is_seen() -> None:
    client = Client(t=4)
    watch = Watch(client, by_name())
    await client.set_topics(frozenset({"t"}))
    client.silent = True

    assert await watch.topics.partition_counts(frozenset({"t"})) == {"t": 4}
    assert asyncio.get_running_loop().time() == NEWS_SECONDS
    client.silent = False
    assert await watch.look(t=5) == 1


async def test_a_topic_that_was_made_anew_with_fewer_partitions_has_them_in_the_end() -> None:
    client = Client(t=3)
    watch = Watch(client, by_name())
    await watch.topics.partition_counts(frozenset({"t"}))
    assert await watch.look(t=2) == 1
    loop = asyncio.get_running_loop()
    began = loop.time()

    assert await watch.topics.partition_counts(frozenset({"t"})) == {"t": 2}
    assert await watch.topics.partition_counts(frozenset({"t"})) == {"t": 2}
    assert 1.5 <= loop.time() - began <= 1.8, "once"


async def test_a_plan_waits_a_bounded_time_for_a_topic_and_only_once() -> None:
    watch = Watch(Client(t=3), by_name())
    loop = asyncio.get_running_loop()
    began = loop.time()
    await watch.topics.partition_counts(frozenset({"t", "none"}))
    assert 1.5 <= loop.time() - began <= 1.8
    began = loop.time()
    await watch.topics.partition_counts(frozenset({"t", "none"}))
    assert loop.time() == began
    watch.topics.close()


async def test_a_topic_that_is_made_later_is_noticed_within_seconds() -> None:
    client = Client(t=3)
    watch = Watch(client, by_name())
    client.listener = watch.topics.look
    await watch.topics.partition_counts(frozenset({"t", "new"}))
    await asyncio.sleep(100)
    asked = client.updates
    assert asked < 30, "with a growing pause"
    client.brokers["new"] = 2
    await asyncio.sleep(6.1)
    assert watch.changes == 1
    await asyncio.sleep(100)
    assert client.updates <= asked + 2, "and then no more"


async def test_who_leads_no_longer_asks_no_more() -> None:
    client = Client(t=3)
    watch = Watch(client, by_name())
    await watch.topics.partition_counts(frozenset({"t", "new"}))
    watch.leads = False
    asked = client.updates
    await asyncio.sleep(100)
    assert client.updates == asked


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
