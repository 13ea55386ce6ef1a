"""Decides and sets where a partition is read from when Kafka has no valid offset for it."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, cast

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from app_worker.backoff import Backoff
from app_worker.commits import Commits
from app_worker.lanes import Lane, Lanes
from app_worker.observability.logs import error_text
from app_worker.observability.metrics import WorkerMetrics
from kafka_utils import Admin, KafkaUtilsError

Policy = Literal["earliest", "latest"]
T = TypeVar("T")

COLLECT_SECONDS = 0.05
"""How long lanes without an offset are gathered for one question to the coordinator."""

BACKOFF = Backoff(first=0.5, longest=10.0)

_log = logging.getLogger(__name__)


class Positioned(Protocol):
    """The part of a consumer that knows and changes where partitions are read."""

    async def position(self, partition: TopicPartition) -> int:
        """Offset of the next record; waits while that is not known."""

    async def beginning_offsets(
        self, partitions: list[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        """Where the logs start."""

    async def end_offsets(self, partitions: list[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Where the logs end."""

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from here."""


Committed = Callable[[Collection[TopicPartition]], Awaitable[Mapping[TopicPartition, int | None]]]
"""What the group has committed, None for nothing. Only a coordinator's own word may answer it."""


class Start(NamedTuple):
    """Where to read on, and how many records were lost on the way there."""

    offset: int
    lost: int = 0


def start_from(wanted: int | None, log_start: int, log_end: int, policy: Policy) -> Start:
    """Return where to read on from ``wanted``, which the brokers refused (None: no offset at all).

    Below the start of the log, records were deleted before they were read. Above its end, the
    partition was truncated or made anew; what is in it now is taken by policy.
    """
    if wanted is not None and wanted < log_start:
        return Start(log_start, log_start - wanted)
    if wanted is not None and wanted <= log_end:
        return Start(wanted)
    return Start(log_start if policy == "earliest" else log_end)


async def committed_in(
    group_id: str, admin: Callable[[], Admin], partitions: Collection[TopicPartition]
) -> Mapping[TopicPartition, int | None]:
    """What the group has committed, asked over a connection of its own."""
    async with admin() as connected:
        return await connected.committed_offsets(group_id, partitions)


def position_of(consumer: Positioned, partition: TopicPartition) -> int | None:
    """The offset of the next record that the consumer will hand over; None if not known yet."""
    # position() suspends only while there is none, which is not waited for: it gets one step.
    waiting = cast("Any", consumer.position(partition))
    try:
        waiting.send(None)
    except StopIteration as result:
        return cast("int", result.value)
    except IllegalStateError:
        return None
    waiting.close()
    return None


