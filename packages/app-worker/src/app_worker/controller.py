"""The loop between a consumer group and a handler: fetch, start, complete, commit, drain."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError

from app_worker.admission import Admission, Source
from app_worker.budget import drain_margin
from app_worker.commits import Commits
from app_worker.debug_state import lane_state
from app_worker.draining import in_work
from app_worker.execution import Execution
from app_worker.fetching import Fetching
from app_worker.giving_up import GivingUp
from app_worker.handler import Handler
from app_worker.handover import cancelled_by_loss
from app_worker.handover.needs import Words
from app_worker.lanes import Lane, Lanes
from app_worker.lookout import Lookout, show_limits
from app_worker.observability.metrics import WorkerMetrics
from app_worker.offset_map import Scope
from app_worker.owing import Owing
from app_worker.parked_headers import KafkaRecord, fresh
from app_worker.parking import Parking
from app_worker.positions import Committed, Policy, Positions, position_of
from app_worker.recall import Recall
from app_worker.record import Record
from app_worker.send_gate import SendGate, since_boot
from app_worker.share import Share
from app_worker.starter import Starter
from app_worker.taking_over import TakingOver
from kafka_utils import IncrementalConsumer

LEAVE_SECONDS = 3.0
"""The most that leaving the group and closing connections may take beyond the drain."""

RELIEF_SHARE = 0.4
"""The part of a drain that the end may wait for the group to plan without this member. It goes on
working meanwhile, so that its partitions are never without an owner for long."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What to consume: topics by their names."""

    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """How one controller works."""

    handler_timeout_seconds: float
    drain_timeout_seconds: float
    """The most that finishing what is in flight may take, on a revoke and at the end."""
    source: Source = Source.FRESH
    auto_offset_reset: Policy = "earliest"
    max_poll_records: int = 500

    @property
    def drain_margin_seconds(self) -> float:
        """How much of the drain is kept back for its commit."""
        return drain_margin(self.drain_timeout_seconds)


