"""Decides and sets where a partition is read from when Kafka has no valid offset for it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from app_worker.commits import Commits
from app_worker.lanes import Lane, Lanes
from app_worker.observability.metrics import WorkerMetrics
from kafka_utils import Admin

Policy = Literal["earliest", "latest"]

RETRY_SECONDS = 1.0

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


@dataclass(frozen=True, slots=True)
class Start:
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

    def no_offset(self, partition: TopicPartition) -> None:
        """The group has committed nothing here. Other lanes without a place are seen to as well."""
        lanes = [lane for lane in self._lanes if self._is_nowhere(lane, partition)]
        self._begin(lanes, {})

    def out_of_range(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The brokers have no record at these offsets."""
        lanes = [lane for lane in map(self._lanes.get, offsets) if lane and not lane.positioning]
        self._begin(lanes, offsets)

    def reread(self, lanes: Collection[Lane]) -> None:
        """Read on behind what the lanes have taken: what was fetched since may have gone astray."""
        lanes = [lane for lane in lanes if self._lanes.alive(lane) and lane.readable]
        begun = [lane for lane in lanes if lane.tracker.position is not None]
        for lane in begun:
            self._seek(lane, cast("int", lane.tracker.position))
        self._begin([lane for lane in lanes if lane not in begun], {})

    async def close(self) -> None:
        """Stop all work."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _is_nowhere(self, lane: Lane, partition: TopicPartition) -> bool:
        if not lane.readable:
            return False
        here = lane.partition
        return here == partition or position_of(self._consumer, here) is None

    def _begin(self, lanes: list[Lane], refused: Mapping[TopicPartition, int]) -> None:
        if not lanes:
            return
        for lane in lanes:
            lane.positioning = True
        task = asyncio.create_task(self._position(lanes, refused))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _position(self, lanes: list[Lane], refused: Mapping[TopicPartition, int]) -> None:
        while lanes := [lane for lane in lanes if self._lanes.alive(lane) and not lane.stopped]:
            try:
                partitions = [lane.partition for lane in lanes]
                wanted = await self._wanted(partitions, refused)
                starts = await self._consumer.beginning_offsets(partitions)
                ends = await self._consumer.end_offsets(partitions)
            except (KafkaError, OSError) as error:
                detail = {"error": f"{type(error).__name__}: {error}"}
                _log.warning("where to read partitions from cannot be found out yet", extra=detail)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for lane in lanes:
                here = lane.partition
                start = start_from(wanted[here], starts[here], ends[here], self._policy)
                self._place(lane, wanted[here], start)
            return

    async def _wanted(
        self, partitions: Collection[TopicPartition], refused: Mapping[TopicPartition, int]
    ) -> Mapping[TopicPartition, int | None]:
        unknown = [here for here in partitions if here not in refused]
        return {**refused, **(await self._committed(unknown) if unknown else {})}

    def _place(self, lane: Lane, wanted: int | None, start: Start) -> None:
        if not self._lanes.alive(lane) or lane.stopped:
            return
        here = lane.partition
        detail = {"topic": here.topic, "partition": here.partition}
        detail |= {"offset": wanted, "start": start.offset}
        if start.lost:
            self._lost.labels(here.topic).inc(start.lost)
            detail["lost"] = start.lost
            _log.error("records were deleted before they were read", extra=detail)
        elif wanted is None:
            _log.info("the group has no offset here yet", extra=detail)
        elif wanted != start.offset:
            _log.error("the log ends before the group's offset: it was truncated", extra=detail)
        position = lane.tracker.position
        if position is not None and start.offset < position:
            # Offsets begin again, so what is open in this lane has nothing to say any more.
            self._commits.drop([lane])
            lane.stop()
            lane = self._lanes.begin(here, start.offset)
        self._seek(lane, start.offset)

    def _seek(self, lane: Lane, offset: int) -> None:
        lane.tracker.advance_to(offset)
        lane.positioning = False
        try:
            self._consumer.seek(lane.partition, offset)
        except IllegalStateError:
            _log.info("a partition moved on before its place was set")
