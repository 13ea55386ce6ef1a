"""The records that one consumer has begun: how many at once, when they end, what may be committed.

The work of a record is to wait, for as long as the record says. So the end of each is known when it
begins, and everything here is a question of the time alone.
"""

import heapq
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Mapping

PAYLOAD = struct.Struct(">qi")
"""A record's value: when it was produced, in ns of the monotonic clock; its work, in us."""

TAIL = ((950, 20_000), (990, 500_000), (1000, 8_000_000))
"""Of 1,000 records 950 take 20 ms, 40 take 0.5 s, 10 take 8 s, as customers' endpoints do."""


def tail_work_us(partition: int, number: int) -> int:
    """The work of the record of this number in its partition; the same at each call."""
    draw = zlib.crc32(struct.pack(">iq", partition, number)) % TAIL[-1][0]
    return next(microseconds for below, microseconds in TAIL if draw < below)


class Work:
    """What one consumer has in hand. Times are nanoseconds."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._ends: list[int] = []
        self._lanes: dict[int, _Lane] = {}

    @property
    def partitions(self) -> frozenset[int]:
        """Those that are open or closing."""
        return frozenset(self._lanes)

    def open(self, partitions: Iterable[int]) -> None:
        """They were assigned. State lives per assignment: an old one is forgotten."""
        self._lanes.update({partition: _Lane() for partition in partitions})

    def close(self, partitions: Iterable[int]) -> None:
        """They are being revoked: nothing of them begins any more."""
        for partition in partitions:
            if partition in self._lanes:
                self._lanes[partition].closing = True

    def reopen(self, partitions: Iterable[int]) -> None:
        """They are not to be given up after all."""
        for partition in partitions:
            self._lanes[partition].closing = False

    def closing(self, partitions: Iterable[int]) -> list[int]:
        """Those of these that are being revoked."""
        return [p for p in partitions if p in self._lanes and self._lanes[p].closing]

    def forget(self, partitions: Iterable[int]) -> None:
        """They are gone."""
        for partition in partitions:
            self._lanes.pop(partition, None)

    def free(self, now: int) -> int:
        """How many records may begin."""
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        return self._slots - len(self._ends)

    def next_free(self) -> int:
        """When the next record in hand ends; to be asked when there are some."""
        return self._ends[0]

    def begin(self, partition: int, offset: int, work_us: int, now: int) -> bool | None:
        """Begin a record; False if its partition is closing, None if it was never assigned."""
        lane = self._lanes.get(partition)
        if lane is None or lane.closing:
            return None if lane is None else False
        end = now + work_us * 1_000
        heapq.heappush(self._ends, end)
        lane.begin(offset, end)
        return True

    def drained(self, partitions: Iterable[int]) -> int:
        """When the last record in hand of these partitions ends; 0 if there never was one."""
        return max((self._lanes[p].last_end for p in partitions if p in self._lanes), default=0)

    def committable(self, partitions: Iterable[int], now: int) -> Mapping[int, int]:
        """For each of them, if it has news: the offset below which every record is done."""
        lanes = ((p, self._lanes[p]) for p in partitions if p in self._lanes)
        news = ((p, lane.committable(now)) for p, lane in lanes)
        return {p: offset for p, offset in news if offset is not None}

    def committed(self, offsets: Mapping[int, int]) -> None:
        """The brokers have these offsets: they are no news any more."""
        for partition, offset in offsets.items():
            if partition in self._lanes:
                self._lanes[partition].committed = offset


class _Lane:
    """One assignment of one partition."""

    __slots__ = ("_begun", "_done", "closing", "committed", "last_end")

    def __init__(self) -> None:
        self._begun: deque[tuple[int, int]] = deque()
        self._done: int | None = None
        self.committed: int | None = None
        self.closing = False
        self.last_end = 0

    def begin(self, offset: int, end: int) -> None:
        self._begun.append((offset, end))
        self.last_end = max(self.last_end, end)

    def committable(self, now: int) -> int | None:
        while self._begun and self._begun[0][1] <= now:
            self._done = self._begun.popleft()[0] + 1
        return None if self._done == self.committed else self._done
