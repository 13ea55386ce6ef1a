"""Ends the calls whose time is over, with one timer for all of them."""

import asyncio
from collections.abc import Callable
from typing import Literal

Cut = Literal["over", "aside"]

DEAF_SECONDS = 5.0
"""How long a call may go on after it was told to end: it may have something to close."""


class Call:
    """The call of a handler that a task is in, one after the other."""

    __slots__ = ("began", "cut", "task")

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        self.began = 0.0
        """On the loop's clock, in seconds."""
        self.cut: Cut | None = None
        """Why it was told to end, by a cancellation that is taken back; None if it was not."""


class TimeLimit:
    """The most that each call may take.

    It is the same for all, so they end in the order in which they began, and only the oldest needs
    a timer. ``asyncio.timeout`` has one for each, which costs more than all the rest of a call.
    """

    def __init__(self, seconds: float, goes_on: Callable[[Call], None] = lambda _: None) -> None:
        """``goes_on`` is told once of each call that does not end although it was told to."""
        self._seconds = seconds
        self._goes_on = goes_on
        self._calls: dict[Call, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._told_to_end: dict[Call, asyncio.TimerHandle] = {}

    def begin(self, call: Call, now: float) -> None:
        """A call begins. To be ended before the next one of the same task begins."""
        call.began, call.cut = now, None
        self._calls[call] = None
        if self._timer is None:
            self._look_at(now + self._seconds)

    def end(self, call: Call) -> None:
        """The call has ended, in whatever way."""
        self._calls.pop(call, None)
        if call.cut is not None:
            self._told_to_end.pop(call).cancel()

    def seconds_left(self, call: Call, since: float, now: float) -> float:
        """The most that a call may still take, of a task whose work was begun at ``since``.

        It may not have come to calling yet: then all of its time is left.
        """
        began = call.began if call.began >= since else now
        return max(0.0, began + self._seconds - now)

    def cut(self, call: Call, why: Cut) -> bool:
        """Tell the call to end; False if that was done before, or it has ended by itself."""
        if self._calls.pop(call, call) is not None:
            return False
        call.cut = why
        loop = asyncio.get_running_loop()
        self._told_to_end[call] = loop.call_later(DEAF_SECONDS, self._goes_on, call)
        call.task.cancel()
        return True

    def close(self) -> None:
        """No more calls will begin."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        for timer in self._told_to_end.values():
            timer.cancel()

    def _look_at(self, when: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while (oldest := next(iter(self._calls), None)) is not None:
            if oldest.began + self._seconds > now:
                self._look_at(oldest.began + self._seconds)
                return
            self.cut(oldest, "over")
