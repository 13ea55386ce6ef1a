"""Words are written where they were before, again after a failure, and through a new producer."""

import asyncio
from collections.abc import Callable

import pytest
from aiokafka.errors import KafkaError, NotLeaderForPartitionError, UnknownTopicOrPartitionError
from prometheus_client import CollectorRegistry

from app_worker.backoff import Backoff
from app_worker.handover.needs import Place
from app_worker.handover.words import Kind, Word, read_word
from app_worker.handover_topic import writer as module
from app_worker.handover_topic.writer import MOST_TRIES, WordWriter
from app_worker.observability.metrics import WorkerMetrics

WORD = Word(Kind.SETTLED, "g", 7, "events", ((0, 5),))


class Sender:
    """Fails as it is told, first to last; then it stores."""

    def __init__(self, *fails: Exception | None) -> None:
        self.fails = list(fails)
        self.there = {0, 1, 2}
        self.stored: list[tuple[int, bytes]] = []
        self.tries = 0
        self.renewed = 0

    async def partitions_for(self, topic: str) -> set[int]:
        assert topic == "events.handover"
        return self.there

    async def send_to(self, topic: str, partition: int, value: bytes) -> int:
        assert topic == "events.handover"
        self.tries += 1
        failure = self.fails.pop(0) if self.fails else None
        if isinstance(failure, TimeoutError):
            await asyncio.Event().wait()
        if failure is not None:
            raise failure
        self.stored.append((partition, value))
        return 100 + len(self.stored)

    def renew(self) -> None:
        self.renewed += 1


@pytest.fixture
def metrics() -> WorkerMetrics:
    return WorkerMetrics(CollectorRegistry())


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF", Backoff(first=0.0, longest=0.0))
    monkeypatch.setattr(module, "TRY_SECONDS", 0.05)


@pytest.fixture
def made(metrics: WorkerMetrics) -> Callable[..., WordWriter]:
    return lambda sender: WordWriter("events.handover", sender, metrics.word_failures)


def failures(metrics: WorkerMetrics) -> float | None:
    return metrics.registry.get_sample_value("worker_word_failures_total", {"side": "write"})


async def test_a_release_opens_where_the_last_word_was_written(
    made: Callable[..., WordWriter],
) -> None:
    sender = Sender()
    writer = made(sender)
    places = [await writer.open("g", nonce, "events") for nonce in range(20)]
    assert places == [Place(places[0].partition, 101 + number) for number in range(20)]
    assert {read_word(value).nonce for _, value in sender.stored} == set(range(20))


async def test_a_release_that_cannot_open_is_not_tried_again_and_the_next_opens_anywhere(
    made: Callable[..., WordWriter], metrics: WorkerMetrics
) -> None:
    sender = Sender(*[NotLeaderForPartitionError()] * 30)
    writer = made(sender)
    for _ in range(30):
        with pytest.raises(NotLeaderForPartitionError):
            await writer.open("g", 7, "events")
    assert sender.tries == 30
    assert failures(metrics) == 30
    places = {(await made(Sender()).open("g", 7, "events")).partition for _ in range(60)}
    assert places == {0, 1, 2}


async def test_a_word_is_tried_again_and_then_given_up(
    made: Callable[..., WordWriter], metrics: WorkerMetrics
) -> None:
    sender = Sender(*[KafkaError()] * (MOST_TRIES - 1))
    await made(sender).tell(1, WORD)
    assert [(partition, read_word(value)) for partition, value in sender.stored] == [(1, WORD)]

    sender = Sender(*[KafkaError()] * (MOST_TRIES + 1))
    with pytest.raises(KafkaError):
        await made(sender).tell(1, WORD)
    assert sender.tries == MOST_TRIES
    assert failures(metrics) == 2 * MOST_TRIES - 1


async def test_a_producer_that_says_nothing_is_replaced(made: Callable[..., WordWriter]) -> None:
    sender = Sender(TimeoutError())
    await made(sender).tell(1, WORD)
    assert sender.renewed == 1
    assert len(sender.stored) == 1


async def test_a_partition_that_is_gone_is_an_error_and_no_crash(
    made: Callable[..., WordWriter],
) -> None:
    sender = Sender()
    sender.there = {0}
    with pytest.raises(UnknownTopicOrPartitionError):
        await made(sender).tell(2, WORD)
    assert sender.tries == 0
