"""The controller against a scripted consumer and producer, in virtual time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    CorruptRecordException,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NoOffsetForPartitionError,
    NotEnoughReplicasError,
    OffsetOutOfRangeError,
    RequestTimedOutError,
)
from prometheus_client import CollectorRegistry

from app_worker.admission import Admission, Source
from app_worker.controller import (
    LEAVE_SECONDS,
    RELIEF_SHARE,
    Controller,
    ControllerSettings,
    Subscription,
)
from app_worker.delays import DelaySchedule
from app_worker.handler import DeadLetter, Done, Outcome, Park
from app_worker.observability.metrics import WorkerMetrics
from app_worker.parked_headers import fresh, unpark
from app_worker.parking import Parking
from app_worker.record import Record
from kafka_utils import FencedError, GroupError

pytestmark = pytest.mark.looptime

EPOCH = 1_700_000_000.0
A, B = TopicPartition("t", 0), TopicPartition("t", 1)
Message = ConsumerRecord[bytes, bytes]


def wall_clock() -> float:
    return EPOCH + asyncio.get_running_loop().time()


def message(partition: TopicPartition, offset: int, value: bytes = b"v", **more: Any) -> Message:
    return ConsumerRecord(
        topic=partition.topic,
        partition=partition.partition,
        offset=offset,
        timestamp=more.get("timestamp", 0),
        timestamp_type=0,
        key=b"k",
        value=value,
        checksum=None,
        serialized_key_size=1,
        serialized_value_size=len(value),
        headers=more.get("headers", ()),
    )


class ScriptedConsumer:
    """Behaves as the group's consumer does, with logs in memory and rebalances on command."""

    def __init__(self) -> None:
        self.logs: dict[TopicPartition, list[Message]] = {}
        self.log_starts: dict[TopicPartition, int] = {}
        self.ends: dict[TopicPartition, int] = {}
        self.group: dict[TopicPartition, int] = {}
        self.positions: dict[TopicPartition, int | None] = {}
        self.commits: list[dict[TopicPartition, int]] = []
        self.refuse_commit: Callable[[], Awaitable[None]] | None = None
        self.errors: list[Exception] = []
        self.lose_with_error: Exception | None = None
        self.lookup_errors: list[Exception] = []
        self.leaderless: set[TopicPartition] = set()
        self.questions: list[list[TopicPartition]] = []
        self.question_errors: list[Exception] = []
        self.unreadable: dict[tuple[TopicPartition, int], Exception] = {}
        self.polls: list[tuple[TopicPartition, ...]] = []
        self.delivered: list[tuple[TopicPartition, int]] = []
        self.fetching: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.relief_seconds: float | None = 0.001
        """How long after it asked to be relieved it is; None: never."""
        self.relief_error: Exception | None = None
        self.hold_stop: asyncio.Event | None = None
        self.stop_error: Exception | None = None
        self.happened: list[tuple[str, float]] = []
        """What became of the membership, and when."""
        self.closed = False
        self._silent: set[TopicPartition] = set()
        """Assigned, but nothing of these is handed over (yet or any more)."""
        self._changed = asyncio.Event()
        self._one_revoke = asyncio.Lock()
        self._relief: asyncio.Task[None] | None = None
        self._listener: Any = None

    # What a test does.

    def append(self, partition: TopicPartition, *offsets: int, **more: Any) -> None:
        self.put(partition, *(message(partition, offset, **more) for offset in offsets))

    def put(self, partition: TopicPartition, *messages: Message) -> None:
        self.logs.setdefault(partition, []).extend(messages)
        self.ends[partition] = messages[-1].offset + 1
        self._changed.set()

    async def assign(self, *partitions: TopicPartition) -> None:
        """A plan adds these; those that are held already go on."""
        self.positions |= {partition: self.group.get(partition) for partition in partitions}
        self._silent |= set(partitions)
        await self._listener.on_partitions_assigned(set(partitions))
        self._silent -= set(partitions)
        self._changed.set()

    async def revoke(self, *partitions: TopicPartition) -> None:
        """A plan takes these away; all, if none are named."""
        async with self._one_revoke:
            taken = set(partitions or self.positions) & self.positions.keys()
            if not taken:
                return
            self._silent |= taken
            await self._listener.on_partitions_revoked(set(taken))
            self._forget(taken)

    async def lose(self, *partitions: TopicPartition) -> None:
        """Others have these already."""
        self._forget(partitions)
        await self._listener.on_partitions_lost(set(partitions))

    async def rebalance(self, *partitions: TopicPartition) -> None:
        """As with an eager assignor: everything is given back first."""
        await self.revoke()
        await self.assign(*partitions)

    def when(self, what: str) -> float:
        return dict(self.happened)[what]

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            del self.positions[partition]
            self._silent.discard(partition)

    def _note(self, what: str) -> None:
        self.happened.append((what, asyncio.get_running_loop().time()))

    async def _relieve(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._note("relieved")
        await self.revoke()

    # What the controller uses.

    def subscribe(self, topics: Sequence[str], listener: Any) -> None:
        assert topics
        self._listener = listener

    async def relinquish(self) -> None:
        self._note("asked")
        if self.relief_error:
            raise self.relief_error
        if self.positions:
            if self.relief_seconds is None:
                await asyncio.Event().wait()
                raise AssertionError
            # The plan comes, and its revoke goes on, also for one that has ceased to wait for it.
            self._relief = asyncio.create_task(self._relieve(self.relief_seconds))
            await asyncio.shield(self._relief)
        self._note("left")

    async def stop(self) -> None:
        self.closed = True
        self._note("stopped")
        await self.revoke()
        if self.hold_stop:
            await self.hold_stop.wait()
        if self.stop_error:
            raise self.stop_error

    def assignment(self) -> set[TopicPartition]:
        return set(self.positions)

    def highwater(self, partition: TopicPartition) -> int | None:
        return self.ends.get(partition)

    async def position(self, partition: TopicPartition) -> int:
        if partition not in self.positions:
            raise IllegalStateError(partition)
        position = self.positions[partition]
        if position is None:
            await asyncio.Event().wait()
            raise AssertionError
        return position

    async def committed_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int | None]:
        self.questions.append(list(partitions))
        await asyncio.sleep(0.01)
        if self.question_errors:
            raise self.question_errors.pop(0)
        return {partition: self.group.get(partition) for partition in partitions}

    async def beginning_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        await asyncio.sleep(0.01)
        if self.lookup_errors:
            raise self.lookup_errors.pop(0)
        if not self.leaderless.isdisjoint(partitions):
            await asyncio.sleep(30)
            raise KafkaTimeoutError
        return {partition: self.log_starts.get(partition, 0) for partition in partitions}

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        await asyncio.sleep(0.01)
        return {partition: self.ends.get(partition, 0) for partition in partitions}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        if partition not in self.positions:
            raise IllegalStateError(partition)
        self.positions[partition] = offset
        self._changed.set()

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        for partition in offsets:
            if partition not in self.positions:
                raise IllegalStateError(f"Partition {partition} is not assigned")
        await asyncio.sleep(0.005)
        if self.refuse_commit:
            await self.refuse_commit()
        self.commits.append(offsets)
        self.group.update(offsets)

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Message]]:
        self.polls.append(partitions)
        if self.closed:
            raise ConsumerStoppedError
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_ms / 1000
        while True:
            if self.errors:
                raise self.errors.pop(0)
            self._changed.clear()
            taken = self._take(partitions, max_records)
            if self.lose_with_error and taken:
                error, self.lose_with_error = self.lose_with_error, None
                raise error
            if taken or not timeout_ms:
                return taken
            try:
                async with asyncio.timeout_at(until):
                    await self._changed.wait()
            except TimeoutError:
                return {}

    def _take(
        self, partitions: Sequence[TopicPartition], most: int
    ) -> dict[TopicPartition, list[Message]]:
        taken: dict[TopicPartition, list[Message]] = {}
        for partition in partitions:
            if partition not in self.positions or partition in self._silent:
                continue
            position = self.positions[partition]
            if position is None:
                raise NoOffsetForPartitionError(partition)
            start, end = self.log_starts.get(partition, 0), self.ends.get(partition, 0)
            if not start <= position <= end:
                raise OffsetOutOfRangeError({partition: position})
            log = [one for one in self.logs.get(partition, ()) if one.offset >= position][:most]
            for one in log:
                if error := self.unreadable.get((partition, one.offset)):
                    raise error
            most -= len(log)
            self.positions[partition] = log[-1].offset + 1 if log else end
            if log:
                taken[partition] = log
                self.delivered += [(partition, one.offset) for one in log]
            if not most:
                break
        return taken


