"""What is written besides the work: tried again, bounded, the newest word of a kind the last."""

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
)
from prometheus_client import CollectorRegistry

from webhook_worker.metrics import WebhookMetrics
from webhook_worker.outbox import CLOSE_SECONDS, MOST_WAITING, Letter, Outbox

pytestmark = pytest.mark.looptime


class Brokers:
    """Take what is sent, unless they are away."""

    def __init__(self) -> None:
        self.stored: list[tuple[str, bytes | None, bytes | None]] = []
        self.away = False
        self.refused: set[str] = set()
        self.cancels = False
        self.largest = 100

    async def send(
        self,
        topic: str,
        *,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
    ) -> None:
        assert not headers
        await asyncio.sleep(0.01)
        if self.away:
            raise KafkaConnectionError("away")
        if self.cancels:
            raise asyncio.CancelledError
        if topic in self.refused:
            # As long as aiokafka asks for a topic that is not there.
            await asyncio.sleep(40)
            raise TopicAuthorizationFailedError(topic)
        if len(value or b"") > self.largest:
            raise MessageSizeTooLargeError("too large")
        self.stored.append((topic, key, value))


class Scene:
    def __init__(self) -> None:
        self.brokers = Brokers()
        self.registry = CollectorRegistry()
        metrics = WebhookMetrics(self.registry)
        self.outbox = Outbox(self.brokers.send, metrics, jitter=lambda: 0.0)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


async def test_what_is_added_is_written_before_the_end() -> None:
    scene = Scene()
    async with scene.outbox.opened():
        for number in range(1200):
            scene.outbox.add(Letter("t", b"k", b"%d" % number))
    stored = [value for _, _, value in scene.brokers.stored]
    assert sorted(stored, key=lambda each: int(each or b"")) == [b"%d" % n for n in range(1200)]
    assert scene.value("webhook_outbox_waiting") == 0


async def test_while_brokers_are_away_it_is_tried_again_and_nothing_is_lost() -> None:
    scene = Scene()
    scene.brokers.away = True
    async with scene.outbox.opened():
        scene.outbox.add(Letter("t", b"k", b"1"))
        await asyncio.sleep(20)
        assert scene.value("webhook_outbox_waiting") == 1
        assert 5 <= (scene.value("webhook_outbox_failures_total") or 0) <= 12
        scene.brokers.away = False
    assert scene.brokers.stored == [("t", b"k", b"1")]


async def test_the_newest_word_for_a_key_is_written_last_whatever_failed_before() -> None:
    scene = Scene()
    scene.brokers.away = True
    async with scene.outbox.opened():
        scene.outbox.replace(Letter("t", b"k", b"old"))
        await asyncio.sleep(0.005)  # On its way, and it will fail.
        scene.outbox.replace(Letter("t", b"k", b"new"))
        await asyncio.sleep(0.01)
        scene.brokers.away = False
    assert scene.brokers.stored == [("t", b"k", b"new")]


async def test_too_many_that_wait_are_dropped_and_counted_but_never_a_state() -> None:
    scene = Scene()
    scene.brokers.away = True
    async with scene.outbox.opened():
        for _ in range(MOST_WAITING + 7):
            scene.outbox.add(Letter("log", b"k", b""))
        scene.outbox.replace(Letter("state", b"k", b""))
        assert scene.value("webhook_outbox_dropped_total", topic="log") == 7
        scene.brokers.away = False
    assert ("state", b"k", b"") in scene.brokers.stored


async def test_what_the_topic_takes_none_so_large_of_is_dropped_and_counted() -> None:
    scene = Scene()
    async with scene.outbox.opened():
        scene.outbox.add(Letter("t", b"k", bytes(101)))
        scene.outbox.add(Letter("t", b"k", b"small"))
    assert scene.brokers.stored == [("t", b"k", b"small")]
    assert scene.value("webhook_outbox_dropped_total", topic="t") == 1


async def test_the_end_does_not_wait_for_ever() -> None:
    scene = Scene()
    scene.brokers.away = True
    clock = asyncio.get_running_loop().time
    async with scene.outbox.opened():
        scene.outbox.add(Letter("t", b"k", b"1"))
        began = clock()
    assert clock() - began == pytest.approx(CLOSE_SECONDS, abs=0.1)


async def test_a_topic_that_cannot_be_written_holds_no_other_up_and_takes_no_place_of_theirs() -> (
    None
):
    scene = Scene()
    scene.brokers.refused.add("log")
    async with scene.outbox.opened():
        for _ in range(MOST_WAITING + 7):
            scene.outbox.add(Letter("log", b"k", b""))
        await asyncio.sleep(100)
        scene.outbox.replace(Letter("state", b"k", b"disabled"))
        scene.outbox.add(Letter("events", b"k", b"endpoint.disabled"))
        await asyncio.sleep(0.1)
        assert scene.brokers.stored == [
            ("state", b"k", b"disabled"),
            ("events", b"k", b"endpoint.disabled"),
        ]
    assert scene.value("webhook_outbox_dropped_total", topic="log") == 7


async def test_what_a_closing_client_has_cancelled_is_tried_again() -> None:
    scene = Scene()
    scene.brokers.cancels = True
    async with scene.outbox.opened():
        scene.outbox.add(Letter("t", b"k", b"1"))
        await asyncio.sleep(1)
        scene.brokers.cancels = False
    assert scene.brokers.stored == [("t", b"k", b"1")]
