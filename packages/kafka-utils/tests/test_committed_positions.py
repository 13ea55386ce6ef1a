"""Where added partitions are read from: nothing an unsettled coordinator says is taken for none."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import pytest
from aiokafka import TopicPartition, errors
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from kafka_utils.coordinator.positions import Positions
from kafka_utils.events import ConsumerEvents, Retry
from kafka_utils.requests import UnstableOffsetCommitError

pytestmark = pytest.mark.looptime

A, B, C = (TopicPartition("t", number) for number in range(3))
TEN = OffsetAndMetadata(10, "")
TWENTY = OffsetAndMetadata(20, "")

Found = OffsetAndMetadata | KafkaError | None
Answer = Callable[[], Awaitable[Mapping[TopicPartition, Found]]]


def now() -> float:
    return asyncio.get_running_loop().time()


def answering(found: Mapping[TopicPartition, Found], after: float = 0.0) -> Answer:
    async def answer() -> Mapping[TopicPartition, Found]:
        await asyncio.sleep(after)
        return found

    return answer


def refusing(error: KafkaError) -> Answer:
    async def refuse() -> Mapping[TopicPartition, Found]:
        raise error

    return refuse


class Hook(ConsumerEvents):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.retries: list[Retry] = []

    def retried(self, retry: Retry) -> None:
        self.retries.append(retry)


class Consumer:
    """Coordinator and fetcher in one: answers are given in advance, places are kept."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = deque(answers)
        self.unplaced = {A, B, C}
        self.placed: dict[TopicPartition, Found] = {}
        self.placed_at: dict[TopicPartition, float] = {}
        self.asked: list[set[TopicPartition]] = []
        self.forgotten: list[str] = []
        hook = Hook()
        self.retries = hook.retries
        itself: Any = self
        self.positions = Positions(itself, itself, hook)

    # As a transport.

    async def find(self) -> None:
        pass

    def forget(self, reason: str) -> None:
        self.forgotten.append(reason)

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, Found]:
        self.asked.append(set(partitions))
        return await self.answers.popleft()()

    # As a fetcher.

    def needs_place(self, partition: TopicPartition) -> bool:
        return partition in self.unplaced

    def place(self, found: Mapping[TopicPartition, Found]) -> None:
        for here, kept in found.items():
            self.placed[here] = kept
            self.placed_at[here] = now()
            self.unplaced.discard(here)

    def look_up(self, *partitions: TopicPartition) -> None:
        self.positions.look_up(frozenset(partitions))


async def test_what_is_committed_is_where_a_partition_is_read_from() -> None:
    consumer = Consumer(answering({A: TEN, B: None}))
    consumer.look_up(A, B)
    await asyncio.sleep(1)

    assert consumer.asked == [{A, B}]
    assert consumer.placed == {A: TEN, B: None}
    assert consumer.retries == []


