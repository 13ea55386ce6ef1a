"""The reading of a topic of endpoints, with a scripted reader and virtual time."""

import asyncio
import json
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError
from prometheus_client import CollectorRegistry

from webhook_worker.compacted_topic import BACKOFF, CHECK_SECONDS
from webhook_worker.directory.topic import TopicDirectory
from webhook_worker.endpoint_report import TopicReport
from webhook_worker.metrics import WebhookMetrics

pytestmark = pytest.mark.looptime

HERE = TopicPartition("endpoints", 0)
SECRET = "whsec_" + b64encode(b"a key of twenty-four byte").decode()

Change = tuple[str | None, bytes | None]


def entry(key: str, **more: object) -> bytes:
    whole = {"id": key, "customer_id": "acme", "url": "https://a.example/", "secrets": [SECRET]}
    return json.dumps(whole | more).encode()


def record(offset: int, change: Change) -> ConsumerRecord[bytes, bytes]:
    key, value = change
    return ConsumerRecord(
        topic=HERE.topic,
        partition=HERE.partition,
        offset=offset,
        timestamp=0,
        timestamp_type=0,
        key=None if key is None else key.encode(),
        value=value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=(),
    )


class Topic:
    """A partition that grows, and what asking the brokers for its end or its records comes to."""

    def __init__(self, *changes: Change) -> None:
        self.changes = list(changes)
        self.readable = len(changes)
        self.away = False
        self.failures: deque[Exception] = deque()
        self.connections = 0

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["TopicReader"]:
        self.connections += 1
        yield TopicReader(self)


class TopicReader:
    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self._at = 0

    def assignment(self) -> list[TopicPartition]:
        return [HERE]

    async def position(self, _: TopicPartition) -> int:
        return self._at

    async def end_offsets(self, _: list[TopicPartition]) -> Mapping[TopicPartition, int]:
        if self._topic.away:
            raise KafkaConnectionError("away")
        return {HERE: len(self._topic.changes)}

    async def getmany(
        self, *, timeout_ms: int, max_records: int
    ) -> Mapping[TopicPartition, list[ConsumerRecord[bytes, bytes]]]:
        if self._topic.failures:
            raise self._topic.failures.popleft()
        to = min(self._at + max_records, self._topic.readable)
        if to == self._at:
            await asyncio.sleep(timeout_ms / 1000)
            return {}
        found = [record(n, self._topic.changes[n]) for n in range(self._at, to)]
        self._at = to
        return {HERE: found}


class Scene:
    def __init__(self, topic: Topic) -> None:
        self.metrics = CollectorRegistry()
        self._now = 1000.0
        report = TopicReport("endpoints", WebhookMetrics(self.metrics), self._tick)
        self.directory = TopicDirectory(topic.connect, report)

    def _tick(self) -> float:
        self._now += 1
        return self._now

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.get_sample_value(name, labels)

    def ids(self, among: Iterable[str] = "abc") -> list[str]:
        return [each for each in among if self.directory.get(each) is not None]


@asynccontextmanager
async def following(topic: Topic) -> AsyncIterator[Scene]:
    scene = Scene(topic)
    task = asyncio.create_task(scene.directory.follow())
    try:
        yield scene
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_it_has_caught_up_only_when_all_that_was_there_has_been_read() -> None:
    topic = Topic(("a", entry("a")), ("b", entry("b")), ("a", None))
    topic.readable = 1
    async with following(topic) as scene:
        await asyncio.sleep(60)
        assert not scene.directory.caught_up.is_set()
        assert scene.ids() == []
        topic.readable = 3
        await asyncio.wait_for(scene.directory.caught_up.wait(), 5)
        assert scene.ids() == ["b"]


async def test_an_empty_topic_is_caught_up_at_once() -> None:
    async with following(Topic()) as scene:
        await asyncio.wait_for(scene.directory.caught_up.wait(), 1)
        assert scene.ids() == []


async def test_a_change_is_in_effect_within_a_poll_and_a_wrong_entry_is_counted() -> None:
    topic = Topic(("a", entry("a")))
    async with following(topic) as scene:
        await scene.directory.caught_up.wait()
        topic.changes += [("b", entry("b")), ("a", entry("a", url="nowhere")), (None, b"{}")]
        topic.readable = 4
        await asyncio.sleep(2)
        assert scene.ids() == ["b"]
        assert scene.directory.is_broken("a")
        assert scene.directory.broken_for("acme", "any") == ("a",)
        assert scene.value("webhook_endpoints", state="enabled") == 1
        assert scene.value("webhook_endpoints", state="invalid") == 2


async def test_without_brokers_it_keeps_what_it_has_and_is_no_longer_known_to_be_current() -> None:
    topic = Topic(("a", entry("a")))
    async with following(topic) as scene:
        await scene.directory.caught_up.wait()
        topic.away = True
        since = scene.value("webhook_endpoints_current_timestamp_seconds")
        await asyncio.sleep(3 * CHECK_SECONDS + 5)
        assert scene.ids() == ["a"]
        assert scene.value("webhook_endpoints_current_timestamp_seconds") == since
        assert scene.value("webhook_endpoint_read_failures_total") == 3
        topic.away = False
        await asyncio.sleep(CHECK_SECONDS + 5)
        assert scene.value("webhook_endpoints_current_timestamp_seconds") != since
    assert topic.connections == 1


async def test_while_it_cannot_be_read_it_is_tried_again_with_pauses_that_grow() -> None:
    topic = Topic(("a", entry("a")))
    async with following(topic) as scene:
        await scene.directory.caught_up.wait()
        topic.failures += [KafkaConnectionError("again") for _ in range(100)]
        await asyncio.sleep(300)
        assert 11 <= topic.connections <= 22
        assert scene.value("webhook_endpoint_read_failures_total") == topic.connections
        assert scene.ids() == ["a"]
        topic.failures.clear()
        await asyncio.sleep(BACKOFF.longest)
        failed = topic.connections
        await asyncio.sleep(300)
        assert topic.connections == failed


async def test_a_reading_that_fails_begins_anew_and_replaces_the_old_when_it_has_caught_up() -> (
    None
):
    topic = Topic(("a", entry("a")), ("b", entry("b")))
    async with following(topic) as scene:
        await scene.directory.caught_up.wait()
        topic.changes = [("b", entry("b")), ("c", entry("c"))]
        topic.readable = 1
        topic.failures.append(KafkaConnectionError("for good"))
        await asyncio.sleep(BACKOFF.longest)
        assert topic.connections == 2
        assert scene.ids() == ["a", "b"]
        topic.readable = 2
        await asyncio.sleep(2)
        assert scene.ids() == ["b", "c"]
