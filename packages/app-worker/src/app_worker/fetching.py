"""Asks the consumer for records of those lanes that have room, and never ceases to poll."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from aiokafka import TopicPartition
from aiokafka.errors import (
    ConsumerStoppedError,
    CorruptRecordException,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    UnsupportedCodecError,
)

from app_worker.arrival import Arrival
from app_worker.backoff import Backoff
from app_worker.handler import DeadLetter
from app_worker.lanes import Lane, Lanes
from app_worker.observability.metrics import WorkerMetrics
from app_worker.parked_headers import (
    DELAY_GRACE,
    KafkaRecord,
    NotParkedError,
    fresh,
    longest_wait_seconds,
)
from app_worker.positions import Positions
from app_worker.record import Origin, Record
from kafka_utils import GroupError

NOWHERE = TopicPartition("", -1)
"""Asked for when no lane has room: aiokafka takes no partition at all to mean all of them."""

IDLE_SECONDS = 5.0
"""How long one poll waits while every lane is asked for. Records, a new lane and the end of the
membership end it sooner."""

SHORTEST_POLL_SECONDS = 0.005
LONGEST_POLL_SECONDS = 0.1
"""A poll that leaves out full lanes is over soon, since they may have room again: from the one to
the other, the longer the less there is to do."""

WITHOUT_ROOM_SECONDS = 1.0
"""Between two polls that ask for nothing; room made in between ends the pause."""

SUSPICION_SECONDS = 5.0
"""How long lanes are polled alone after one of them met something unreadable."""

ASIDE_SECONDS = 5.0
"""Between two reads of a partition whose next batch is corrupt: it may be whole on another broker,
and nothing of it may be skipped."""

UNREADABLE = (CorruptRecordException, UnsupportedCodecError)
"""The errors of Kafka that come from one partition's bytes, as does all that is no KafkaError."""

NO_TIMESTAMP = -1
"""Kafka's own number for it."""

PATIENCE_SECONDS = 60.0
"""How long every poll may fail. Then the group has dropped this member in any case, and a process
that starts anew has better chances."""

BACKOFF = Backoff(first=0.5, longest=5.0)

_log = logging.getLogger(__name__)

Fetched = Mapping[TopicPartition, Sequence[KafkaRecord]]


class UnreadableError(Exception):
    """What was fetched for a partition cannot be read; its cause says why."""


@dataclass(slots=True)
class Suspicion:
    """A lane that may have something unreadable next, and so is polled alone for a while."""

    until: float
    since: float = 0.0
    """It is left alone before. Both are on the loop's clock."""
    narrow: bool = False
    """Whether it is polled for one record at a time, so that a bad one is known by its place."""


class Fetcher(Protocol):
    """The part of a consumer that hands over records."""

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int
    ) -> Fetched:
        """Records of these partitions; waits for some, and as long as a rebalance goes on."""