class ScriptedProducer:
    """Stores what it is sent, unless it is told to refuse."""

    def __init__(self) -> None:
        self.refuse: Exception | None = None
        self.stored: list[tuple[str, dict[str, bytes | None]]] = []

    async def send_and_wait(
        self,
        topic: str,
        *,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
    ) -> None:
        await asyncio.sleep(0.001)
        if self.refuse:
            raise self.refuse
        self.stored.append((topic, dict(headers)))

    send_alone = send_and_wait


class ScriptedHandler:
    """Does for each record what the test says, and remembers what it began and finished."""

    def __init__(self) -> None:
        self.began: list[tuple[int, int]] = []
        self.finished: list[tuple[int, int]] = []
        self.times: dict[tuple[int, int], float] = {}
        self.held: dict[tuple[int, int], asyncio.Event] = {}
        self.outcomes: Callable[[Record], Any] = lambda _: [Done()]
        self.seconds: Callable[[Record], float] = lambda _: 0.0
        self.running = self.most_running = 0

    def hold(self, partition: int, *offsets: int) -> None:
        for offset in offsets:
            self.held[partition, offset] = asyncio.Event()

    def let_go(self, partition: int, *offsets: int) -> None:
        for offset in offsets:
            self.held[partition, offset].set()

    async def handle(self, record: Record) -> Sequence[Outcome]:
        place = (record.partition, record.offset)
        self.began.append(place)
        self.times[place] = asyncio.get_running_loop().time()
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            if held := self.held.get(place):
                await held.wait()
            await asyncio.sleep(self.seconds(record))
        finally:
            self.running -= 1
        self.finished.append(place)
        return self.outcomes(record)  # type: ignore[no-any-return]


class Bench:
    """A controller with everything around it scripted."""

    def __init__(self, limits: Admission | None = None, **settings: Any) -> None:
        self.consumer = ScriptedConsumer()
        self.producer = ScriptedProducer()
        self.handler = ScriptedHandler()
        self.registry = CollectorRegistry()
        metrics = WorkerMetrics(self.registry)
        schedule = DelaySchedule.parse("t", "5s,1m")
        defaults = {"handler_timeout_seconds": 20.0, "drain_timeout_seconds": 25.0}
        made = ControllerSettings(**(defaults | settings))
        self.controller = Controller(
            consumer=self.consumer,  # type: ignore[arg-type]
            committed=self.consumer.committed_offsets,
            handler=self.handler,
            parking=Parking(
                self.producer, schedule, "t.dead", metrics, now=wall_clock, jitter=lambda: 0.0
            ),
            limits=limits or Admission(100, 10_000),
            settings=made,
            metrics=metrics,
            name="group",
            read=unpark if made.source is Source.PARKED else fresh,
            now=wall_clock,
        )

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"worker_{name}", labels) or 0.0

    @asynccontextmanager
    async def running(self) -> Any:
        run = asyncio.create_task(self.controller.run(Subscription(topics=("t",))))
        await asyncio.sleep(0)
        try:
            yield run
            self.controller.stop()
            await run
        finally:
            run.cancel()


async def soon() -> None:
    """Long enough for everything that waits for nothing, shorter than any pause."""
    await asyncio.sleep(0.004)


# Completion and commits.


async def test_only_the_prefix_that_is_complete_is_committed() -> None:
    bench = Bench()
    bench.handler.hold(0, 2)
    async with bench.running():
        bench.consumer.append(A, 0, 1, 2, 3, 4)
        bench.consumer.group[A] = 0
        await bench.consumer.assign(A)
        await asyncio.sleep(3)
        assert bench.handler.finished == [(0, 0), (0, 1), (0, 3), (0, 4)]
        assert bench.consumer.group[A] == 2
        bench.handler.let_go(0, 2)
        await asyncio.sleep(3)
        assert bench.consumer.group[A] == 5


async def test_commits_are_coalesced_and_sent_only_when_something_moved() -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        await bench.consumer.assign(A, B)
        for offset in range(200):
            bench.consumer.append(A, offset)
            bench.consumer.append(B, offset)
            await asyncio.sleep(0.01)
        await asyncio.sleep(60)
        assert bench.consumer.group == {A: 200, B: 200}
        assert 2 <= len(bench.consumer.commits) <= 4


async def test_a_commit_that_fails_is_tried_again_with_backoff_and_newer_offsets() -> None:
    bench = Bench()
    tries: list[float] = []

    async def refuse() -> None:
        tries.append(asyncio.get_running_loop().time())
        if len(tries) < 4:
            raise RequestTimedOutError

    bench.consumer.refuse_commit = refuse
    async with bench.running():
        bench.consumer.group[A] = 0
        await bench.consumer.assign(A)
        bench.consumer.append(A, 0)
        await asyncio.sleep(2)
        bench.consumer.append(A, 1)
        await asyncio.sleep(20)
        assert bench.consumer.commits == [{A: 2}]
        pauses = [round(later - sooner) for sooner, later in pairwise(tries)]
        assert pauses == [2, 4, 8]
        assert bench.count("commits_total", result="failed") == 3


async def test_a_commit_without_an_answer_is_given_up_and_tried_again() -> None:
    bench = Bench()
    hang = asyncio.Event()
    bench.consumer.refuse_commit = hang.wait  # type: ignore[assignment]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(7)
        assert bench.count("commits_total", result="timeout") == 1
        hang.set()
        await asyncio.sleep(10)
        assert bench.consumer.commits == [{A: 1}]


