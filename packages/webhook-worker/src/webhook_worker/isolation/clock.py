"""A clock that stands still while this process does, so that no endpoint is charged with it."""

import asyncio
from collections.abc import Callable

BEAT_SECONDS = 0.05
LONGEST_STEP_SECONDS = 1.5 * BEAT_SECONDS
"""More than that between two looks is a time in which nothing of this process ran."""


class LivedClock:
    """The loop's time without what the process stood still for.

    Whoever gets no processor for a while finds all endpoints silent for as long, although their
    answers are there and only wait to be read. ``is_busy`` says whether it matters: standing still
    is noticed by a beat, and while nothing is in flight there is none.
    """

    def __init__(self, is_busy: Callable[[], object]) -> None:
        self._is_busy = is_busy
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._seen = self._time()
        self._stood = 0.0
        self._beat: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Seconds; never more between two calls than have passed."""
        now = self._time()
        if self._beat is not None and now - self._seen > LONGEST_STEP_SECONDS:
            self._stood += now - self._seen - LONGEST_STEP_SECONDS
        self._seen = now
        return now - self._stood

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