class Fetching:
    """Fills the lanes.

    ``getmany`` is awaited by the loop's own task, and what it returns is in the lanes before that
    task waits again: so nothing is ever on its way while a lane is stopped or begun.

    It raises what one partition has, and then loses what it had taken for others: so after
    something unreadable each lane that was asked for is polled alone, until it is found.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        lanes: Lanes,
        positions: Positions,
        *,
        recall: Callable[[Lane], object],
        metrics: WorkerMetrics,
        read: Callable[[KafkaRecord], Record],
        offer: Callable[[Lane], None],
        now: Callable[[], float],
        max_records: int,
        max_buffered_bytes: int,
        room: asyncio.Event,
    ) -> None:
        self._fetcher = fetcher
        self._lanes = lanes
        self._positions = positions
        self._recall = recall
        self._complete_before = metrics.complete_before
        self._unreadable = metrics.unreadable_batches
        self._read = read
        self._offer = offer
        self._now = now
        self._clock = asyncio.get_running_loop().time
        self._max_records = max_records
        self._max_buffered_bytes = max_buffered_bytes
        self._room = room
        self._poll_seconds = SHORTEST_POLL_SECONDS
        self._limit: asyncio.Timeout | None = None
        """Ends the poll that is under way."""
        self._failures = 0
        self._failing_since: float | None = None
        self._suspects: dict[Lane, Suspicion] = {}

    async def run(self) -> None:
        """Fetch until cancelled. Raises what the consumer cannot recover from."""
        while True:
            self._room.clear()
            await self._fetch_suspects()
            asked = self._with_room()
            if not asked:
                await self._fetch([], 0.0)
                asked = await self._room_made()
            if asked:
                await self._fetch(asked, self._timeout(asked))

    def interrupt(self) -> None:
        """There are new lanes: a poll that waits for records of others is over."""
        if self._limit:
            self._limit.reschedule(asyncio.get_running_loop().time())

    def _with_room(self) -> list[Lane]:
        with_room = []
        for lane in self._lanes:
            if lane in self._suspects:
                continue
            if self._has_room(lane):
                with_room.append(lane)
            elif lane.make_room():
                self._offer(lane)
        return with_room

    def _has_room(self, lane: Lane) -> bool:
        share = self._max_buffered_bytes // max(1, len(self._lanes))
        return lane.has_room(share, self._now() * 1000, self._clock())

    def _timeout(self, asked: Collection[Lane]) -> float:
        left_out = len(self._lanes) - len(asked)
        if not left_out:
            return IDLE_SECONDS
        waiting = sum(self._seconds_left(lane) > 0 for lane in self._lanes)
        return self._until_next_head(IDLE_SECONDS if left_out == waiting else self._poll_seconds)

    def _until_next_head(self, most: float) -> float:
        """Seconds until a lane's head may start and make room; ``most`` at most."""
        left = [seconds for lane in self._lanes if (seconds := self._seconds_left(lane))]
        return max(SHORTEST_POLL_SECONDS, min([most, *left])) if left else most

    def _seconds_left(self, lane: Lane) -> float:
        return lane.seconds_left(self._now() * 1000, self._clock())

    async def _room_made(self) -> list[Lane]:
        """The lanes that have room again; none if that takes long, or suspects are to be polled.

        Each completion makes a little room, and few of them enough.
        """
        longest = LONGEST_POLL_SECONDS if self._suspects else WITHOUT_ROOM_SECONDS
        asked: list[Lane] = []
        try:
            async with asyncio.timeout(self._until_next_head(longest)):
                while not asked:
                    await self._room.wait()
                    self._room.clear()
                    if self._suspects:
                        break
                    asked = self._with_room()
        except TimeoutError:
            return []
        return asked

    async def _fetch(self, asked: Collection[Lane], seconds: float) -> None:
        try:
            fetched = await self._poll(asked, seconds, self._max_records)
        except UnreadableError as error:
            self._suspect(asked, error)
            return
        self._hand_over(fetched)
        longer = min(2 * self._poll_seconds, LONGEST_POLL_SECONDS)
        self._poll_seconds = SHORTEST_POLL_SECONDS if fetched else longer

    async def _poll(self, asked: Collection[Lane], seconds: float, most: int) -> Fetched:
        """Ask once. Raises UnreadableError; of other errors only those that are for good."""
        partitions = [lane.partition for lane in asked] or [NOWHERE]
        fetched: Fetched = {}
        try:
            fetched = await self._get(partitions, seconds, most)
        except NoOffsetForPartitionError as error:
            self._positions.no_offset(error.args[0])
        except OffsetOutOfRangeError as error:
            self._positions.out_of_range(error.args[0])
        except ConsumerStoppedError:
            raise
        except Exception as error:
            if isinstance(error, KafkaError) and not isinstance(error, UNREADABLE):
                await self._recover(asked, error)
                return {}
            self._failing_since = None
            raise UnreadableError from error
        self._failures, self._failing_since = 0, None
        return fetched

    async def _get(
        self, partitions: Collection[TopicPartition], seconds: float, most: int
    ) -> Fetched:
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._limit = limit
                try:
                    return await self._fetcher.getmany(
                        *partitions, timeout_ms=round(seconds * 1000), max_records=most
                    )
                finally:
                    self._limit = None
        except TimeoutError:
            # It ends where it waits, and what it has taken it returns without waiting.
            if limit.expired():
                return {}
            raise

    def _hand_over(self, fetched: Fetched) -> None:
        for partition, messages in fetched.items():
            lane = self._lanes.get(partition)
            if lane and lane.readable:
                self._recall(lane)
                if not lane.recalled:
                    self._positions.find_end(lane, messages[0].offset)
                    continue
                before = lane.take(map(self._arrival, messages))
                if before:
                    self._complete_before.inc(before)
                self._offer(lane)

    def _arrival(self, message: KafkaRecord) -> Arrival:
        try:
            record = self._read(message)
        except NotParkedError as error:
            record = fresh(message)
            dead = DeadLetter(None, record.attempts, "bad_parked_record", str(error))
            return Arrival(record, dead)
        if not record.not_before_ms:
            return Arrival(record)
        return Arrival(record, due=self._due(record))

    def _due(self, record: Record) -> float:
        """When the delay of a parked record is over even if the wall clock is set back.

        It was parked before it was fetched, so that no more than its delay can be left of it.
        """
        left = record.not_before_ms / 1000 - self._now()
        return self._clock() + min(left * DELAY_GRACE, longest_wait_seconds(record.topic))

    async def _recover(self, asked: Collection[Lane], error: KafkaError) -> None:
        now = asyncio.get_running_loop().time()
        if self._failing_since is None:
            self._failing_since = now
        if isinstance(error, GroupError) or now - self._failing_since > PATIENCE_SECONDS:
            raise error
        self._failures += 1
        detail = {"error": f"{type(error).__name__}: {error}"}
        _log.error("fetching failed and will be tried again", extra=detail)
        # Records of other partitions that the same call had taken out of the buffers are gone.
        self._positions.reread(asked)
        await asyncio.sleep(BACKOFF.seconds(self._failures))

    def _suspect(self, asked: Collection[Lane], error: UnreadableError) -> None:
        """One of these lanes has something unreadable; which one, only its own poll can tell."""
        _log.warning("something unreadable was fetched", extra={"error": _cause(error)})
        # Records of other partitions that the same call had taken out of the buffers are gone.
        self._positions.reread(asked)
        until = asyncio.get_running_loop().time() + SUSPICION_SECONDS
        for lane in asked:
            self._suspects[lane] = Suspicion(until)

    async def _fetch_suspects(self) -> None:
        for lane, suspicion in list(self._suspects.items()):
            now = asyncio.get_running_loop().time()
            if not self._lanes.alive(lane) or now > suspicion.until:
                del self._suspects[lane]
            elif not self._has_room(lane):
                suspicion.until = max(suspicion.until, now + SUSPICION_SECONDS)
            elif now >= suspicion.since:
                await self._fetch_alone(lane, suspicion)

    async def _fetch_alone(self, lane: Lane, suspicion: Suspicion) -> None:
        """Take what there is, without waiting."""
        while self._has_room(lane):
            most = 1 if suspicion.narrow else self._max_records
            try:
                fetched = await self._poll([lane], 0.0, most)
            except UnreadableError as error:
                self._judge(lane, suspicion, error)
                return
            if not fetched:
                return
            self._hand_over(fetched)

    def _judge(self, lane: Lane, suspicion: Suspicion, error: UnreadableError) -> None:
        if not (self._lanes.alive(lane) and lane.readable):
            return
        here, now = lane.partition, asyncio.get_running_loop().time()
        if not suspicion.narrow:
            suspicion.narrow, suspicion.until = True, now + SUSPICION_SECONDS
            return
        # aiokafka moves on only behind records that it hands over: it stands at the bad one. And it
        # reads a batch from its start each time, so what is behind a bad record in its batch
        # fares like it.
        offset = self._positions.of(here)
        detail = {"topic": here.topic, "partition": here.partition, "offset": offset}
        detail["error"] = _cause(error)
        if isinstance(error.__cause__, UnicodeDecodeError) and offset is not None:
            _log.error("a record cannot be decoded and becomes a dead letter", extra=detail)
            lane.take([_undecodable(here, offset, _cause(error))])
            self._offer(lane)
            self._positions.move(lane, offset + 1)
            suspicion.until = now + SUSPICION_SECONDS
        else:
            _log.error("a batch cannot be read; its partition waits for it", extra=detail)
            self._unreadable.labels(here.topic).inc()
            suspicion.since = now + ASIDE_SECONDS
            suspicion.until = suspicion.since + SUSPICION_SECONDS


def _cause(error: UnreadableError) -> str:
    return type(error.__cause__).__name__


def _undecodable(here: TopicPartition, offset: int, error: str) -> Arrival:
    origin = Origin(here.topic, here.partition, offset)
    record = Record(here.topic, here.partition, offset, None, None, (), NO_TIMESTAMP, origin)
    return Arrival(record, DeadLetter(None, 0, "undecodable", error))