async def test_trailing_offsets_without_records_are_committed() -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1)
        bench.consumer.ends[A] = 9
        await bench.consumer.assign(A)
        await asyncio.sleep(3)
        assert bench.consumer.group[A] == 9


async def test_trailing_offsets_without_records_are_committed_at_the_end_too() -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.ends[A] = 9
        await bench.consumer.assign(A)
        await soon()
    assert bench.consumer.group[A] == 9


# Rebalances.


async def test_a_revoke_ends_when_its_work_has_ended_and_is_committed() -> None:
    bench = Bench()
    bench.handler.seconds = lambda record: 8.0 if record.offset == 0 else 0.0
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1)
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        await bench.consumer.revoke()
        assert 6.5 < asyncio.get_running_loop().time() - began < 7.5
        assert bench.consumer.group[A] == 2
        assert bench.count("owned_partitions", group="group") == 0
        assert bench.count("rebalances_total", group="group", event="revoked") == 1


async def test_what_was_fetched_and_not_started_is_dropped_on_a_revoke() -> None:
    bench = Bench(Admission(1, 10_000))
    bench.handler.seconds = lambda _: 1.0
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, *range(10))
        await bench.consumer.assign(A)
        await asyncio.sleep(2.5)
        await bench.consumer.revoke()
        assert bench.handler.began == [(0, 0), (0, 1), (0, 2)]
        assert bench.consumer.group[A] == 3


async def test_work_that_overruns_the_drain_is_cancelled_and_not_committed() -> None:
    bench = Bench(handler_timeout_seconds=90.0)
    bench.handler.hold(0, 1)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1, 2)
        await bench.consumer.assign(A)
        await asyncio.sleep(2)
        began = asyncio.get_running_loop().time()
        await bench.consumer.revoke()
        assert asyncio.get_running_loop().time() - began <= 25
        assert bench.handler.running == 0
        assert bench.consumer.group[A] == 1
        assert bench.count("in_flight") == 0


async def test_a_late_completion_of_an_older_assignment_never_enters_a_commit() -> None:
    bench = Bench(handler_timeout_seconds=500.0, drain_timeout_seconds=5.0)

    async def stubborn(record: Record) -> Sequence[Outcome]:
        bench.handler.began.append((record.partition, record.offset))
        while asyncio.get_running_loop().time() < 100:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                continue
        return [Done()]

    bench.handler.handle = stubborn  # type: ignore[method-assign]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1)
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        await bench.consumer.revoke()
        bench.consumer.group[A] = 0
        bench.consumer.commits.clear()
        bench.handler.hold(0, 0, 1)
        bench.handler.handle = ScriptedHandler.handle.__get__(bench.handler)  # type: ignore[method-assign]
        await bench.consumer.assign(A)
        await asyncio.sleep(150)
        assert bench.handler.began == [(0, 0), (0, 1)] * 2
        assert bench.consumer.group[A] == 0
        bench.handler.let_go(0, 0, 1)
        await asyncio.sleep(3)
        assert bench.consumer.group[A] == 2


async def test_a_commit_under_way_is_abandoned_when_its_lane_is_dropped() -> None:
    bench = Bench(drain_timeout_seconds=1.0)
    hang = asyncio.Event()
    bench.consumer.refuse_commit = hang.wait  # type: ignore[assignment]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(1.5)
        await bench.consumer.revoke()
        hang.set()
        await asyncio.sleep(3)
        assert not bench.consumer.commits
        assert bench.count("commits_total", result="abandoned") == 1


async def test_a_refused_commit_in_a_revoke_does_not_hold_it_up() -> None:
    bench = Bench()

    async def refuse() -> None:
        raise CommitFailedError

    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await soon()
        bench.consumer.refuse_commit = refuse
        began = asyncio.get_running_loop().time()
        await bench.consumer.revoke()
        assert asyncio.get_running_loop().time() - began < 0.1
        assert bench.count("commits_total", result="not_owner") == 1
        bench.consumer.refuse_commit = None
        await bench.consumer.assign(B)
        bench.consumer.group[B] = 0
        await asyncio.sleep(3)
    assert all(A not in commit for commit in bench.consumer.commits)


async def test_records_go_on_after_a_rebalance_where_the_commit_says() -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(A, 0, 1, 2)
        await bench.consumer.assign(A)
        await asyncio.sleep(0.1)
        await bench.consumer.rebalance(A, B)
        bench.consumer.append(A, 3)
        bench.consumer.append(B, 0)
        await asyncio.sleep(0.1)
        assert sorted(bench.handler.finished) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    assert bench.consumer.group == {A: 4, B: 1}


async def test_joined_is_set_at_the_first_assignment_and_stays() -> None:
    bench = Bench()
    async with bench.running():
        assert not bench.controller.joined.is_set()
        await bench.consumer.assign()
        await bench.consumer.revoke()
        assert bench.controller.joined.is_set()
        await bench.consumer.assign()


async def test_a_revoke_of_some_leaves_the_others_working_and_their_lanes_as_they_are() -> None:
    bench = Bench()
    bench.handler.hold(0, 0)
    bench.handler.hold(1, 1)
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(A, 0)
        bench.consumer.append(B, 0, 1)
        await bench.consumer.assign(A, B)
        await soon()
        lane = bench.controller._lanes.get(B)
        assert lane is not None
        before = (lane.epoch, lane.tracker, lane.tracker.span)
        revoking = asyncio.create_task(bench.consumer.revoke(A))
        await soon()
        bench.consumer.append(A, 1)
        for offset in range(2, 12):
            bench.consumer.append(B, offset)
            await soon()
            assert bench.handler.finished[-1] == (1, offset)
        assert not revoking.done()
        bench.handler.let_go(0, 0)
        await revoking
        assert bench.consumer.group[A] == 1
        assert bench.consumer.assignment() == {B}
        assert bench.controller._lanes.get(B) is lane
        assert not lane.stopped
        assert (lane.epoch, lane.tracker) == before[:2]
        # What was in work on it all the time counts as ever.
        assert bench.consumer.group[B] == 1
        bench.handler.let_go(1, 1)
        await asyncio.sleep(2)
        assert bench.consumer.group == {A: 1, B: 12}
        assert (0, 1) not in bench.handler.began
        assert bench.count("owned_partitions", group="group") == 1


async def test_what_is_added_works_beside_what_was_there() -> None:
    bench = Bench()
    bench.handler.hold(0, 0)
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(A, 0, 1)
        bench.consumer.append(B, 0)
        await bench.consumer.assign(A)
        await soon()
        lane = bench.controller._lanes.get(A)
        await bench.consumer.assign(B)
        await bench.consumer.assign()
        await soon()
        assert bench.controller._lanes.get(A) is lane
        assert bench.handler.finished == [(0, 1), (1, 0)]
        assert bench.count("owned_partitions", group="group") == 2
        bench.handler.let_go(0, 0)
    assert bench.consumer.group == {A: 2, B: 1}
    assert bench.handler.began == [(0, 0), (0, 1), (1, 0)]


