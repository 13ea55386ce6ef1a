"""A producer that is replaced once a batch of it has failed."""

import asyncio
from typing import NamedTuple

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
)
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder

from app_worker.renewable_producer import Headers, RenewableProducer


class Stored(NamedTuple):
    offset: int


class OneProducer:
    """A producer whose sends fail as it is told, before or after they are handed over."""

    def __init__(self) -> None:
        self.at_send: Exception | None = None
        self.at_answer: Exception | None = None
        self.at_start: Exception | None = None
        self.started = self.stopped = False
        self.sent: list[str] = []
        self.partitions = {7}

    async def start(self) -> None:
        if self.at_start:
            raise self.at_start
        self.started = True

    async def stop(self) -> None:
        self.stopped = True

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        *,
        headers: Headers | None = None,
    ) -> asyncio.Future[object]:
        if self.at_send:
            raise self.at_send
        return self._answer(topic if partition is None else f"{topic}-{partition}")

    async def partitions_for(self, topic: str) -> set[int]:
        return self.partitions

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(
            1_000_000, 2, is_transactional=False, key_serializer=None, value_serializer=None
        )

    async def send_batch(
        self, batch: BatchBuilder, topic: str, *, partition: int
    ) -> asyncio.Future[object]:
        joined = batch.append(timestamp=None, key=None, value=b"of another") is not None
        assert not joined
        return self._answer(f"{topic}-{partition} {batch.record_count()}")

    def _answer(self, topic: str) -> asyncio.Future[object]:
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if self.at_answer:
            answer.set_exception(self.at_answer)
        else:
            self.sent.append(topic)
            answer.set_result(Stored(len(self.sent)))
        return answer


class Factory:
    """Remembers what it made."""

    def __init__(self) -> None:
        self.made: list[OneProducer] = []

    def __call__(self) -> OneProducer:
        self.made.append(OneProducer())
        return self.made[-1]


async def send(producer: RenewableProducer) -> None:
    await producer.send_and_wait("t", value=b"v", key=None, headers=())


async def test_one_producer_serves_as_long_as_it_works() -> None:
    factory = Factory()
    producer = RenewableProducer(factory)
    await producer.start()
    await send(producer)
    await send(producer)
    (only,) = factory.made
    assert only.sent == ["t", "t"]
    await producer.stop()
    assert only.stopped


async def test_a_record_can_be_sent_in_a_batch_of_its_own() -> None:
    factory = Factory()
    producer = RenewableProducer(factory)
    await producer.start()
    await producer.send_alone("t", value=b"x" * 99_999, key=None, headers=[("mine", None)])
    assert factory.made[0].sent == ["t-7 1"]
    await producer.stop()


async def test_a_record_that_is_sent_alone_goes_where_all_of_its_key_go() -> None:
    factory = Factory()
    producer = RenewableProducer(factory)
    await producer.start()
    factory.made[0].partitions = set(range(50))
    for _ in range(3):
        await producer.send_alone("t", value=b"v", key=b"k", headers=[])
    of_key = DefaultPartitioner()(b"k", list(range(50)), list(range(50)))
    assert factory.made[0].sent == [f"t-{of_key} 1"] * 3
    await producer.stop()


@pytest.mark.parametrize("error", [OutOfOrderSequenceNumber(), MessageSizeTooLargeError()])
async def test_after_a_batch_has_failed_the_next_goes_through_a_new_one(error: KafkaError) -> None:
    factory = Factory()
    producer = RenewableProducer(factory)
    await producer.start()
    factory.made[0].at_answer = error
    with pytest.raises(type(error)):
        await send(producer)
    await send(producer)
    old, new = factory.made
    assert new.sent == ["t"]
    await producer.stop()
    assert old.stopped
    assert new.stopped


async def test_failures_at_the_same_time_replace_it_once() -> None:
    factory = Factory()
    producer = RenewableProducer(factory)
    await producer.start()
    factory.made[0].at_answer = OutOfOrderSequenceNumber()
    await asyncio.gather(*(send(producer) for _ in range(5)), return_exceptions=True)
    await asyncio.gather(*(send(producer) for _ in range(5)))
    assert len(factory.made) == 2
    await producer.stop()


@pytest.mark.parametrize(
    ("error", "producers"),
    [(MessageSizeTooLargeError(), 1), (KafkaTimeoutError(), 1), (KafkaError(), 2)],
)
async def test_what_was_never_handed_over_does_no_harm_unless_the_producer_is_dead(
    error: KafkaError, producers: int
) -> None:
    factory = Factory()
    producer = RenewableProducer(factory)
    await producer.start()
    factory.made[0].at_send = error
    with pytest.raises(type(error)):
        await send(producer)
    factory.made[0].at_send = None
    await send(producer)
    assert len(factory.made) == producers
    await producer.stop()


async def test_a_producer_that_does_not_start_is_stopped_and_another_is_tried() -> None:
    factory = Factory()
    producer = RenewableProducer(factory)
    await producer.start()
    factory.made[0].at_answer = KafkaError()
    with pytest.raises(KafkaError):
        await send(producer)

    def unreachable() -> OneProducer:
        made = Factory.__call__(factory)
        made.at_start = KafkaConnectionError()
        return made

    producer._create = unreachable
    with pytest.raises(KafkaConnectionError):
        await send(producer)
    assert factory.made[1].stopped
    producer._create = factory
    await send(producer)
    assert factory.made[2].sent == ["t"]
    await producer.stop()


async def test_a_record_for_one_partition_is_told_where_it_stands() -> None:
    factory = Factory()
    producer = RenewableProducer(factory)

    assert [await producer.send_to("t", partition, b"v") for partition in (7, 3)] == [1, 2]
    assert factory.made[0].sent == ["t-7", "t-3"]


async def test_what_comes_after_a_renewal_goes_through_another_producer() -> None:
    factory = Factory()
    producer = RenewableProducer(factory)
    await send(producer)

    producer.renew()
    producer.renew()
    await send(producer)
    await producer.stop()

    assert [len(each.sent) for each in factory.made] == [1, 1]
    assert factory.made[0].stopped
