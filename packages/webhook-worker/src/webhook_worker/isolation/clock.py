"""A clock that stands still while this process does, so that no endpoint is charged with it."""

import asyncio
import os
from collections.abc import Callable

from app_worker.loop_clock import loop_clock

BEAT_SECONDS = 0.05
LONGEST_STEP_SECONDS = 1.5 * BEAT_SECONDS
"""More than that between two looks is a time in which nothing of this process ran."""
LOOK_SECONDS = 0.01
"""Between two looks at what the process waited for."""


class LivedClock:
    """The loop's time without what the process stood still for.

    Whoever gets no processor for a while finds all endpoints silent for as long, although their
    answers are there and only wait to be read. The operating system says for how long a thread that
    could run did not; that a process was stopped is noticed by a beat. ``is_busy`` says whether
    that matters: while nothing is in flight there is none.
    """

    def __init__(
        self, is_busy: Callable[[], object], waited: Callable[[], float] | None = None
    ) -> None:
        """``waited`` is for how long this thread has waited for a processor, in seconds."""
        self._is_busy = is_busy
        self._waited = waited or processor_waits()
        self._waited_before = self._waited()
        self._loop = asyncio.get_running_loop()
        self._time = loop_clock()
        self._seen = self._time()
        self._stood = 0.0
        self._told = self._seen
        self._beat: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Seconds; never more between two calls than have passed, and never less than before."""
        now = self._time()
        step = now - self._seen
        if step > LOOK_SECONDS:
            waited = self._waited()
            stood = waited - self._waited_before
            if self._beat is not None:
                stood = max(stood, step - LONGEST_STEP_SECONDS)
            self._stood += min(stood, step)
            self._waited_before, self._seen = waited, now
        lived = now - self._stood
        self._told = max(self._told, lived)
        return self._told

    def watch(self) -> None:
        """Notice from now on when the process stands still, as long as it is busy."""
        if self._beat is None:
            self.now()
            self._beat = self._loop.call_later(BEAT_SECONDS, self._on_beat)

    def _on_beat(self) -> None:
        self.now()
        self._beat = None
        if self._is_busy():
            self.watch()


def processor_waits() -> Callable[[], float]:
    """What says for how long the thread that asks for it has waited for a processor, in seconds.

    Linux counts that (``/proc/thread-self/schedstat``, the second number, nanoseconds); where it is
    not to be had it is always 0.
    """
    try:
        counted = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return lambda: 0.0
    return _Counted(counted).seconds


class _Counted:
    """An open file of the operating system, closed with whoever has it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __del__(self) -> None:
        os.close(self._descriptor)

    def seconds(self) -> float:
        """Waited until now."""
        try:
            return int(os.pread(self._descriptor, 100, 0).split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0