async def test_work_on_lost_partitions_is_cancelled_and_nothing_of_them_is_committed() -> None:
    bench = Bench()
    bench.handler.hold(0, 1)
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(A, 0, 1, 2)
        bench.consumer.append(B, 0)
        await bench.consumer.assign(A, B)
        await soon()
        assert bench.handler.running == 1
        began = asyncio.get_running_loop().time()
        await bench.consumer.lose(A)
        await soon()
        assert asyncio.get_running_loop().time() - began < 0.01
        assert bench.handler.running == 0
        assert bench.count("in_flight") == 0
        assert bench.count("owned_partitions", group="group") == 1
        assert bench.count("rebalances_total", group="group", event="lost") == 1
        await asyncio.sleep(3)
        assert bench.consumer.commits == [{B: 1}]
        assert bench.count("handler_errors_total", error="CancelledError") == 0
    assert bench.consumer.group == {A: 0, B: 1}
    assert not bench.producer.stored


async def test_a_loss_during_a_drain_cancels_the_work_that_was_being_drained() -> None:
    bench = Bench()
    bench.handler.hold(0, 0)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await soon()
        revoking = asyncio.create_task(bench.consumer.revoke(A))
        await soon()
        assert bench.handler.running == 1
        revoking.cancel()
        await asyncio.wait({revoking})
        await bench.consumer.lose(A)
        await soon()
        assert bench.handler.running == 0
        assert bench.count("in_flight") == 0
    assert bench.consumer.group == {A: 0}


async def test_what_completes_after_a_loss_never_enters_a_commit() -> None:
    bench = Bench(handler_timeout_seconds=500.0)

    async def stubborn(record: Record) -> Sequence[Outcome]:
        while asyncio.get_running_loop().time() < 10:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                continue
        return [Done()]

    bench.handler.handle = stubborn  # type: ignore[method-assign]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        await bench.consumer.lose(A)
        bench.handler.hold(0, 0)
        bench.handler.handle = ScriptedHandler.handle.__get__(bench.handler)  # type: ignore[method-assign]
        await bench.consumer.assign(A)
        await asyncio.sleep(30)
        assert bench.count("outcomes_total", outcome="done") == 1
        assert bench.consumer.group[A] == 0
        bench.handler.let_go(0, 0)
    assert bench.consumer.group[A] == 1


async def test_a_commit_under_way_is_abandoned_when_its_partitions_are_lost() -> None:
    bench = Bench()
    hang = asyncio.Event()
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        bench.consumer.refuse_commit = hang.wait  # type: ignore[assignment]
        await asyncio.sleep(1.5)
        await bench.consumer.lose(A)
        hang.set()
        await asyncio.sleep(3)
        assert bench.count("commits_total", result="abandoned") == 1
    assert not bench.consumer.commits


# Handlers that misbehave, and parking.


@pytest.mark.parametrize(
    ("returned", "error"),
    [
        (None, "HandlerFault"),
        (17, "HandlerFault"),
        (["done"], "HandlerFault"),
        ("done", "HandlerFault"),
        ([Done(), Park(None, 1, "7s", "status")], "HandlerFault"),
        ([Park("\ud800", 1, "5s", "status")], "HandlerFault"),
        ([Park(17, 1, "5s", "status")], "HandlerFault"),  # type: ignore[arg-type]
        ([DeadLetter(None, 1, "\udfff")], "HandlerFault"),
        ([DeadLetter(None, 1, "gone", b"detail")], "HandlerFault"),  # type: ignore[arg-type]
        ([DeadLetter(None, -1, "gone")], "HandlerFault"),
        ([DeadLetter(None, "1", "gone")], "HandlerFault"),  # type: ignore[arg-type]
    ],
)
async def test_a_handler_that_returns_nonsense_has_its_record_parked(
    returned: Any, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    bench.handler.outcomes = lambda _: returned
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(3)
        assert bench.consumer.group[A] == 1
    ((topic, headers),) = bench.producer.stored
    assert topic == "t.retry.5s"
    assert headers["worker-reason"] == b"handler_error"
    assert headers["worker-attempts"] == b"1"
    assert "worker-delivery" not in headers
    assert bench.count("handler_errors_total", error=error) == 1


async def test_a_handler_that_raises_is_logged_with_places_and_no_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()

    def fail(record: Record) -> None:
        raise KeyError(f"secret {record.value!r}")

    bench.handler.outcomes = fail
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, value=b"payload")
        await bench.consumer.assign(A)
        await asyncio.sleep(0.1)
    (logged,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert logged.__dict__["error"] == "KeyError"
    assert "test_controller.py:" in logged.__dict__["frames"]
    assert "secret" not in str(logged.__dict__)
    assert "payload" not in str(logged.__dict__)
    ((_, headers),) = bench.producer.stored
    assert (headers["worker-detail"] or b"").startswith(b"KeyError ")
    assert b"secret" not in (headers["worker-detail"] or b"")
    assert bench.count("handler_errors_total", error="KeyError") == 1


async def test_a_handler_that_hangs_is_bounded_by_its_time() -> None:
    bench = Bench(handler_timeout_seconds=3.0)
    bench.handler.hold(0, 0)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1)
        await bench.consumer.assign(A)
        await asyncio.sleep(2.5)
        assert not bench.producer.stored
        await asyncio.sleep(1)
        assert bench.producer.stored[0][0] == "t.retry.5s"
        assert bench.count("handler_errors_total", error="timeout") == 1


async def test_a_handler_that_cancels_itself_does_not_lose_its_record() -> None:
    bench = Bench()

    def cancel(_: Record) -> None:
        raise asyncio.CancelledError

    bench.handler.outcomes = cancel
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(2)
        assert bench.producer.stored[0][0] == "t.retry.5s"
        assert bench.consumer.group[A] == 1


async def test_every_outcome_is_stored_before_its_record_completes() -> None:
    bench = Bench()
    bench.handler.outcomes = lambda _: (
        Done("one"),
        Park("two", 1, "1m", "status"),
        DeadLetter("three", 1, "gone"),
    )
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(2)
    assert sorted(topic for topic, _ in bench.producer.stored) == ["t.dead", "t.retry.1m"]
    assert bench.consumer.group[A] == 1
    for outcome in ("done", "parked", "dead_letter"):
        assert bench.count("outcomes_total", outcome=outcome) == 1


async def test_while_kafka_refuses_the_record_stays_open_and_nothing_is_committed() -> None:
    bench = Bench()
    bench.producer.refuse = NotEnoughReplicasError()
    bench.handler.outcomes = lambda record: (
        [Done()] if record.offset else [Park(None, 1, "5s", "status")]
    )
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1, 2)
        await bench.consumer.assign(A)
        await asyncio.sleep(600)
        assert bench.consumer.group[A] == 0
        assert bench.count("in_flight") == 1
        assert bench.count("parking_failures_total") > 100
        bench.producer.refuse = None
        await asyncio.sleep(10)
        assert bench.consumer.group[A] == 3


