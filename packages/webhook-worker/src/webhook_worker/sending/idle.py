"""Connections that wait for their next request: few, young, and found at once."""

from collections.abc import Hashable
from typing import Generic, TypeVar

from webhook_worker.request import Origin

C = TypeVar("C", bound=Hashable)


class IdleConnections(Generic[C]):
    """Keeps idle connections by origin; the one used last is taken first. Nothing is searched.

    Nothing is closed in here: ``put`` returns what has to be.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._by_age: dict[C, tuple[Origin, float]] = {}
        self._by_origin: dict[Origin, list[C]] = {}
        """The oldest first."""
        self._none_too_old_until = float("-inf")

    def __len__(self) -> int:
        return len(self._by_age)

    def take(self, origin: Origin) -> C | None:
        """A connection to there, no longer idle; None if there is none."""
        waiting = self._by_origin.get(origin)
        if not waiting:
            return None
        connection = waiting.pop()
        del self._by_age[connection]
        if not waiting:
            del self._by_origin[origin]
        return connection

    def put(self, origin: Origin, connection: C, now: float) -> list[C]:
        """Keep a connection from ``now`` (seconds) on; return those too old or too many."""
        by_age = self._by_age
        by_age[connection] = (origin, now)
        waiting = self._by_origin.get(origin)
        if waiting is None:
            self._by_origin[origin] = [connection]
        else:
            waiting.append(connection)
        if len(by_age) <= self._most and now <= self._none_too_old_until:
            return []
        return self._surplus(now)

    def clear(self) -> list[C]:
        """Return them all and keep none."""
        everything = list(self._by_age)
        self._by_age.clear()
        self._by_origin.clear()
        return everything

    def _surplus(self, now: float) -> list[C]:
        surplus = []
        while self._by_age:
            oldest, (_, since) = next(iter(self._by_age.items()))
            if len(self._by_age) <= self._most and now - since <= self._seconds:
                self._none_too_old_until = since + self._seconds
                break
            surplus.append(self._forget(oldest))
        return surplus

    def _forget(self, oldest: C) -> C:
        origin, _ = self._by_age.pop(oldest)
        waiting = self._by_origin[origin]
        del waiting[0]  # the oldest of all is the oldest of its origin
        if not waiting:
            del self._by_origin[origin]
        return oldest
