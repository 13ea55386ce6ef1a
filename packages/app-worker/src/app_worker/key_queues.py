"""Decides which record of a partition may start when those of one key go one after the other."""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from app_worker.arrival import Arrival
from app_worker.handler import DeadLetter
from app_worker.record import Record


class OrderKey(NamedTuple):
    """What is kept in order: the deliveries of one name whose records have one key."""

    delivery: str | None
    key: bytes | None


class KeyQueues:
    """The open records of one partition, by key; the first of each key is its head.

    A head is ready, in work, or waits for its next attempt: then its key is blocked. Those behind
    it wait for its outcome. Moments are on one clock, in seconds. Each operation takes time
    for what it returns or moves, and for the logarithm of the blocked keys.
    """

    def __init__(self) -> None:
        self._queues: dict[OrderKey, deque[Arrival]] = {}
        self._ready: deque[OrderKey] = deque()
        self._due: list[tuple[float, int, OrderKey]] = []
        """A heap of the blocked keys whose heads wait; the number parts what is due at once."""
        self._blocked: dict[OrderKey, None] = {}
        """Also those whose heads are in work again; the one that was blocked first stands first."""
        self._in_work: set[OrderKey] = set()
        self._numbers = 0
        self.leaving = 0
        """Records that were given up, and are not stored yet."""
        self.held = 0
        """Records here, those in work included."""
        self.held_back = 0
        """Of those the ones of blocked keys."""
        self.waiting: Counter[str | None] = Counter()
        """How many records wait, for a time or for their turn, by the name of the delivery."""
        self.waiting_bytes: Counter[str | None] = Counter()
        """And how large they are together."""

    @property
    def ready(self) -> int:
        """Records that may start now."""
        return len(self._ready)

    @property
    def blocked_keys(self) -> int:
        """Keys that wait for a head which has failed."""
        return len(self._blocked)

    def blocked_heads(self) -> Iterator[Arrival]:
        """The head of each blocked key, in the order in which they were blocked."""
        return (self._queues[key][0] for key in self._blocked)

    def add(self, arrival: Arrival) -> None:
        """A record came, behind all that came before."""
        key = key_of(arrival)
        self.held += 1
        self.leaving += arrival.unfit is not None
        self.held_back += key in self._blocked
        self._count_waiting(arrival, 1)
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = deque([arrival])
            self._ready.append(key)
        else:
            queue.append(arrival)

    def head(self, now: float) -> Arrival | None:
        """What is to start next, be it that it still has to wait; None if nothing is to."""
        key = self._next(now)
        return None if key is None else self._queues[key][0]

    def start(self, now: float) -> Arrival:
        """Take into work what ``head`` returns. Raises IndexError if that is nothing."""
        key = self._next(now)
        if key is None:
            raise IndexError("nothing waits")
        if self._due and self._due[0][2] == key:
            heapq.heappop(self._due)
        else:
            self._ready.popleft()
        self._in_work.add(key)
        arrival = self._queues[key][0]
        self._count_waiting(arrival, -1)
        return arrival

    def complete(self, arrival: Arrival) -> None:
        """What was in work has its outcome: the next one of its key is its head."""
        key = key_of(arrival)
        queue = self._queues[key]
        if key in self._blocked:
            del self._blocked[key]
            self.held_back -= len(queue)
        self._in_work.remove(key)
        self.leaving -= queue.popleft().unfit is not None
        self.held -= 1
        if queue:
            self._ready.append(key)
        else:
            del self._queues[key]

    def block(self, arrival: Arrival, due: float) -> None:
        """What was in work is to be tried again at ``due``; ``arrival`` says with what."""
        key = key_of(arrival)
        queue = self._queues[key]
        if key not in self._blocked:
            self._blocked[key] = None
            self.held_back += len(queue)
        queue[0] = arrival
        self._in_work.remove(key)
        self._count_waiting(arrival, 1)
        if len(queue) > 1 and (given_up := queue[1].unfit) is not None:
            # Those behind it were given up meanwhile, and are not to wait for it.
            self._give_up(arrival, replace(given_up, attempts=arrival.record.attempts))
            self._ready.append(key)
            return
        self._numbers += 1
        heapq.heappush(self._due, (due, self._numbers, key))

    def give_up(self, delivery: str | None, dead: Callable[[Record], DeadLetter]) -> None:
        """All that waits for deliveries of this name is given up, and waits for no time any more.

        It is stored key by key in its order, as all is. What is in work goes on.
        """
        waiting = []
        for entry in self._due:
            if entry[2].delivery == delivery:
                self._ready.append(entry[2])
            else:
                waiting.append(entry)
        heapq.heapify(waiting)
        self._due = waiting
        for arrival in self._those_waiting(delivery):
            if arrival.unfit is None:
                self._give_up(arrival, dead(arrival.record))

    def goes_on(self, delivery: str | None) -> bool:
        """Whether anything of this name is in work that has not failed before."""
        working = (key for key in self._in_work if key.delivery == delivery)
        return any(key not in self._blocked for key in working)

    def _count_waiting(self, arrival: Arrival, number: int) -> None:
        name = arrival.record.delivery
        self.waiting[name] += number
        self.waiting_bytes[name] += number * arrival.size
        if not self.waiting[name]:
            del self.waiting[name], self.waiting_bytes[name]

    def _give_up(self, arrival: Arrival, dead: DeadLetter) -> None:
        arrival.unfit = dead
        arrival.record = arrival.record._replace(not_before_ms=0)
        self.leaving += 1

    def _those_waiting(self, delivery: str | None) -> Iterator[Arrival]:
        for key, queue in self._queues.items():
            if key.delivery == delivery:
                yield from islice(queue, key in self._in_work, None)

    def _next(self, now: float) -> OrderKey | None:
        """What is due goes first, since others wait for it."""
        if self._due and (self._due[0][0] <= now or not self._ready):
            return self._due[0][2]
        return self._ready[0] if self._ready else None


def key_of(arrival: Arrival) -> OrderKey:
    """The key that a record is kept in order with."""
    return OrderKey(arrival.record.delivery, arrival.record.key)