async def test_a_stop_while_kafka_refuses_commits_nothing_of_it() -> None:
    bench = Bench()
    bench.producer.refuse = NotEnoughReplicasError()
    bench.handler.outcomes = lambda _: [Park(None, 1, "5s", "status")]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
    assert bench.consumer.group[A] == 0


# Parked records.


def parked(partition: TopicPartition, offset: int, seconds: float, **more: bytes) -> Message:
    headers = {
        "worker-attempts": b"1",
        "worker-not-before": b"%d" % round((EPOCH + seconds) * 1000),
        "worker-origin": b"t:0:7",
        "worker-origin-timestamp": b"1",
        "worker-delivery": b"endpoint-1",
    }
    merged = tuple((headers | more).items())
    return message(partition, offset, headers=merged, timestamp=round(EPOCH * 1000))


async def test_a_parked_record_is_handled_when_its_time_has_come_and_not_before() -> None:
    bench = Bench(source=Source.PARKED)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, parked(A, 0, 10), parked(A, 1, 12), parked(A, 2, 90))
        await bench.consumer.assign(A)
        await asyncio.sleep(100)
        expected = {(0, 0): 10, (0, 1): 12, (0, 2): 90}
        assert bench.handler.times == pytest.approx(expected, abs=0.01)
        assert bench.consumer.group[A] == 3


async def test_a_record_parked_meanwhile_is_not_late() -> None:
    bench = Bench(source=Source.PARKED)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, parked(A, 0, 5))
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        bench.consumer.put(A, parked(A, 1, 5.2))
        await asyncio.sleep(10)
        assert bench.handler.times == pytest.approx({(0, 0): 5, (0, 1): 5.2}, abs=0.02)


async def test_a_waiting_head_holds_up_only_its_own_partition() -> None:
    bench = Bench(source=Source.PARKED)
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.put(A, parked(A, 0, 86_400))
        await bench.consumer.assign(A, B)
        await asyncio.sleep(1)
        bench.consumer.put(B, parked(B, 0, 0), parked(B, 1, 2))
        await asyncio.sleep(5)
        assert bench.handler.finished == [(1, 0), (1, 1)]
        assert bench.consumer.group == {A: 0, B: 2}


async def test_a_backlog_that_waits_stays_with_the_brokers() -> None:
    bench = Bench(source=Source.PARKED, max_poll_records=50)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, *(parked(A, offset, 3_600) for offset in range(5_000)))
        await bench.consumer.assign(A)
        await asyncio.sleep(600)
        assert len(bench.consumer.delivered) == 50
        assert len(bench.consumer.polls) < 700
        assert bench.count("in_flight") == 0


async def test_a_foreign_record_in_a_delay_topic_is_dead_lettered_without_the_handler() -> None:
    bench = Bench(source=Source.PARKED)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(2)
        assert not bench.handler.began
        assert bench.consumer.group[A] == 1
    ((topic, headers),) = bench.producer.stored
    assert topic == "t.dead"
    assert headers["worker-reason"] == b"bad_parked_record"
    assert headers["worker-origin"] == b"t:0:0"
    assert headers["worker-detail"] == b"header worker-origin-timestamp is missing"


async def test_a_handler_that_always_raises_ends_in_a_dead_letter() -> None:
    bench = Bench(source=Source.PARKED)
    bench.handler.outcomes = lambda _: 17
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, parked(A, 0, 0), parked(A, 1, 0, **{"worker-attempts": b"2"}))
        await bench.consumer.assign(A)
        await asyncio.sleep(0.1)
    stored = dict(bench.producer.stored)
    assert stored["t.retry.1m"]["worker-attempts"] == b"2"
    assert stored["t.retry.1m"]["worker-delivery"] == b"endpoint-1"
    assert stored["t.dead"]["worker-reason"] == b"handler_error"
    assert stored["t.dead"]["worker-attempts"] == b"3"
    assert stored["t.dead"]["worker-origin"] == b"t:0:7"


async def test_a_wall_clock_that_jumps_back_does_not_strand_a_parked_record() -> None:
    bench = Bench(source=Source.PARKED)
    jump = 0.0
    clock = lambda: wall_clock() + jump  # noqa: E731
    bench.controller._starter._now = bench.controller._fetching._now = clock
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, parked(A, 0, 600))
        await bench.consumer.assign(A)
        await asyncio.sleep(10)
        jump = 580.0
        await asyncio.sleep(60)
        assert bench.handler.finished == [(0, 0)]


# Fairness and limits.


async def test_a_slow_partition_does_not_stop_the_others() -> None:
    bench = Bench(Admission(10, 10_000))
    bench.handler.seconds = lambda record: 15.0 if record.partition == 0 else 0.01
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        await bench.consumer.assign(A, B)
        bench.consumer.append(A, *range(1_000))
        await asyncio.sleep(5)
        for offset in range(200):
            bench.consumer.append(B, offset)
            await asyncio.sleep(0.01)
        await soon()
        late = [
            bench.handler.times[1, offset] - (5 + offset * 0.01)
            for offset in range(200)
            if bench.handler.times.get((1, offset), 99.0) - (5 + offset * 0.01) > 0.02
        ]
        assert not late


async def test_one_partition_alone_may_use_every_place() -> None:
    bench = Bench(Admission(10, 10_000))
    bench.handler.seconds = lambda _: 1.0
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, *range(100))
        await bench.consumer.assign(A)
        await asyncio.sleep(0.5)
        assert bench.handler.running == 10


async def test_full_lanes_still_poll_and_are_woken_when_there_is_room() -> None:
    bench = Bench(Admission(2, 10_000))
    bench.handler.seconds = lambda _: 5.0
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, *range(500))
        await bench.consumer.assign(A)
        await asyncio.sleep(4.9)
        polls = len(bench.consumer.polls)
        assert polls >= 5
        assert all(A not in poll for poll in bench.consumer.polls[3:])
        assert len(bench.handler.began) == 2
        await asyncio.sleep(0.2)
        assert len(bench.handler.began) == 4


async def test_memory_is_bounded_with_an_endless_backlog() -> None:
    bench = Bench(Admission(4, 10_000), max_poll_records=10)
    bench.handler.seconds = lambda _: 1.0
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        for partition in (A, B):
            bench.consumer.append(partition, *range(1_000), value=b"x" * 999)
        await bench.consumer.assign(A, B)
        for second in range(1, 60):
            await asyncio.sleep(1)
            assert len(bench.consumer.delivered) - len(bench.handler.finished) <= 40
            assert bench.handler.most_running == 4
            assert len(bench.handler.finished) >= 4 * (second - 1)


async def test_throughput_is_not_limited_by_polling() -> None:
    bench = Bench(Admission(100, 10_000_000))
    bench.handler.seconds = lambda _: 0.001
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        await bench.consumer.assign(A, B)
        bench.consumer.append(A, *range(20_000))
        await asyncio.sleep(2)
        assert len(bench.handler.finished) == 20_000