class Positions:
    """Gives lanes a place to read from when the consumer has none, in the background."""

    def __init__(
        self,
        consumer: Positioned,
        committed: Committed,
        lanes: Lanes,
        commits: Commits,
        policy: Policy,
        metrics: WorkerMetrics,
    ) -> None:
        self._consumer = consumer
        self._committed = committed
        self._lanes = lanes
        self._commits = commits
        self._policy: Policy = policy
        self._lost = metrics.lost_records
        self._tasks: set[asyncio.Task[None]] = set()
        self._unknown: list[Lane] = []
        # Those that wait for the group's word, all of which one lookup asks for.

    def no_offset(self, partition: TopicPartition) -> None:
        """The group has committed nothing here."""
        lane = self._lanes.get(partition)
        if lane and lane.readable:
            self._ask_group([lane])

    def out_of_range(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The brokers have no record at these offsets."""
        for partition, offset in offsets.items():
            lane = self._lanes.get(partition)
            if lane and not lane.positioning:
                lane.positioning = True
                self._begin(self._set_place(lane, offset))

    def reread(self, lanes: Collection[Lane]) -> None:
        """Read on behind what the lanes have taken: what was fetched since may have gone astray."""
        lanes = [
            lane
            for lane in lanes
            # Of one that the consumer has no place for yet, nothing can have gone astray.
            if self._lanes.alive(lane) and lane.readable and self.of(lane.partition) is not None
        ]
        for lane in lanes:
            if lane.tracker.position is not None:
                self.move(lane, lane.tracker.position)
        self._ask_group([lane for lane in lanes if lane.tracker.position is None])

    def find_end(self, lane: Lane, offset: int) -> None:
        """Ask the leader where the log ends, then read on from ``offset``."""
        lane.positioning = True
        self._begin(self._find_end(lane, offset))

    def of(self, partition: TopicPartition) -> int | None:
        """See ``position_of``."""
        return position_of(self._consumer, partition)

    def move(self, lane: Lane, offset: int) -> None:
        """Read on from here."""
        lane.tracker.advance_to(offset)
        lane.positioning = False
        try:
            self._consumer.seek(lane.partition, offset)
        except IllegalStateError:
            _log.info("a partition moved on before its place was set")

    async def close(self) -> None:
        """Stop all work."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _ask_group(self, lanes: Collection[Lane]) -> None:
        for lane in lanes:
            lane.positioning = True
        if lanes and not self._unknown:
            self._begin(self._look_up())
        self._unknown += lanes

    async def _look_up(self) -> None:
        """Ask once for all lanes that came meanwhile: at a first start they come one by one."""
        await asyncio.sleep(COLLECT_SECONDS)
        lanes, self._unknown = self._unknown, []
        failures = 0
        while lanes := [lane for lane in lanes if self._is_wanted(lane)]:
            try:
                committed = await self._committed([lane.partition for lane in lanes])
            except Exception as error:
                failures += 1
                await _back_off(failures, error)
                continue
            self._tell_of_new([here for here, offset in committed.items() if offset is None])
            for lane in lanes:
                self._begin(self._set_place(lane, committed[lane.partition]))
            return

    def _tell_of_new(self, partitions: Collection[TopicPartition]) -> None:
        for topic, count in Counter(each.topic for each in partitions).items():
            detail = {"topic": topic, "partitions": count, "begins_with": self._policy}
            _log.info("the group has no offset here yet", extra=detail)

    async def _set_place(self, lane: Lane, wanted: int | None) -> None:
        """Each lane by itself: a partition without a leader must not keep the others waiting."""
        here = lane.partition

        async def ask() -> tuple[Mapping[TopicPartition, int], Mapping[TopicPartition, int]]:
            starts = await self._consumer.beginning_offsets([here])
            return starts, await self._consumer.end_offsets([here])

        answer = await self._answer(lane, ask)
        if answer is not None:
            starts, ends = answer
            self._place(lane, wanted, start_from(wanted, starts[here], ends[here], self._policy))

    async def _find_end(self, lane: Lane, offset: int) -> None:
        ends = await self._answer(lane, lambda: self._consumer.end_offsets([lane.partition]))
        if ends is not None and self._is_wanted(lane):
            lane.log_end = ends[lane.partition]
            self.move(lane, offset)

    async def _answer(self, lane: Lane, ask: Callable[[], Awaitable[T]]) -> T | None:
        """What is asked for, asked again until it is known; None once nobody wants the lane."""
        failures = 0
        while self._is_wanted(lane):
            try:
                return await ask()
            except Exception as error:
                failures += 1
                await _back_off(failures, error)
        return None

    def _is_wanted(self, lane: Lane) -> bool:
        return self._lanes.alive(lane) and not lane.stopped

    def _place(self, lane: Lane, wanted: int | None, start: Start) -> None:
        if not self._is_wanted(lane):
            return
        here = lane.partition
        detail = {"topic": here.topic, "partition": here.partition}
        detail |= {"offset": wanted, "start": start.offset}
        if start.lost:
            self._lost.labels(here.topic).inc(start.lost)
            detail["lost"] = start.lost
            _log.error("records were deleted before they were read", extra=detail)
        elif wanted is not None and wanted != start.offset:
            _log.error("the log ends before the group's offset: it was truncated", extra=detail)
            lane.forget()  # What was complete there were other records.
        position = lane.tracker.position
        if position is not None and start.offset < position:
            # Offsets begin again, so what is open in this lane has nothing to say any more.
            self._commits.drop([lane])
            lane.stop()
            lane = self._lanes.begin(here, start.offset)
            lane.forget()
        self.move(lane, start.offset)


async def _back_off(failures: int, error: Exception) -> None:
    # Whatever it is, it may pass (a certificate that is just being replaced), and the partition
    # would stay unread if nobody tried again.
    detail = {"error": error_text(error, (KafkaError, KafkaUtilsError, OSError))}
    _log.warning("where to read a partition from cannot be found out yet", extra=detail)
    await asyncio.sleep(BACKOFF.seconds(failures))