class Controller:
    """Works off what one consumer is assigned.

    The consumer is started and not subscribed; it commits nothing by itself and has no offset
    reset. It is stopped at the end, so that the group is left in order.
    """

    def __init__(
        self,
        *,
        consumer: IncrementalConsumer,
        committed: Committed,
        handler: Handler,
        parking: Parking,
        limits: Admission,
        settings: ControllerSettings,
        metrics: WorkerMetrics,
        scope: Scope,
        read: Callable[[KafkaRecord], Record] = fresh,
        share: Share | None = None,
        words: Words | None = None,
        gate: SendGate | None = None,
        lanes: Lanes | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = since_boot,
    ) -> None:
        """``words`` is the way to the hand-over topic; without it partitions are drained, and what
        is held when they come waits for the whole of its time. ``gate`` is asked by the handler.
        ``now`` gives unix seconds; ``clock`` seconds that go on while the machine is suspended."""
        self.joined = asyncio.Event()
        """Set at the first assignment, and for good."""
        self._consumer = consumer
        self._settings = settings
        self._metrics = metrics
        self._name = scope.group_id
        self._share = share
        self._stopping = asyncio.Event()
        self._end_by: float | None = None
        """When the last drain must be over, on the loop's clock, once the end has begun."""
        self._relieved = asyncio.Event()
        """Set when everything is to be given up at the end."""
        self._room = asyncio.Event()
        self._lanes = Lanes() if lanes is None else lanes
        here = partial(position_of, consumer)
        recall = Recall(consumer, here, scope, metrics, self._take_over, clock)
        self._commits = Commits(consumer, self._lanes, here, recall, metrics, scope, clock)
        self._owing = Owing(self._name, gate or SendGate(clock), metrics, clock)
        self._positions = Positions(
            consumer, committed, self._lanes, self._commits, settings.auto_offset_reset, metrics
        )
        self._execution = Execution(
            handler, parking, limits, metrics, settings.handler_timeout_seconds
        )
        self._starter = Starter(
            self._lanes,
            self._execution,
            limits,
            settings.source,
            metrics,
            now,
            self._room,
            self._owing,
        )
        self._taking_over = TakingOver(
            self._name,
            self._lanes,
            words,
            metrics,
            offer=self._starter.offer,
            give_up_late=self._owing.give_up_late,
            clock=clock,
        )
        self._giving_up = GivingUp(
            self._name,
            self._lanes,
            self._commits,
            self._owing,
            words,
            metrics,
            committed_now=consumer.committed_now,
            position_of=here,
            seconds_left=self._execution.seconds_left,
            withdraw=self._starter.withdraw,
            dropped=self._dropped,
            margin_seconds=settings.drain_margin_seconds,
        )
        self._lookout = Lookout(
            consumer, self._lanes, self._execution, metrics, self._name, self._tell_owned
        )
        self._fetching = Fetching(
            consumer,
            self._lanes,
            self._positions,
            recall=recall,
            metrics=metrics,
            read=read,
            offer=self._starter.offer,
            now=now,
            max_records=settings.max_poll_records,
            max_buffered_bytes=limits.max_bytes,
            room=self._room,
        )
        show_limits(limits, metrics)

    def stop(self) -> None:
        """Ask for an orderly end: ``run`` returns after the drain and the last commit."""
        self._stopping.set()

    async def run(self, subscription: Subscription) -> None:
        """Consume until ``stop``; whatever fails for good is raised, after a drain."""
        self._starter.begin()
        self._consumer.subscribe(topics=subscription.topics, listener=_Listener(self))
        fetching = asyncio.create_task(self._fetching.run())
        committing = asyncio.create_task(self._commits.run())
        observing = asyncio.create_task(self._lookout.run())
        stopping: asyncio.Task[Any] = asyncio.create_task(self._stopping.wait())
        tasks = (fetching, committing, observing, stopping)
        ends: set[asyncio.Future[Any]] = {
            *tasks,
            self._starter.crashed,
            self._consumer.fetching,
        }
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            self._stopping.set()
            self._end_by = self._until_committed()
            leaving = asyncio.create_task(self._in_order(self._consumer.relinquish))
            if done == {stopping}:
                await self._be_relieved(leaving, ends - done)
            if not self._relieved.is_set():
                leaving.cancel()
            await _cancel(fetching, observing)
            await self._positions.close()
            await self._end(committing, leaving)
        finally:
            for lane in self._lanes:
                lane.stop()
            for task in (*tasks, *in_work(self._lanes)):
                task.cancel()
            self._owing.close()
            await self._taking_over.close()
            self._execution.close()
        _raise_first(ends)

    async def _be_relieved(
        self, leaving: asyncio.Task[None], failures: set[asyncio.Future[Any]]
    ) -> None:
        """Go on working until others are to have the partitions, or it takes too long.

        It does when the brokers are gone, or when another member keeps the group waiting.
        """
        relieved = asyncio.create_task(self._relieved.wait())
        await asyncio.wait(
            {leaving, relieved, *failures},
            timeout=self._settings.drain_timeout_seconds * RELIEF_SHARE,
            return_when=asyncio.FIRST_COMPLETED,
        )
        await _cancel(relieved)

    async def _end(self, committing: asyncio.Task[None], leaving: asyncio.Task[None]) -> None:
        until = self._until_committed()
        await asyncio.wait({leaving}, timeout=until - asyncio.get_running_loop().time())
        leaving.cancel()
        await self._giving_up.give_up(list(self._lanes), until, self._exit_by)
        await _cancel(committing)
        await self._in_order(partial(asyncio.wait_for, self._consumer.stop(), LEAVE_SECONDS))
        await self._owing.finished()

    async def _in_order(self, leave: Callable[[], Awaitable[None]]) -> None:
        """Leave the group; the process ends in any case."""
        try:
            await leave()
        except (KafkaError, OSError) as error:
            detail = {"group": self._name, "error": f"{type(error).__name__}: {error}"}
            _log.warning("the group was not left in order", extra=detail)

    @property
    def _exit_by(self) -> float | None:
        """When, on the loop's clock, nothing may be owed any more; None before the end."""
        if self._end_by is None:
            return None
        return self._end_by + self._settings.drain_margin_seconds / 2

    def _take_over(self, lane: Lane) -> None:
        self._taking_over.begin(lane)

    def _until_committed(self) -> float:
        """When, on the loop's clock, a drain that begins now must have committed."""
        seconds = self._settings.drain_timeout_seconds - self._settings.drain_margin_seconds / 2
        until = asyncio.get_running_loop().time() + seconds
        return until if self._end_by is None else min(until, self._end_by)

    async def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions are ours from now on."""
        self._metrics.rebalances.labels(self._name, "assigned").inc()
        if not self._stopping.is_set():
            for partition in partitions:
                self._lanes.begin(partition)
        self._tell_owned()
        self._room.set()
        self._fetching.interrupt()
        self.joined.set()

    async def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions are to be given up: returns when their work has ended and is committed."""
        lanes = [lane for lane in map(self._lanes.get, partitions) if lane]
        if not lanes:
            return
        self._metrics.rebalances.labels(self._name, "revoked").inc()
        if self._stopping.is_set() and len(lanes) == len(self._lanes):
            self._relieved.set()
        await self._giving_up.give_up(lanes, self._until_committed(), self._exit_by)

    def kept(self, partitions: Collection[TopicPartition]) -> list[TopicPartition]:
        """A revoke is taken back: what can goes on. Return the partitions that do."""
        if self._stopping.is_set():
            return []
        lanes = self._giving_up.go_on([lane for lane in map(self._lanes.get, partitions) if lane])
        for lane in lanes:
            self._starter.offer(lane)
        self._positions.reread(lanes)
        self._room.set()
        self._fetching.interrupt()
        return [lane.partition for lane in lanes]

    async def lost(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions are others' already: their work is cancelled, and nothing is committed.

        What was handed over before goes on: somebody may wait for it to be told of.
        """
        lanes = [lane for lane in map(self._lanes.get, partitions) if lane]
        self._metrics.rebalances.labels(self._name, "lost").inc()
        for lane in lanes:
            lane.stop()
        self._starter.withdraw()
        self._commits.drop(lanes)
        self._dropped(lanes)
        for task in in_work(lane for lane in lanes if cancelled_by_loss(lane.standing)):
            task.cancel()

    def _dropped(self, lanes: Collection[Lane]) -> None:
        for lane in lanes:
            self._lookout.forget(lane.partition)
        self._tell_owned()
        self._taking_over.look()

    def _tell_owned(self) -> None:
        self._metrics.owned_partitions.labels(self._name).set(len(self._lanes))
        if self._share is not None:
            topics = self._consumer.subscription()
            there = [self._consumer.partitions_for_topic(topic) or () for topic in topics]
            if of_all := sum(map(len, there)):
                self._share.set(len(self._lanes), of_all)

    def state(self) -> dict[str, object]:
        """What it works on, as plain values for /debug/state."""
        now = asyncio.get_running_loop().time()
        return {
            "subscribed": sorted(self._consumer.subscription()),
            "stopping": self._stopping.is_set(),
            "owed": self._owing.open,
            "lanes": [lane_state(lane, now) for lane in self._lanes],
        }


class _Listener(ConsumerRebalanceListener):
    """What the consumer calls in a rebalance."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        await self._controller.assigned(assigned)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._controller.revoked(revoked)

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        await self._controller.lost(lost)

    def on_partitions_kept(self, kept: Collection[TopicPartition]) -> Collection[TopicPartition]:
        return self._controller.kept(kept)


def _raise_first(ends: Collection[asyncio.Future[Any]]) -> None:
    """Raise what one of them failed with. Each is asked, or asyncio would report it as forgotten:
    of one trouble, such as being fenced, several may have ended."""
    errors = [each.exception() for each in ends if each.done() and not each.cancelled()]
    for error in errors:
        if error is not None:
            raise error


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