async def test_an_idle_worker_begins_a_record_at_once_and_polls_rarely() -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        await bench.consumer.assign(A, B)
        await asyncio.sleep(100.123)
        assert len(bench.consumer.polls) < 220
        bench.consumer.append(B, 0)
        await soon()
        assert bench.handler.finished == [(1, 0)]


async def test_an_assignment_is_read_at_once() -> None:
    bench = Bench()
    async with bench.running():
        await bench.consumer.assign()
        await asyncio.sleep(10.123)
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.rebalance(A)
        await soon()
        assert bench.handler.finished == [(0, 0)]


# Positions.


async def test_without_an_offset_earliest_begins_at_the_start_and_commits_it() -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.append(A, 5, 6)
        bench.consumer.log_starts |= {A: 5, B: 3}
        bench.consumer.ends[B] = 3
        bench.handler.hold(0, 5, 6)
        await bench.consumer.assign(A, B)
        await asyncio.sleep(2)
        assert bench.handler.began == [(0, 5), (0, 6)]
        assert bench.consumer.group == {A: 5, B: 3}
        bench.handler.let_go(0, 5, 6)
        assert bench.count("lost_records_total", topic="t") == 0


async def test_without_an_offset_latest_loses_nothing_between_the_join_and_the_first_record() -> (
    None
):
    bench = Bench(auto_offset_reset="latest")
    async with bench.running():
        bench.consumer.append(A, 0, 1)
        await bench.consumer.assign(A)
        await asyncio.sleep(2)
        assert bench.consumer.group == {A: 2}
        await bench.consumer.revoke()
        bench.consumer.append(A, 2)
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        assert bench.handler.finished == [(0, 2)]


async def test_an_offset_below_the_start_is_a_loss_counted_and_logged_with_both_offsets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.group |= {A: 3, B: 0}
        bench.consumer.append(A, 10)
        bench.consumer.log_starts[A] = 10
        await bench.consumer.assign(A, B)
        await asyncio.sleep(2)
        assert bench.handler.finished == [(0, 10)]
        assert bench.count("lost_records_total", topic="t") == 7
        assert bench.consumer.group[A] == 11
    (logged,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert logged.message == "records were deleted before they were read"
    assert (logged.__dict__["offset"], logged.__dict__["start"]) == (3, 10)
    assert logged.__dict__["lost"] == 7


async def test_a_partition_made_anew_is_read_from_its_start_and_old_work_does_not_count() -> None:
    bench = Bench()
    bench.handler.hold(0, 50)
    async with bench.running():
        bench.consumer.group[A] = 50
        bench.consumer.append(A, 50, 51)
        await bench.consumer.assign(A)
        await asyncio.sleep(2)
        bench.consumer.logs[A] = []
        bench.consumer.append(A, 0, 1)
        await asyncio.sleep(2)
        assert bench.handler.finished == [(0, 51), (0, 0), (0, 1)]
        assert bench.consumer.group[A] == 2
        bench.handler.let_go(0, 50)
        await asyncio.sleep(2)
        assert bench.consumer.group[A] == 2


async def test_finding_a_place_is_tried_again_and_stops_no_other_partition() -> None:
    bench = Bench()
    bench.consumer.lookup_errors = [KafkaConnectionError()] * 3
    async with bench.running():
        bench.consumer.append(A, 0)
        bench.consumer.group[B] = 0
        await bench.consumer.assign(A, B)
        await soon()
        bench.consumer.append(B, 0)
        await asyncio.sleep(0.5)
        assert bench.handler.finished == [(1, 0)]
        await asyncio.sleep(5)
        assert bench.handler.finished == [(1, 0), (0, 0)]


async def test_records_that_went_astray_with_an_error_are_read_again() -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.group |= {A: 0}
        bench.consumer.append(A, 0, 1)
        await bench.consumer.assign(A, B)
        bench.consumer.group |= {B: 0}
        await asyncio.sleep(0.1)
        bench.consumer.lose_with_error = CorruptRecordException()
        bench.consumer.append(A, 2)
        bench.consumer.append(B, 0)
        await asyncio.sleep(3)
        assert sorted(bench.handler.finished) == [(0, 0), (0, 1), (0, 2), (1, 0)]
        assert bench.consumer.group == {A: 3, B: 1}


async def test_a_partition_without_a_leader_keeps_no_other_unread() -> None:
    bench = Bench()
    bench.consumer.leaderless = {B}
    async with bench.running():
        bench.consumer.append(A, 0)
        bench.consumer.append(B, 0)
        await bench.consumer.assign(B, A)
        await asyncio.sleep(2)
        assert bench.handler.finished == [(0, 0)]
        bench.consumer.leaderless.clear()
        await asyncio.sleep(40)
        assert bench.handler.finished == [(0, 0), (1, 0)]


async def test_a_first_start_asks_once_for_the_offsets_of_all_partitions() -> None:
    bench = Bench()
    many = [TopicPartition("t", number) for number in range(100)]
    async with bench.running():
        await bench.consumer.assign(*many)
        await asyncio.sleep(3)
        assert len(bench.consumer.group) == 100
        assert [len(question) for question in bench.consumer.questions] == [100]


async def test_whatever_goes_wrong_while_a_place_is_sought_is_tried_again() -> None:
    bench = Bench()
    bench.consumer.question_errors = [ValueError("half a certificate"), RuntimeError()]
    bench.consumer.lookup_errors = [ValueError()]
    async with bench.running():
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(5)
        assert bench.handler.finished == [(0, 0)]


# What cannot be read.

NOT_UTF8 = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


async def test_a_record_that_cannot_be_decoded_becomes_a_dead_letter_and_the_rest_goes_on() -> None:
    bench = Bench()
    bench.consumer.unreadable = {(A, 2): NOT_UTF8, (A, 3): NOT_UTF8}
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(A, *range(6))
        await bench.consumer.assign(A, B)
        for offset in range(20):
            bench.consumer.append(B, offset)
            await asyncio.sleep(0.1)
        await asyncio.sleep(10)
        assert all(bench.handler.times[1, offset] < offset * 0.1 + 0.3 for offset in range(20))
        assert bench.consumer.group == {A: 6, B: 20}
        places = [(0, offset) for offset in (0, 1, 4, 5)] + [(1, offset) for offset in range(20)]
        assert sorted(bench.handler.finished) == places
    assert [topic for topic, _ in bench.producer.stored] == ["t.dead", "t.dead"]
    headers = bench.producer.stored[0][1]
    assert headers["worker-reason"] == b"undecodable"
    assert headers["worker-detail"] == b"UnicodeDecodeError"
    assert headers["worker-origin"] == b"t:0:2"
    assert headers["worker-value-bytes"] == b"-1"


async def test_a_record_that_cannot_be_decoded_is_complete_when_its_dead_letter_is_stored() -> None:
    bench = Bench()
    bench.consumer.unreadable = {(A, 0): NOT_UTF8}
    bench.producer.refuse = NotEnoughReplicasError()
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1)
        await bench.consumer.assign(A)
        await asyncio.sleep(20)
        assert bench.handler.finished == [(0, 1)]
        assert bench.consumer.group[A] == 0
        bench.producer.refuse = None
        await asyncio.sleep(10)
        assert bench.consumer.group[A] == 2