@pytest.mark.parametrize(
    "error",
    [
        errors.GroupLoadInProgressError(),
        errors.GroupCoordinatorNotAvailableError(),
        errors.NotCoordinatorForGroupError(),
        errors.KafkaConnectionError(),
        errors.NodeNotReadyError(),
        errors.RequestTimedOutError(),
        errors.UnknownError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_coordinator_that_refuses_is_not_taken_for_one_that_says_nothing_is_committed(
    error: KafkaError,
) -> None:
    consumer = Consumer(refusing(error), refusing(error), answering({A: TEN}))
    consumer.look_up(A)
    await asyncio.sleep(1)

    assert consumer.placed == {A: TEN}
    assert 0.3 <= consumer.placed_at[A] <= 0.36
    assert [(retry.request, retry.error, retry.failures) for retry in consumer.retries] == [
        ("OffsetFetch", type(error).__name__, failures) for failures in (1, 2)
    ]
    moved = not isinstance(error, errors.GroupLoadInProgressError)
    assert len(consumer.forgotten) == 2 * moved


async def test_one_unstable_partition_does_not_delay_the_others() -> None:
    unstable = UnstableOffsetCommitError()
    consumer = Consumer(
        answering({A: TEN, B: unstable}), answering({B: unstable}), answering({B: TWENTY})
    )
    consumer.look_up(A, B)
    await asyncio.sleep(1)

    assert consumer.asked == [{A, B}, {B}, {B}]
    assert consumer.placed == {A: TEN, B: TWENTY}
    assert consumer.placed_at[A] == 0
    assert consumer.placed_at[B] >= 0.3


async def test_a_partition_without_a_word_is_asked_for_again() -> None:
    consumer = Consumer(answering({A: TEN}), answering({B: None}))
    consumer.look_up(A, B)
    await asyncio.sleep(1)

    assert consumer.asked == [{A, B}, {B}]
    assert consumer.placed == {A: TEN, B: None}
    assert [retry.error for retry in consumer.retries] == ["UnknownError"]


@pytest.mark.parametrize(
    "error",
    [errors.GroupAuthorizationFailedError(), errors.IncompatibleBrokerVersion("OffsetFetch")],
    ids=lambda error: type(error).__name__,
)
async def test_what_stays_wrong_is_told_to_whoever_asks_for_records(error: KafkaError) -> None:
    consumer = Consumer(refusing(error))
    consumer.look_up(A, B)
    await asyncio.sleep(10)

    assert consumer.placed == {A: error, B: error}
    assert len(consumer.asked) == 1


async def test_a_partitions_own_error_that_stays_is_told_for_it_alone() -> None:
    error = errors.TopicAuthorizationFailedError()
    consumer = Consumer(answering({A: error, B: TEN}))
    consumer.look_up(A, B)
    await asyncio.sleep(10)

    assert consumer.placed == {A: error, B: TEN}


async def test_what_is_no_longer_assigned_is_no_longer_looked_for() -> None:
    consumer = Consumer(refusing(errors.KafkaConnectionError()), answering({B: TEN}))
    consumer.look_up(A, B)
    await asyncio.sleep(0.05)
    consumer.unplaced.discard(A)
    await asyncio.sleep(1)

    assert consumer.asked == [{A, B}, {B}]
    assert consumer.placed == {B: TEN}


async def test_what_was_placed_by_the_application_meanwhile_is_left_alone() -> None:
    consumer = Consumer(answering({A: TEN}, after=1))
    consumer.look_up(A)
    await asyncio.sleep(0.5)
    consumer.unplaced.discard(A)
    await asyncio.sleep(5)

    assert consumer.placed == {}


async def test_a_lookup_goes_on_across_later_ones_for_others() -> None:
    consumer = Consumer(
        refusing(errors.KafkaConnectionError()), answering({B: TWENTY}), answering({A: TEN})
    )
    consumer.look_up(A)
    await asyncio.sleep(0.05)
    consumer.look_up(B)
    await asyncio.sleep(1)

    assert consumer.placed == {A: TEN, B: TWENTY}


async def test_an_answer_of_before_a_partition_went_and_came_back_does_not_place_it() -> None:
    consumer = Consumer(answering({A: TEN, B: TEN}, after=2), answering({A: TWENTY}, after=2))
    consumer.look_up(A, B)
    await asyncio.sleep(1)
    consumer.look_up(A)
    await asyncio.sleep(1.5)
    assert consumer.placed == {B: TEN}
    await asyncio.sleep(5)

    assert consumer.placed == {A: TWENTY, B: TEN}


async def test_after_the_end_nothing_is_looked_for() -> None:
    consumer = Consumer(refusing(errors.KafkaConnectionError()))
    consumer.look_up(A)
    await asyncio.sleep(0.05)
    consumer.positions.close()
    await asyncio.sleep(10)

    assert len(consumer.asked) == 1
    assert consumer.placed == {}


# What the application asks for.


async def test_what_is_committed_is_returned_without_what_is_not() -> None:
    consumer = Consumer(answering({A: TEN, B: None}))

    assert await consumer.positions.committed([A, B]) == {A: TEN}


async def test_asking_for_nothing_asks_nobody() -> None:
    consumer = Consumer()

    assert await consumer.positions.committed([]) == {}


async def test_what_passes_is_waited_for() -> None:
    consumer = Consumer(
        refusing(errors.NotCoordinatorForGroupError()),
        answering({A: TEN, B: UnstableOffsetCommitError()}),
        answering({B: TWENTY}),
    )

    assert await consumer.positions.committed([A, B]) == {A: TEN, B: TWENTY}
    assert consumer.asked == [{A, B}, {A, B}, {B}]
    assert [retry.failures for retry in consumer.retries] == [1, 2]


@pytest.mark.parametrize(
    "answer",
    [
        refusing(errors.GroupAuthorizationFailedError()),
        answering({A: errors.GroupAuthorizationFailedError()}),
    ],
    ids=["for all", "for one"],
)
async def test_what_stays_wrong_is_raised(answer: Answer) -> None:
    with pytest.raises(errors.GroupAuthorizationFailedError):
        await Consumer(answer).positions.committed([A])
