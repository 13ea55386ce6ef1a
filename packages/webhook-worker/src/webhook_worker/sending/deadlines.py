"""Ends what has not ended in time, with one timer for all that are due together."""

import asyncio
from typing import Protocol

GRAIN_SECONDS = 0.05
"""A deadline is kept this late at most. A timer each would cost as much as parsing an answer."""


class Expiring(Protocol):
    """What has a deadline."""

    def expire(self) -> None:
        """The time is over."""
        ...


Due = set[Expiring]
"""All that are due at one moment; what has ended takes itself out."""


class Deadlines:
    """Who is due when."""

    def __init__(self) -> None:
        self._due: dict[int, Due] = {}

    def due_at(self, deadline: float) -> Due:
        """Where to be by ``deadline``, on the loop's clock, in order to be told then."""
        moment = int(deadline / GRAIN_SECONDS) + 1
        due = self._due.get(moment)
        if due is None:
            due = self._due[moment] = set()
            loop = asyncio.get_running_loop()
            loop.call_at(moment * GRAIN_SECONDS, self._expire, moment)
        return due

    def _expire(self, moment: int) -> None:
        for each in self._due.pop(moment):
            each.expire()