@pytest.mark.parametrize("error", [CorruptRecordException(), RuntimeError("bad codec")])
async def test_a_corrupt_batch_is_never_skipped_and_holds_up_its_own_partition_only(
    error: Exception,
) -> None:
    bench = Bench()
    bench.consumer.unreadable = {(A, 2): error}
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(A, *range(4))
        await bench.consumer.assign(A, B)
        await asyncio.sleep(100)
        bench.consumer.append(B, 0)
        await asyncio.sleep(0.2)
        assert bench.handler.finished == [(0, 0), (0, 1), (1, 0)]
        assert not bench.producer.stored
        assert 15 < bench.count("unreadable_batches_total", topic="t") < 25
        bench.consumer.unreadable.clear()
        await asyncio.sleep(10)
        assert bench.consumer.group == {A: 4, B: 1}


# The end.


async def test_the_end_of_the_background_fetching_ends_the_controller() -> None:
    bench = Bench()
    run = asyncio.create_task(bench.controller.run(Subscription(topics=("t",))))
    await soon()
    await bench.consumer.assign(A)
    bench.consumer.fetching.set_exception(KafkaError("data retrieval"))
    with pytest.raises(KafkaError, match="data retrieval"):
        await run
    assert bench.consumer.closed


async def test_when_every_poll_fails_for_a_minute_the_controller_gives_up() -> None:
    bench = Bench()
    run = asyncio.create_task(bench.controller.run(Subscription(topics=("t",))))
    await soon()
    bench.consumer.group[A] = 0
    await bench.consumer.assign(A)
    bench.consumer.errors = [GroupAuthorizationFailedError("group")] * 5
    await asyncio.sleep(50)
    assert not bench.consumer.errors
    bench.consumer.errors = [GroupAuthorizationFailedError("group")] * 50
    await asyncio.sleep(50)
    assert not run.done()
    with pytest.raises(GroupAuthorizationFailedError):
        await run
    assert 110 < asyncio.get_running_loop().time() < 120


async def test_the_last_commit_may_take_what_is_left_of_the_drain() -> None:
    bench = Bench(drain_timeout_seconds=25.0)
    bench.handler.seconds = lambda _: 5.0

    async def slowly() -> None:
        await asyncio.sleep(4.0)

    bench.consumer.refuse_commit = slowly
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
    assert bench.consumer.group[A] == 1


async def test_a_commit_that_is_never_answered_does_not_outlast_the_drain() -> None:
    bench = Bench(drain_timeout_seconds=25.0)
    bench.consumer.refuse_commit = asyncio.Event().wait  # type: ignore[assignment]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await soon()
        await bench.consumer.revoke()
        assert 20 < asyncio.get_running_loop().time() < 25


async def test_a_group_that_cannot_be_left_does_not_outlast_its_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.consumer.hold_stop = asyncio.Event()
    async with bench.running():
        await asyncio.sleep(1)
    assert asyncio.get_running_loop().time() == pytest.approx(1 + LEAVE_SECONDS, abs=0.1)
    assert [record.message for record in caplog.records] == ["the group was not left in order"]


@pytest.mark.parametrize("place", ["stop_error", "relief_error"])
async def test_an_end_without_brokers_is_an_end_in_order(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    setattr(bench.consumer, place, KafkaConnectionError("gone"))
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await soon()
    assert bench.consumer.closed
    assert bench.consumer.group[A] == 1
    assert [record.message for record in caplog.records] == ["the group was not left in order"]


async def test_at_the_end_it_goes_on_working_until_it_is_relieved() -> None:
    bench = Bench()
    bench.consumer.relief_seconds = 5.5
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        await bench.consumer.assign(A, B)
        bench.controller.stop()
        for offset in range(10):
            bench.consumer.append(A, offset)
            bench.consumer.append(B, offset)
            await asyncio.sleep(1)
    assert sorted(bench.handler.finished) == [(p, offset) for p in (0, 1) for offset in range(6)]
    assert bench.consumer.group == {A: 6, B: 6}
    order = [what for what, _ in bench.consumer.happened]
    assert order == ["asked", "relieved", "left", "stopped"]
    assert bench.consumer.when("stopped") == pytest.approx(5.5, abs=0.1)


async def test_what_is_in_work_when_it_is_relieved_is_finished_before_the_group_is_left() -> None:
    bench = Bench()
    bench.consumer.relief_seconds = 2.0
    bench.handler.seconds = lambda _: 8.0
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await soon()
        bench.controller.stop()
        await asyncio.sleep(1)
        bench.consumer.append(A, 1)
    assert bench.handler.finished == [(0, 0), (0, 1)]
    assert bench.consumer.group[A] == 2
    assert bench.consumer.when("left") == pytest.approx(9, abs=0.1)


async def test_a_relief_that_does_not_come_is_not_waited_for_beyond_its_share() -> None:
    bench = Bench(drain_timeout_seconds=20.0)
    bench.consumer.relief_seconds = None
    async with bench.running():
        bench.consumer.group[A] = 0
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        bench.controller.stop()
        await asyncio.sleep(0.9 * 20 * RELIEF_SHARE)
        bench.consumer.append(A, 0)
        await asyncio.sleep(0.2 * 20 * RELIEF_SHARE)
        bench.consumer.append(A, 1)
    assert bench.consumer.when("stopped") == pytest.approx(1 + 20 * RELIEF_SHARE, abs=0.1)
    assert bench.handler.finished == [(0, 0)]
    assert bench.consumer.group[A] == 1


async def test_a_revoke_of_some_lanes_is_no_relief_from_the_others() -> None:
    bench = Bench()
    bench.consumer.relief_seconds = 6.0
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        await bench.consumer.assign(A, B)
        bench.controller.stop()
        await asyncio.sleep(1)
        await bench.consumer.revoke(A)
        bench.consumer.append(B, 0)
        await asyncio.sleep(3)
        assert bench.handler.finished == [(1, 0)]
    assert bench.consumer.when("stopped") == pytest.approx(6, abs=0.1)


async def test_with_nothing_left_there_is_nothing_to_be_relieved_of() -> None:
    bench = Bench()
    bench.consumer.relief_seconds = None
    async with bench.running():
        await bench.consumer.assign(A)
        await bench.consumer.revoke(A)
    assert bench.consumer.when("left") < 0.1
    assert asyncio.get_running_loop().time() < 0.2


@pytest.mark.parametrize("group", ["answers", "takes no commit", "is gone"])
@pytest.mark.parametrize("handlers", ["quick", "hanging", "stubborn"])
@pytest.mark.parametrize("relief", [0.001, 9.9, 12.0, 24.0, None])
async def test_the_end_stays_within_the_drain_whatever_happens(
    relief: float | None, handlers: str, group: str
) -> None:
    bench = Bench(handler_timeout_seconds=1_000.0, drain_timeout_seconds=25.0)
    bench.consumer.relief_seconds = relief
    release = asyncio.Event()

    async def stubborn(record: Record) -> Sequence[Outcome]:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return []

    if handlers == "hanging":
        bench.handler.hold(0, 0)
    if handlers == "stubborn":
        bench.handler.handle = stubborn  # type: ignore[method-assign]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        if group != "answers":
            bench.consumer.refuse_commit = asyncio.Event().wait  # type: ignore[assignment]
        if group == "is gone":
            bench.consumer.hold_stop = asyncio.Event()
        await soon()
    took = asyncio.get_running_loop().time()
    assert bench.consumer.when("stopped") <= 25.0
    assert took <= 25.0 + LEAVE_SECONDS
    complete = handlers == "quick" and group == "answers"
    assert bench.consumer.group[A] == (1 if complete else 0)
    release.set()
    await asyncio.sleep(100)
    assert bench.consumer.group[A] == (1 if complete else 0)


async def test_a_failure_while_it_waits_to_be_relieved_ends_the_wait_and_is_raised() -> None:
    bench = Bench()
    bench.consumer.relief_seconds = None
    run = asyncio.create_task(bench.controller.run(Subscription(topics=("t",))))
    await soon()
    await bench.consumer.assign(A)
    bench.controller.stop()
    await asyncio.sleep(1)
    bench.consumer.fetching.set_exception(KafkaError("data retrieval"))
    with pytest.raises(KafkaError, match="data retrieval"):
        await run
    assert asyncio.get_running_loop().time() < 1.1
    assert bench.consumer.closed


async def test_out_of_the_group_for_good_it_ends_at_once_with_the_reason() -> None:
    bench = Bench()
    bench.handler.hold(0, 0)
    run = asyncio.create_task(bench.controller.run(Subscription(topics=("t",))))
    await soon()
    bench.consumer.group[A] = 0
    bench.consumer.append(A, 0)
    await bench.consumer.assign(A)
    await soon()
    bench.consumer.errors.append(FencedError("another member has our name"))
    await bench.consumer.lose(A)
    with pytest.raises(FencedError, match="another member has our name"):
        await run
    assert asyncio.get_running_loop().time() < 1
    assert bench.consumer.closed
    assert not bench.consumer.commits


async def test_out_of_the_group_for_good_nothing_is_committed_again_and_again() -> None:
    bench = Bench()
    attempts = 0

    async def refuse() -> None:
        nonlocal attempts
        attempts += 1
        raise GroupError("not one of us")

    run = asyncio.create_task(bench.controller.run(Subscription(topics=("t",))))
    await soon()
    bench.consumer.group[A] = 0
    bench.consumer.append(A, 0)
    await bench.consumer.assign(A)
    await soon()
    bench.consumer.refuse_commit = refuse
    bench.consumer.errors.append(GroupError("not one of us"))
    bench.consumer.append(A, 1)
    with pytest.raises(GroupError):
        await run
    assert attempts <= 2
    assert asyncio.get_running_loop().time() < 1


async def test_a_stop_drains_commits_and_delivers_nothing_twice() -> None:
    bench = Bench(Admission(50, 100_000))
    bench.handler.seconds = lambda _: 10.0
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, *range(500))
        await bench.consumer.assign(A)
        await asyncio.sleep(5)
        assert bench.handler.running == 50
    assert len(bench.handler.began) == len(bench.handler.finished) == 50
    assert bench.consumer.group[A] == 50
    assert bench.consumer.closed
    assert asyncio.get_running_loop().time() < 11


