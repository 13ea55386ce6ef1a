"""Ends the calls whose time is over, with one timer for all of them."""

import asyncio
from typing import Literal

Cut = Literal["over", "aside"]


class Call:
    """One call of a handler, from its begin to its end."""

    __slots__ = ("began", "cut", "task")

    def __init__(self, task: asyncio.Task[None], began: float) -> None:
        self.task = task
        self.began = began
        """On the loop's clock, in seconds."""
        self.cut: Cut | None = None
        """Why it was told to end, by a cancellation that is taken back; None if it was not."""


class TimeLimit:
    """The most that each call may take.

    It is the same for all, so they end in the order in which they began, and only the oldest needs
    a timer. ``asyncio.timeout`` has one for each, which costs more than all the rest of a call.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._calls: dict[Call, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, task: asyncio.Task[None], now: float) -> Call:
        """A call begins, in this task."""
        call = Call(task, now)
        self._calls[call] = None
        if self._timer is None:
            self._look_at(now + self._seconds)
        return call

    def end(self, call: Call) -> None:
        """The call has ended, in whatever way."""
        self._calls.pop(call, None)

    def cut(self, call: Call, why: Cut) -> None:
        """Tell the call to end, if that was not done before."""
        if call.cut is None:
            call.cut = why
            call.task.cancel()

    def close(self) -> None:
        """No more calls will begin."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _look_at(self, when: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while (oldest := next(iter(self._calls), None)) is not None:
            if oldest.began + self._seconds > now:
                self._look_at(oldest.began + self._seconds)
                return
            del self._calls[oldest]
            self.cut(oldest, "over")
