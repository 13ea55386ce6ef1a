"""Fetching across rebalances: what stays is not touched, and nobody waits for anybody."""

import asyncio
import struct
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition, errors
from aiokafka.client import ConnectionGroup
from aiokafka.errors import ConsumerStoppedError, KafkaError, NoOffsetForPartitionError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import OffsetAndMetadata

from kafka_utils.aiokafka_internals import IncrementalFetcher, IncrementalSubscription

pytestmark = pytest.mark.looptime

A, B, C = (TopicPartition("t", number) for number in range(3))
LONG_POLL = 0.5
EARLIEST, LATEST = -2, -1

Call = Callable[[], Awaitable[None]]
Records = Mapping[TopicPartition, list[Any]]


def now() -> float:
    return asyncio.get_running_loop().time()


def batch(first: int, count: int) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1_000_000,
    )
    for number in range(count):
        builder.append(number, timestamp=0, key=None, value=b"%d" % (first + number), headers=[])
    data = builder.build()
    struct.pack_into(">q", data, 0, first)
    return bytes(data)


class Brokers:
    """A client whose brokers have logs; a fetch waits for records, as long as it may."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._metadata_max_age_ms = 300_000
        self._request_timeout_ms = 30_000
        self._connections: dict[Any, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.written = asyncio.Event()
        self.long_fetches: list[tuple[float, int, set[TopicPartition]]] = []
        self.cluster: Any = self
        self.leaders: dict[TopicPartition, int] = {}
        self.ends: Counter[TopicPartition] = Counter()
        self.broken: set[TopicPartition] = set()
        self.most = 100
        self.fetches: list[tuple[int, dict[TopicPartition, int]]] = []
        self.lookups: list[tuple[float, TopicPartition, int]] = []
        self.on_fetch: dict[int, Call] = {}
        self.on_lookup: Call | None = None

    def leader_for_partition(self, partition: TopicPartition) -> int:
        return self.leaders.get(partition, 0)

    def force_metadata_update(self) -> asyncio.Future[bool]:
        done: asyncio.Future[bool] = self._loop.create_future()
        done.set_result(True)
        return done

    async def _maybe_wait_metadata(self) -> None:
        pass

    async def send(self, node: int, request: Any, *, group: Any = ConnectionGroup.DEFAULT) -> Any:
        asked = [
            (TopicPartition(topic, partition), value)
            for topic, partitions in request._topics
            for partition, value, *_ in partitions
        ]
        if isinstance(request, FetchRequest):
            return await self._fetch(node, dict(asked), request._max_wait_ms / 1000, group)
        return await self._look_up(asked)

    async def _fetch(
        self, node: int, asked: dict[TopicPartition, int], seconds: float, group: Any
    ) -> Any:
        self.fetches.append((node, asked))
        if seconds > LONG_POLL:
            self.long_fetches.append((now(), node, set(asked)))
        # A broker answers the requests of one connection in order.
        async with self._connections[node, group]:
            return await self._answer(node, asked, seconds)

    async def _answer(self, node: int, asked: dict[TopicPartition, int], seconds: float) -> Any:
        answer = [(here, self._read(here, offset)) for here, offset in asked.items()]
        if node in self.on_fetch:
            await self.on_fetch[node]()
        elif not any(data for _, data in answer):
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._comes(asked)
            answer = [(here, self._read(here, offset)) for here, offset in asked.items()]
        topics: list[tuple[str, list[Any]]] = [
            (here.topic, [(here.partition, 0, self.ends[here], self.ends[here], [], data)])
            for here, data in answer
        ]
        return SimpleNamespace(API_VERSION=4, topics=topics)

    async def _comes(self, asked: dict[TopicPartition, int]) -> None:
        while all(self.ends[here] <= offset for here, offset in asked.items()):
            self.written.clear()
            await self.written.wait()

    def write(self, here: TopicPartition, count: int) -> None:
        """So many records come."""
        self.ends[here] += count
        self.written.set()

    def _read(self, here: TopicPartition, offset: int) -> bytes:
        count = min(self.ends[here] - offset, self.most)
        data = batch(offset, count) if count > 0 else b""
        return data[:-1] + b"\x7f" if here in self.broken and data else data

    async def _look_up(self, asked: list[tuple[TopicPartition, int]]) -> Any:
        ((here, strategy),) = asked
        self.lookups.append((now(), here, strategy))
        if self.on_lookup:
            await self.on_lookup()
        found = (here.partition, 0, -1, 0 if strategy == EARLIEST else self.ends[here])
        return SimpleNamespace(API_VERSION=2, topics=[(here.topic, [found])])

    def fetched_from(self, here: TopicPartition) -> list[int]:
        return [asked[here] for _, asked in self.fetches if here in asked]


class Consumer:
    """A fetcher and what it fetches from."""

    def __init__(self, **options: Any) -> None:
        self.brokers = Brokers()
        self.subscription = IncrementalSubscription()
        self.subscription.subscribe({"t"})
        stub: Any = self.brokers
        given = {
            "fetcher_timeout": 5.0,
            "prefetch_backoff": 0.0,
            "auto_offset_reset": "none",
        } | options
        self.fetcher = IncrementalFetcher(stub, self.subscription, **given)
        self.unplaced: list[frozenset[TopicPartition]] = []
        self.fetcher.unplaced = self.unplaced.append

    def assign(self, *partitions: TopicPartition, at: int | None = 0) -> None:
        """Add these, place them and open them."""
        added = frozenset(partitions)
        self.fetcher.add(added)
        if at is not None:
            self.fetcher.place(dict.fromkeys(added, OffsetAndMetadata(at, "")))
        self.fetcher.open(added)

    def revoke(self, *partitions: TopicPartition) -> None:
        self.fetcher.freeze(frozenset(partitions))
        self.fetcher.remove(frozenset(partitions))

    async def poll(
        self, seconds: float = 0.0, most: int | None = None, of: tuple[TopicPartition, ...] = ()
    ) -> dict[TopicPartition, list[int]]:
        records: Records = await self.fetcher.fetched_records(of, seconds, most)
        return {here: [record.offset for record in those] for here, those in records.items()}

    def state(self, here: TopicPartition) -> Any:
        assignment = self.subscription.assigned()
        return assignment and assignment.state_value(here)


# Adding, opening, freezing, removing.


async def test_what_is_added_is_handed_over_when_it_is_opened() -> None:
    consumer = Consumer()
    consumer.brokers.ends[A] = 3
    consumer.fetcher.add(frozenset({A}))
    assert consumer.unplaced == [frozenset({A})]
    consumer.fetcher.place({A: OffsetAndMetadata(0, "")})
    assert await consumer.poll(1) == {}
    consumer.fetcher.open(frozenset({A}))

    assert await consumer.poll(1) == {A: [0, 1, 2]}


async def test_a_partition_is_read_from_where_it_was_placed() -> None:
    consumer = Consumer()
    consumer.brokers.ends[A] = 30
    consumer.assign(A, at=27)

    assert await consumer.poll(1) == {A: [27, 28, 29]}


async def test_what_stays_keeps_its_state_its_buffer_and_its_position() -> None:
    consumer = Consumer()
    consumer.brokers.ends.update({A: 10, B: 10, C: 10})
    consumer.assign(A, B)
    assert await consumer.poll(1, most=4, of=(A,)) == {A: [0, 1, 2, 3]}
    state = consumer.state(A)
    consumer.revoke(B)
    consumer.assign(C)
    consumer.revoke(C)

    assert consumer.state(A) is state
    assert await consumer.poll(0) == {A: [4, 5, 6, 7, 8, 9]}
    assert consumer.brokers.fetched_from(A) == [0]


async def test_nothing_is_handed_over_nor_fetched_of_what_is_frozen() -> None:
    consumer = Consumer()
    consumer.brokers.ends.update({A: 10, B: 10})
    consumer.assign(A, B)
    await asyncio.sleep(1)
    consumer.fetcher.freeze(frozenset({A}))
    consumer.brokers.fetches.clear()
    consumer.brokers.ends[A] = 20

    assert await consumer.poll(0) == {B: list(range(10))}
    assert await consumer.poll(3) == {}
    assert consumer.brokers.fetched_from(A) == []
    assert consumer.state(A).position == 0  # It may still be committed.


async def test_a_fetch_under_way_when_a_partition_is_frozen_hands_nothing_over() -> None:
    consumer = Consumer()
    consumer.assign(A)
    await asyncio.sleep(0.1)
    consumer.brokers.ends[A] = 10
    consumer.fetcher.freeze(frozenset({A}))

    assert await consumer.poll(2) == {}


async def test_an_error_that_nobody_took_before_a_revoke_is_told_when_that_is_taken_back() -> None:
    consumer = Consumer()
    consumer.assign(A, at=None)
    await asyncio.sleep(1)
    consumer.fetcher.place({A: None})
    consumer.unplaced.clear()
    consumer.fetcher.freeze(frozenset({A}))
    assert await consumer.poll(1) == {}
    consumer.fetcher.open(frozenset({A}))

    with pytest.raises(NoOffsetForPartitionError):
        await consumer.poll(1)
    assert consumer.unplaced == [frozenset({A})]


async def test_who_waits_for_the_position_of_what_is_removed_is_let_go() -> None:
    consumer = Consumer()
    consumer.fetcher.add(frozenset({A}))
    waiting = asyncio.ensure_future(consumer.state(A).wait_for_position())
    consumer.revoke(A)
    await waiting

    assert not consumer.subscription.is_assigned(A)


async def test_a_late_answer_for_a_partition_that_went_and_came_back_is_dropped() -> None:
    consumer = Consumer()
    consumer.brokers.ends.update({A: 5, B: 5})

    async def slow() -> None:
        await asyncio.sleep(2)

    consumer.brokers.on_fetch[0] = slow
    consumer.assign(A, B)
    await asyncio.sleep(1)
    consumer.revoke(A)
    # Its next owner had come no further: the position is that of the fetch under way.
    consumer.assign(A, at=0)
    await asyncio.sleep(1.1)

    assert await consumer.poll(0) == {B: [0, 1, 2, 3, 4]}
    assert await consumer.poll(3) == {A: [0, 1, 2, 3, 4]}


async def test_a_late_answer_for_a_partition_that_is_gone_is_dropped() -> None:
    consumer = Consumer()
    consumer.brokers.ends.update({A: 5, B: 5})

    async def slow() -> None:
        await asyncio.sleep(2)

    consumer.brokers.on_fetch[0] = slow
    consumer.assign(A, B)
    await asyncio.sleep(1)
    consumer.revoke(A)

    assert await consumer.poll(5) == {B: [0, 1, 2, 3, 4]}
    assert not consumer.fetcher.error_future.done()


async def test_records_that_are_buffered_when_a_partition_goes_are_gone() -> None:
    consumer = Consumer()
    consumer.brokers.ends[A] = 10
    consumer.assign(A)
    assert await consumer.poll(1, most=4) == {A: [0, 1, 2, 3]}
    consumer.revoke(A)
    consumer.assign(A, at=2)

    assert await consumer.poll(1, most=4) == {A: [2, 3, 4, 5]}


# Nobody waits for anybody.


async def test_a_partition_whose_place_is_not_known_keeps_no_other_one_waiting() -> None:
    consumer = Consumer()
    consumer.brokers.ends.update({A: 3, B: 3})
    consumer.assign(A, at=None)
    consumer.assign(B)

    assert await consumer.poll(1) == {B: [0, 1, 2]}
    consumer.brokers.ends[B] = 6
    assert await consumer.poll(1) == {B: [3, 4, 5]}


async def test_a_reset_that_takes_long_keeps_no_other_one_waiting() -> None:
    consumer = Consumer(auto_offset_reset="earliest")
    consumer.brokers.ends.update({A: 3, B: 3})

    async def slow() -> None:
        await asyncio.sleep(10)

    consumer.brokers.on_lookup = slow
    consumer.assign(A, at=None)
    consumer.fetcher.place({A: None})
    consumer.assign(B)

    assert await consumer.poll(1) == {B: [0, 1, 2]}
    assert await consumer.poll(15) == {A: [0, 1, 2]}


async def test_a_broker_that_does_not_answer_keeps_no_other_one_waiting() -> None:
    consumer = Consumer()
    consumer.brokers.leaders[A] = 1
    consumer.brokers.ends.update({A: 3, B: 3})

    async def slow() -> None:
        await asyncio.sleep(10)

    consumer.brokers.on_fetch[1] = slow
    consumer.assign(A, B)

    assert await consumer.poll(1) == {B: [0, 1, 2]}


# Places.


async def test_what_is_placed_already_is_left_where_it_is() -> None:
    consumer = Consumer()
    consumer.assign(A, at=5)
    assert not consumer.fetcher.needs_place(A)
    consumer.fetcher.place({A: OffsetAndMetadata(0, ""), B: OffsetAndMetadata(0, "")})

    assert consumer.state(A).position == 5
    assert consumer.state(B) is None


async def test_without_a_policy_nothing_committed_is_an_error_for_who_asks() -> None:
    consumer = Consumer()
    consumer.assign(A, at=None)
    consumer.unplaced.clear()
    consumer.fetcher.place({A: None})
    with pytest.raises(NoOffsetForPartitionError):
        await consumer.poll(1)

    # Perhaps somebody commits one now: it is asked for again.
    assert consumer.unplaced == [frozenset({A})]
    assert await consumer.poll(1) == {}


async def test_a_lookup_that_failed_is_an_error_for_who_asks() -> None:
    consumer = Consumer()
    consumer.brokers.ends[B] = 3
    consumer.assign(A, at=None)
    consumer.assign(B)
    consumer.fetcher.place({A: errors.GroupAuthorizationFailedError()})
    with pytest.raises(errors.GroupAuthorizationFailedError):
        await consumer.poll(1, of=(A,))

    assert await consumer.poll(1) == {B: [0, 1, 2]}


async def test_an_error_waits_for_the_records_before_it() -> None:
    consumer = Consumer()
    consumer.brokers.ends[B] = 3
    consumer.assign(B)
    consumer.assign(A, at=None)
    await asyncio.sleep(1)
    consumer.fetcher.place({A: errors.GroupAuthorizationFailedError()})

    assert await consumer.poll(1) == {B: [0, 1, 2]}
    with pytest.raises(errors.GroupAuthorizationFailedError):
        await consumer.poll(1)


async def test_after_a_seek_the_error_is_past() -> None:
    consumer = Consumer()
    consumer.brokers.ends[A] = 3
    consumer.assign(A, at=None)
    consumer.fetcher.place({A: None})
    consumer.fetcher.seek_to(A, 1)

    assert await consumer.poll(1) == {A: [1, 2]}


@pytest.mark.parametrize(("policy", "first"), [("earliest", 0), ("latest", 10)])
async def test_the_reset_policy_holds_where_nothing_is_committed(policy: str, first: int) -> None:
    consumer = Consumer(auto_offset_reset=policy)
    consumer.brokers.ends[A] = 10
    consumer.assign(A, at=None)
    consumer.fetcher.place({A: None})
    await asyncio.sleep(1)
    assert consumer.state(A).position == first
    consumer.brokers.ends[A] = 12

    assert (await consumer.poll(1))[A][0] == first


async def test_a_reset_that_is_refused_is_told_once_and_asked_for_again_when_it_was() -> None:
    consumer = Consumer(auto_offset_reset="earliest")
    consumer.brokers.ends[A] = 3

    async def refuse() -> None:
        raise errors.TopicAuthorizationFailedError

    consumer.brokers.on_lookup = refuse
    consumer.assign(A, at=None)
    consumer.fetcher.place({A: None})
    await asyncio.sleep(5)
    assert len(consumer.brokers.lookups) == 1
    with pytest.raises(errors.TopicAuthorizationFailedError):
        await consumer.poll(1)
    consumer.brokers.on_lookup = None

    assert await consumer.poll(1) == {A: [0, 1, 2]}


async def test_the_last_seek_counts() -> None:
    consumer = Consumer()
    consumer.brokers.ends[A] = 10
    consumer.assign(A)
    await asyncio.sleep(1)

    async def slow() -> None:
        await asyncio.sleep(2)

    consumer.brokers.on_lookup = slow
    first = asyncio.ensure_future(consumer.fetcher.request_offset_reset([A], EARLIEST))
    await asyncio.sleep(1)
    second = asyncio.ensure_future(consumer.fetcher.request_offset_reset([A], LATEST))
    await asyncio.gather(first, second)

    assert consumer.state(A).position == 10


async def test_a_reset_ends_with_its_partition() -> None:
    consumer = Consumer()
    consumer.brokers.ends[A] = 10
    consumer.assign(A)

    async def slow() -> None:
        await asyncio.sleep(2)

    consumer.brokers.on_lookup = slow
    seeking = asyncio.ensure_future(consumer.fetcher.request_offset_reset([A], LATEST))
    await asyncio.sleep(1)
    consumer.revoke(A)
    consumer.assign(A, at=3)
    await asyncio.wait({seeking}, timeout=5)

    assert consumer.state(A).position == 3


# Pauses.


async def test_a_pause_keeps_what_is_buffered() -> None:
    consumer = Consumer()
    consumer.brokers.ends[A] = 10
    consumer.assign(A)
    await asyncio.sleep(1)
    consumer.subscription.pause(A)
    assert await consumer.poll(5) == {}
    consumer.subscription.resume(A)

    assert await consumer.poll(0) == {A: list(range(10))}
    assert consumer.brokers.fetched_from(A) == [0]


async def test_a_pause_lasts_across_the_comings_and_goings_of_others() -> None:
    consumer = Consumer()
    consumer.brokers.ends.update({A: 10, B: 10})
    consumer.assign(A)
    consumer.subscription.pause(A)
    consumer.assign(B)
    consumer.revoke(B)

    assert await consumer.poll(5) == {}
    assert consumer.subscription.paused_partitions() == {A}


async def test_who_waits_for_records_is_woken_by_a_resume() -> None:
    consumer = Consumer()
    consumer.brokers.ends[A] = 3
    consumer.assign(A)
    await asyncio.sleep(1)
    consumer.subscription.pause(A)
    polling = asyncio.create_task(consumer.poll(60))
    await asyncio.sleep(10)
    began = now()
    consumer.subscription.resume(A)

    assert await polling == {A: [0, 1, 2]}
    assert now() == began


async def test_a_partition_that_comes_back_is_not_paused_any_more() -> None:
    consumer = Consumer()
    consumer.brokers.ends[A] = 3
    consumer.assign(A)
    consumer.subscription.pause(A)
    consumer.revoke(A)
    consumer.assign(A)

    assert await consumer.poll(1) == {A: [0, 1, 2]}


# Handing over.


async def test_the_timeout_holds_also_while_nothing_is_assigned() -> None:
    consumer = Consumer()

    assert await consumer.poll(0.2) == {}
    assert now() == pytest.approx(0.2)


async def test_the_timeout_includes_every_wait() -> None:
    consumer = Consumer()
    consumer.assign(A)
    polling = asyncio.create_task(consumer.poll(1))
    for _ in range(20):
        await asyncio.sleep(0.3)
        consumer.fetcher.open(frozenset())  # Wakes it, for nothing.
        if polling.done():
            break

    assert await polling == {}
    assert now() == pytest.approx(1.2)


async def test_records_end_the_wait_at_once() -> None:
    consumer = Consumer()
    consumer.assign(A)
    polling = asyncio.create_task(consumer.poll(60))
    await asyncio.sleep(0.1)
    consumer.brokers.ends[A] = 1

    assert await polling == {A: [0]}
    assert now() <= LONG_POLL + 0.01


async def test_each_partition_has_its_turn_when_few_records_are_taken_at_a_time() -> None:
    consumer = Consumer()
    consumer.brokers.ends.update({A: 100, B: 100, C: 100})
    consumer.assign(A, B, C)
    await asyncio.sleep(1)
    turns = [tuple(await consumer.poll(1, most=5)) for _ in range(9)]

    assert all(len(turn) == 1 for turn in turns)
    assert {turns[0], turns[1], turns[2]} == {(A,), (B,), (C,)}
    assert turns[3:6] == turns[6:9] == turns[0:3]


async def test_no_more_records_are_taken_than_were_asked_for() -> None:
    consumer = Consumer()
    consumer.brokers.ends.update({A: 3, B: 100})
    consumer.assign(A, B)
    await asyncio.sleep(1)
    taken = [await consumer.poll(0, most=5) for _ in range(2)]

    assert [sum(map(len, records.values())) for records in taken] == [5, 5]
    offsets = [offset for records in taken for offset in records.get(B, [])]
    assert offsets == list(range(len(offsets)))


async def test_only_the_named_partitions_are_taken_from() -> None:
    consumer = Consumer()
    consumer.brokers.ends.update({A: 3, B: 3})
    consumer.assign(A, B)
    await asyncio.sleep(1)

    assert await consumer.poll(0, of=(B,)) == {B: [0, 1, 2]}
    assert await consumer.poll(0) == {A: [0, 1, 2]}


async def test_an_unreadable_record_does_not_lose_what_others_had() -> None:
    consumer = Consumer()
    consumer.brokers.ends.update({A: 3, B: 3})
    consumer.brokers.broken.add(B)
    consumer.assign(A)
    await asyncio.sleep(1)
    consumer.assign(B)
    await asyncio.sleep(1)

    assert await consumer.poll(0) == {A: [0, 1, 2]}
    with pytest.raises(errors.CorruptRecordException):
        await consumer.poll(1)
    consumer.brokers.broken.clear()
    assert await consumer.poll(1) == {B: [0, 1, 2]}


async def test_records_come_one_by_one_too() -> None:
    consumer = Consumer()
    consumer.brokers.ends.update({A: 2, B: 2})
    consumer.assign(A, B)
    taken = [await consumer.fetcher.next_record(()) for _ in range(4)]

    assert Counter(record.partition for record in taken) == {0: 2, 1: 2}
    assert [record.offset for record in taken] == [0, 0, 1, 1]
    assert [await consumer.poll(1)] == [{}]


async def test_it_is_looked_whether_records_may_be_handed_over_at_all() -> None:
    consumer = Consumer()
    consumer.brokers.ends[A] = 3
    consumer.assign(A)
    await asyncio.sleep(1)
    consumer.fetcher.look = lambda: consumer.revoke(A)

    assert await consumer.poll(1) == {}


async def test_a_broker_that_fails_is_asked_again() -> None:
    consumer = Consumer()
    consumer.brokers.ends[A] = 3

    async def refuse() -> None:
        raise errors.KafkaConnectionError

    consumer.brokers.on_fetch[0] = refuse
    consumer.assign(A)
    await asyncio.sleep(1)
    del consumer.brokers.on_fetch[0]

    assert await consumer.poll(1) == {A: [0, 1, 2]}


# The end.


async def test_who_waits_is_let_go_at_the_end() -> None:
    consumer = Consumer()
    consumer.assign(A)
    many = asyncio.create_task(consumer.poll(60))
    one = asyncio.create_task(consumer.fetcher.next_record(()))
    await asyncio.sleep(1)
    await consumer.fetcher.close()

    assert await many == {}
    with pytest.raises(ConsumerStoppedError):
        await one


async def test_the_end_comes_also_while_a_fetch_waits_in_its_backoff() -> None:
    consumer = Consumer(retry_backoff_ms=60_000)

    async def refuse() -> None:
        raise errors.KafkaConnectionError

    consumer.brokers.on_fetch[0] = refuse
    consumer.assign(A)
    await asyncio.sleep(1)
    await consumer.fetcher.close()

    assert now() == 1


async def test_a_failure_for_good_reaches_who_waits() -> None:
    consumer = Consumer()
    consumer.assign(A)
    many = asyncio.create_task(consumer.poll(60))
    one = asyncio.create_task(consumer.fetcher.next_record(()))
    await asyncio.sleep(1)
    consumer.subscription.fail(KafkaError("the end"))
    results = await asyncio.gather(many, one, return_exceptions=True)

    assert [str(result) for result in results] == ["KafkaError: the end"] * 2


@pytest.mark.parametrize("many", [True, False])
async def test_a_cancelled_wait_leaves_nothing_behind(many: bool) -> None:
    consumer = Consumer()
    consumer.assign(A)
    waiting = consumer.poll(60) if many else consumer.fetcher.next_record(())
    polling = asyncio.ensure_future(waiting)
    await asyncio.sleep(1)
    polling.cancel()
    await asyncio.wait({polling})
    await asyncio.sleep(0)

    assert consumer.fetcher._fetch_waiters == set()


# Fetches that wait for long.


async def still(*partitions: TopicPartition, **options: Any) -> Consumer:
    """A consumer of partitions that are empty, to whom nothing has happened for a while."""
    consumer = Consumer(**options)
    consumer.assign(*partitions)
    assert await consumer.poll(2.5) == {}
    assert consumer.brokers.long_fetches
    return consumer


async def test_where_nothing_happens_a_broker_is_asked_every_ten_seconds() -> None:
    consumer = await still(A, B)
    fetches = len(consumer.brokers.fetches)

    assert await consumer.poll(60) == {}

    assert len(consumer.brokers.fetches) - fetches <= 6
    assert all(asked == {A, B} for *_, asked in consumer.brokers.long_fetches)


async def test_a_record_that_comes_during_a_long_fetch_is_there_at_once() -> None:
    consumer = await still(A, B)
    asyncio.get_running_loop().call_later(3, consumer.brokers.write, B, 2)
    began = now()

    assert await consumer.poll(60) == {B: [0, 1]}
    assert now() - began == pytest.approx(3)


async def test_after_a_record_a_fetch_is_short_again_for_a_while() -> None:
    consumer = await still(A)
    consumer.brokers.write(A, 1)
    assert await consumer.poll(1) == {A: [0]}
    long_fetches = len(consumer.brokers.long_fetches)

    await consumer.poll(0.9)
    assert len(consumer.brokers.long_fetches) == long_fetches
    await consumer.poll(2)
    assert len(consumer.brokers.long_fetches) == long_fetches + 1


async def test_what_is_added_during_a_long_fetch_waits_for_nothing() -> None:
    consumer = await still(A)
    consumer.brokers.ends[B] = 2
    began = now()
    consumer.assign(B)

    assert await consumer.poll(5) == {B: [0, 1]}
    assert now() == began


async def test_what_was_moved_during_a_long_fetch_waits_for_nothing() -> None:
    consumer = await still(A, B)
    consumer.brokers.ends[B] = 5
    began = now()
    consumer.fetcher.seek_to(B, 3)

    assert await consumer.poll(5) == {B: [3, 4]}
    assert now() == began


async def test_what_has_another_leader_during_a_long_fetch_is_asked_of_that_one() -> None:
    consumer = await still(A, B)
    consumer.brokers.leaders[B] = 1
    consumer.brokers.ends[B] = 2
    began = now()
    consumer.fetcher.open(frozenset())  # as anything that happens

    assert await consumer.poll(5) == {B: [0, 1]}
    assert now() == began
    assert consumer.brokers.fetches[-1][0] == 1


async def test_what_went_and_came_back_gets_nothing_of_a_long_fetch_from_before() -> None:
    consumer = await still(A, B)
    consumer.revoke(B)
    consumer.assign(B, at=1)
    consumer.brokers.write(B, 3)

    assert await consumer.poll(5) == {B: [1, 2]}
    await consumer.poll(20)
    assert consumer.state(B).position == 3


async def test_what_is_paused_during_a_long_fetch_has_its_records_when_it_goes_on() -> None:
    consumer = await still(A, B)
    consumer.subscription.pause(B)
    consumer.brokers.write(B, 2)
    assert await consumer.poll(5) == {}
    consumer.subscription.resume(B)

    assert await consumer.poll(1) == {B: [0, 1]}


async def test_a_long_fetch_that_fails_is_followed_by_another() -> None:
    consumer = await still(A)

    async def refuse() -> None:
        del consumer.brokers.on_fetch[0]
        raise KafkaError

    consumer.brokers.on_fetch[0] = refuse
    await consumer.poll(11)
    consumer.brokers.write(A, 1)

    assert await consumer.poll(5) == {A: [0]}


async def test_an_error_of_a_long_fetch_that_is_unforeseen_ends_the_fetching() -> None:
    consumer = await still(A)

    async def fail() -> None:
        raise ZeroDivisionError

    consumer.brokers.on_fetch[0] = fail
    await consumer.poll(11)

    assert isinstance(consumer.fetcher.error_future.exception(), KafkaError)


async def test_a_long_fetch_ends_with_the_fetcher() -> None:
    consumer = await still(A)

    await consumer.fetcher.close()

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_fetch_waits_for_half_of_what_a_request_may_take_at_most() -> None:
    # The fetch loop looks at everything in the very moment in which such a fetch ends, too.
    consumer = await still(A, fetcher_timeout=0.2)
    consumer.brokers._request_timeout_ms = 4_000
    consumer.brokers.long_fetches.clear()
    await consumer.poll(12)
    consumer.brokers.long_fetches.clear()

    await consumer.poll(20)

    moments = [moment for moment, *_ in consumer.brokers.long_fetches]
    assert [later - one for one, later in pairwise(moments)] == pytest.approx([2.0] * 9)