async def test_a_stop_keeps_its_budget_whatever_the_handlers_do() -> None:
    bench = Bench(handler_timeout_seconds=1_000.0)
    release = asyncio.Event()

    async def stubborn(record: Record) -> Sequence[Outcome]:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return []

    bench.handler.handle = stubborn  # type: ignore[method-assign]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(5)
    assert asyncio.get_running_loop().time() < 5 + 25
    assert bench.consumer.group[A] == 0
    release.set()
    await asyncio.sleep(1)


async def test_a_stop_before_the_first_assignment_is_immediate() -> None:
    bench = Bench()
    async with bench.running():
        await asyncio.sleep(1)
    assert asyncio.get_running_loop().time() < 1.1
    assert bench.consumer.closed


async def test_a_stop_during_a_rebalance_is_not_held_up_by_the_fetch() -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.group[A] = 0
        await bench.consumer.assign(A)
        await bench.consumer.revoke()
        await asyncio.sleep(30)
    assert asyncio.get_running_loop().time() < 30.1


async def test_an_assignment_after_the_stop_starts_nothing() -> None:
    bench = Bench()
    bench.consumer.relief_seconds = 5.0
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(A, 0)
        bench.consumer.append(B, 0)
        await bench.consumer.assign(A)
        await soon()
        bench.controller.stop()
        await asyncio.sleep(1)
        await bench.consumer.assign(B)
        await asyncio.sleep(1)
    assert bench.handler.began == [(0, 0)]
    assert bench.consumer.group == {A: 1, B: 0}


async def test_an_error_for_good_is_raised_after_a_drain() -> None:
    bench = Bench()
    bench.handler.seconds = lambda _: 5.0
    run = asyncio.create_task(bench.controller.run(Subscription(topics=("t",))))
    await soon()
    bench.consumer.group[A] = 0
    bench.consumer.append(A, 0)
    await bench.consumer.assign(A)
    await asyncio.sleep(1)
    bench.consumer.errors.append(GroupError("coordination ended"))
    bench.consumer.append(A, 1)
    with pytest.raises(GroupError, match="ended"):
        await run
    assert bench.handler.finished == [(0, 0)]
    assert bench.consumer.group[A] == 1


async def test_two_controllers_share_the_limits_of_their_process() -> None:
    limits = Admission(20, 100_000)
    main, retry = Bench(limits), Bench(limits, source=Source.PARKED)
    for bench in (main, retry):
        bench.handler.seconds = lambda _: 1.0
        bench.consumer.group[A] = 0
    main.consumer.append(A, *range(1_000))
    retry.consumer.put(A, *(parked(A, offset, 0) for offset in range(1_000)))
    async with main.running(), retry.running():
        await main.consumer.assign(A)
        await asyncio.sleep(0.5)
        await retry.consumer.assign(A)
        for _ in range(100):
            await asyncio.sleep(0.1)
            assert main.handler.running + retry.handler.running <= 20
        assert (main.handler.running, retry.handler.running) == (15, 5)
    assert main.count("in_flight") == retry.count("in_flight") == 0


async def test_lag_is_shown_for_owned_partitions_only() -> None:
    bench = Bench()
    bench.handler.hold(0, 3)
    labels = {"group": "group", "topic": "t", "partition": "0"}
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, *range(10))
        await bench.consumer.assign(A)
        await asyncio.sleep(6)
        assert bench.registry.get_sample_value("worker_lag_records", labels) == 7
        bench.handler.let_go(0, 3)
        await bench.consumer.revoke()
        assert bench.registry.get_sample_value("worker_lag_records", labels) is None
