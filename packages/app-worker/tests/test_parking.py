"""Parking against a producer that does as it is told, in virtual time."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    RecordListTooLargeError,
)
from prometheus_client import CollectorRegistry

from app_worker.delays import DelaySchedule
from app_worker.handler import DeadLetter, Park
from app_worker.observability.metrics import WorkerMetrics
from app_worker.parking import Letter, Parking
from app_worker.record import Origin, Record

NOW = 1_000.0
RECORD = Record("t", 1, 2, b"k", b"value", (("mine", b"1"),), 7, Origin("t", 1, 2))
PARK = Park("endpoint-1", 1, "5s", "status", "503")
DEAD = DeadLetter("endpoint-1", 4, "exhausted", "503")


class ScriptedProducer:
    """Stores what it is sent, after the errors of its script."""

    def __init__(self, refuse: Callable[[Letter], Exception | None] = lambda _: None) -> None:
        self.refuse = refuse
        self.stored: list[Letter] = []
        self.batch_too_large = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def send_and_wait(
        self,
        topic: str,
        *,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
    ) -> None:
        letter = Letter(topic, key, value, list(headers))
        if self.batch_too_large:
            raise MessageSizeTooLargeError
        await self._store(letter)

    async def send_alone(
        self,
        topic: str,
        *,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
    ) -> None:
        await self._store(Letter(topic, key, value, list(headers)))

    async def _store(self, letter: Letter) -> None:
        assert letter.key is not None or letter.value is not None
        await self.answers.wait()
        if error := self.refuse(letter):
            raise error
        self.stored.append(letter)


def parking(producer: ScriptedProducer, jitter: float = 0.0) -> tuple[Parking, CollectorRegistry]:
    registry = CollectorRegistry()
    loop = asyncio.get_running_loop()
    made = Parking(
        producer,
        DelaySchedule.parse("t", "5s,1m"),
        "t.dead",
        WorkerMetrics(registry),
        now=lambda: NOW + loop.time(),
        jitter=lambda: jitter,
    )
    return made, registry


def count(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return registry.get_sample_value(f"worker_{name}_total", labels) or 0.0


def failing(times: int, error: Exception) -> Callable[[Letter], Exception | None]:
    script: list[Exception | None] = [error] * times
    return lambda _: script.pop() if script else None


async def test_a_parked_record_keeps_its_key_bytes_and_headers() -> None:
    producer = ScriptedProducer()
    park, registry = parking(producer)
    await park.store(RECORD, PARK)
    (letter,) = producer.stored
    assert (letter.topic, letter.key, letter.value) == ("t.retry.5s", b"k", b"value")
    headers = dict(letter.headers)
    assert headers["mine"] == b"1"
    assert headers["worker-delivery"] == b"endpoint-1"
    assert int(headers["worker-not-before"] or 0) >= (NOW + 5) * 1_000
    assert count(registry, "parked", delay="5s") == 1
    assert count(registry, "outcomes", outcome="parked") == 1


async def test_a_dead_letter_goes_to_its_topic_with_its_reason() -> None:
    producer = ScriptedProducer()
    park, registry = parking(producer)
    await park.store(RECORD, DEAD)
    (letter,) = producer.stored
    assert letter.topic == "t.dead"
    assert dict(letter.headers)["worker-reason"] == b"exhausted"
    assert count(registry, "dead_letters", reason="exhausted") == 1
    assert count(registry, "outcomes", outcome="dead_letter") == 1


@pytest.mark.looptime
async def test_refusals_are_counted_and_tried_again_with_backoff() -> None:
    producer = ScriptedProducer(failing(8, NotEnoughReplicasError()))
    park, registry = parking(producer)
    began = asyncio.get_running_loop().time()
    await park.store(RECORD, PARK)
    waited = 0.1 + 0.2 + 0.4 + 0.8 + 1.6 + 3.2 + 5 + 5
    assert asyncio.get_running_loop().time() - began == pytest.approx(waited)
    assert count(registry, "parking_failures") == 8
    assert len(producer.stored) == 1


@pytest.mark.looptime
async def test_the_delay_begins_when_the_record_is_stored() -> None:
    producer = ScriptedProducer(failing(3, KafkaError()))
    park, _ = parking(producer)
    await park.store(RECORD, PARK)
    now = NOW + asyncio.get_running_loop().time()
    not_before = int(dict(producer.stored[0].headers)["worker-not-before"] or 0)
    assert not_before == pytest.approx((now + 5) * 1_000, abs=1)


@pytest.mark.looptime
@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 60), (0.5, 66), (1.0, 72)])
async def test_a_delay_is_spread_over_a_fifth_of_itself_and_never_shorter(
    jitter: float, seconds: int
) -> None:
    producer = ScriptedProducer()
    park, _ = parking(producer, jitter)
    await park.store(RECORD, Park("endpoint-1", 2, "1m", "status", "503"))
    now = NOW + asyncio.get_running_loop().time()
    not_before = int(dict(producer.stored[0].headers)["worker-not-before"] or 0)
    assert not_before == pytest.approx((now + seconds) * 1_000, abs=1)


@pytest.mark.looptime
async def test_a_write_without_an_answer_counts_as_failing_and_is_sent_only_once() -> None:
    producer = ScriptedProducer()
    producer.answers.clear()
    park, registry = parking(producer)
    storing = asyncio.create_task(park.store(RECORD, PARK))
    await asyncio.sleep(35)
    assert count(registry, "parking_failures") == 3
    assert not storing.done()
    producer.answers.set()
    await storing
    assert len(producer.stored) == 1


@pytest.mark.looptime
async def test_a_cancelled_store_sends_nothing_more() -> None:
    producer = ScriptedProducer()
    producer.answers.clear()
    park, registry = parking(producer)
    storing = asyncio.create_task(park.store(RECORD, PARK))
    await asyncio.sleep(1)
    storing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await storing
    producer.answers.set()
    await asyncio.sleep(60)
    assert not producer.stored
    assert not count(registry, "parked", delay="5s")


@pytest.mark.parametrize("error", [MessageSizeTooLargeError(), RecordListTooLargeError()])
async def test_what_is_too_large_for_its_delay_topic_becomes_a_dead_letter(
    error: Exception,
) -> None:
    producer = ScriptedProducer(lambda sent: error if ".retry." in sent.topic else None)
    park, registry = parking(producer)
    await park.store(RECORD, PARK)
    (letter,) = producer.stored
    assert (letter.topic, letter.value) == ("t.dead", b"value")
    assert dict(letter.headers)["worker-reason"] == b"too_large"
    assert dict(letter.headers)["worker-attempts"] == b"1"
    assert count(registry, "dead_letters", reason="too_large") == 1
    assert not count(registry, "parked", delay="5s")
    assert not count(registry, "parking_failures")


async def test_a_record_is_not_blamed_for_others_of_its_batch() -> None:
    producer = ScriptedProducer()
    producer.batch_too_large = True
    park, registry = parking(producer)
    await park.store(RECORD, PARK)
    assert producer.stored[0].topic == "t.retry.5s"
    assert not count(registry, "parking_failures")


async def test_a_dead_letter_that_is_too_large_goes_without_its_value() -> None:
    too_large = MessageSizeTooLargeError()
    producer = ScriptedProducer(lambda sent: too_large if sent.value else None)
    park, _ = parking(producer)
    await park.store(RECORD, DEAD)
    (letter,) = producer.stored
    assert (letter.key, letter.value) == (b"k", b"")
    assert dict(letter.headers)["worker-value-bytes"] == b"5"
    assert dict(letter.headers)["mine"] == b"1"


async def test_a_key_that_is_too_large_is_left_out_last() -> None:
    too_large = MessageSizeTooLargeError()
    producer = ScriptedProducer(lambda sent: too_large if sent.key else None)
    park, _ = parking(producer)
    await park.store(RECORD, DEAD)
    (letter,) = producer.stored
    assert (letter.key, letter.value) == (None, b"")
    headers = dict(letter.headers)
    assert headers["worker-origin"] == b"t:1:2"
    assert "mine" not in headers


@pytest.mark.looptime
async def test_a_topic_too_small_for_the_least_dead_letter_holds_the_record_open() -> None:
    producer = ScriptedProducer(failing(9, MessageSizeTooLargeError()))
    park, registry = parking(producer)
    await park.store(RECORD, DEAD)
    assert count(registry, "parking_failures") == 4
    assert len(producer.stored) == 1


async def test_a_record_without_key_and_value_can_be_stored() -> None:
    empty = Record("t", 1, 2, None, None, (), 7, Origin("t", 1, 2))
    producer = ScriptedProducer()
    park, _ = parking(producer)
    await park.store(empty, PARK)
    await park.store(empty, DEAD)
    for letter in producer.stored:
        assert (letter.key, letter.value) == (None, b"")
        assert dict(letter.headers)["worker-value-bytes"] == b"-1"


async def test_a_null_value_with_a_key_stays_null() -> None:
    tombstone = Record("t", 1, 2, b"k", None, (), 7, Origin("t", 1, 2))
    producer = ScriptedProducer()
    park, _ = parking(producer)
    await park.store(tombstone, PARK)
    assert producer.stored[0].value is None
