"""Asks the consumer for records of those lanes that have room, and never ceases to poll."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from aiokafka import TopicPartition
from aiokafka.errors import (
    ConsumerStoppedError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from app_worker.lanes import Arrival, Lane, Lanes
from app_worker.parked_headers import KafkaRecord, NotParkedError, fresh
from app_worker.positions import Positions
from app_worker.record import Record

NOWHERE = TopicPartition("", -1)
"""Asked for when no lane has room: aiokafka takes no partition at all to mean all of them."""

IDLE_SECONDS = 0.5
"""How long one poll waits for records while every lane is asked for."""

SHORTEST_POLL_SECONDS = 0.005
LONGEST_POLL_SECONDS = 0.1
"""A poll that leaves out full lanes is over soon, since they may have room again: from the one to
the other, the longer the less there is to do."""

WITHOUT_ROOM_SECONDS = 1.0
"""Between two polls that ask for nothing; room made in between ends the pause."""

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Fetcher(Protocol):
    """The part of a consumer that hands over records."""

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int
    ) -> Mapping[TopicPartition, Sequence[KafkaRecord]]:
        """Records of these partitions; waits for some, and as long as a rebalance goes on."""


class Fetching:
    """Fills the lanes.

    ``getmany`` is awaited by the loop's own task, and what it returns is in the lanes before that
    task waits again: so nothing is ever on its way while a lane is stopped or begun.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        lanes: Lanes,
        positions: Positions,
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
        self._read = read
        self._offer = offer
        self._now = now
        self._max_records = max_records
        self._max_buffered_bytes = max_buffered_bytes
        self._room = room
        self._poll_seconds = SHORTEST_POLL_SECONDS
        self._failures = 0

    async def run(self) -> None:
        """Fetch until cancelled. Raises what the consumer cannot recover from."""
        while True:
            self._room.clear()
            asked = self._with_room()
            if asked:
                await self._fetch(asked, self._timeout(asked))
            else:
                await self._fetch([], 0.0)
                await self._pause(self._until_next_head(WITHOUT_ROOM_SECONDS))

    def _with_room(self) -> list[Lane]:
        now_ms = self._now() * 1000
        share = self._max_buffered_bytes // max(1, len(self._lanes))
        return [lane for lane in self._lanes if lane.has_room(share, now_ms)]

    def _timeout(self, asked: Collection[Lane]) -> float:
        now_ms = self._now() * 1000
        left_out = len(self._lanes) - len(asked)
        if not left_out:
            return IDLE_SECONDS
        waiting = sum(lane.waits(now_ms) for lane in self._lanes)
        return self._until_next_head(IDLE_SECONDS if left_out == waiting else self._poll_seconds)

    def _until_next_head(self, most: float) -> float:
        """Seconds until a lane's head may start and make room; ``most`` at most."""
        now_ms = self._now() * 1000
        heads = (lane.head() for lane in self._lanes if lane.waits(now_ms))
        soonest = min((head.record.not_before_ms for head in heads if head), default=None)
        if soonest is None:
            return most
        return max(SHORTEST_POLL_SECONDS, min(most, soonest / 1000 - self._now()))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._room.wait()
        except TimeoutError:
            return

    async def _fetch(self, asked: Collection[Lane], seconds: float) -> None:
        partitions = [lane.partition for lane in asked] or [NOWHERE]
        try:
            fetched = await self._fetcher.getmany(
                *partitions, timeout_ms=round(seconds * 1000), max_records=self._max_records
            )
        except NoOffsetForPartitionError as error:
            self._positions.no_offset(error.args[0])
        except OffsetOutOfRangeError as error:
            self._positions.out_of_range(error.args[0])
        except ConsumerStoppedError:
            raise
        except Exception as error:
            await self._recover(asked, error)
        else:
            self._failures = 0
            self._hand_over(fetched)
            longer = min(2 * self._poll_seconds, LONGEST_POLL_SECONDS)
            self._poll_seconds = SHORTEST_POLL_SECONDS if fetched else longer

    def _hand_over(self, fetched: Mapping[TopicPartition, Sequence[KafkaRecord]]) -> None:
        for partition, messages in fetched.items():
            lane = self._lanes.get(partition)
            if lane and lane.readable:
                lane.take(map(self._arrival, messages))
                self._offer(lane)

    def _arrival(self, message: KafkaRecord) -> Arrival:
        try:
            return Arrival(self._read(message))
        except NotParkedError as error:
            return Arrival(fresh(message), str(error))

    async def _recover(self, asked: Collection[Lane], error: Exception) -> None:
        if type(error) is KafkaError:
            # So says aiokafka when its own coordination or fetching has ended.
            raise error
        self._failures += 1
        detail = {"error": f"{type(error).__name__}: {error}"}
        _log.error("fetching failed and will be tried again", extra=detail)
        # Records of other partitions that the same call had taken out of the buffers are gone.
        self._positions.reread(asked)
        backoff = FIRST_BACKOFF_SECONDS * 2.0 ** min(self._failures - 1, 10)
        await asyncio.sleep(min(backoff, LONGEST_BACKOFF_SECONDS))
