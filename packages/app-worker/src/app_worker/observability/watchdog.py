"""Ends a process whose event loop hangs, and shows where it does.

Such a process sends no heartbeats, answers no probe, and cannot stop. Two things watch, because no
single one sees everything: a thread sees a loop that waits (it is let in then), and a timer of CPU
time one that computes, even where no other thread is let in, as in a regular expression. Neither
takes a process for hung that was stopped as a whole, and goes on.
"""

import asyncio
import faulthandler
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_HUNG = 1
STANDARD_ERROR = 2
"""Its file descriptor: whoever replaces ``sys.stderr`` still gets the stacks."""
BEAT_SECONDS = 1.0
STOPPED_SECONDS = 3.0
"""A thread that wakes up so much later than it wanted was not the only one to stand still."""


class Beat:
    """When the loop was last seen to run; times are of one clock, in seconds."""

    def __init__(self, seconds: float, now: float) -> None:
        self._seconds = seconds
        self._last_beat = self._last_look = now

    def beat(self, now: float) -> None:
        """The loop runs."""
        self._last_beat = now

    def hangs(self, now: float) -> bool:
        """Whether it has not run for too long. To be asked about once in BEAT_SECONDS."""
        stopped = now - self._last_look > BEAT_SECONDS + STOPPED_SECONDS
        self._last_look = now
        if stopped:
            self._last_beat = now
        return now - self._last_beat > self._seconds


def show_and_exit() -> None:
    """Write the stacks of all threads, and end the process: nothing in it can be relied on."""
    os.write(STANDARD_ERROR, b"the event loop hangs; this is where each thread is:\n")
    faulthandler.dump_traceback(STANDARD_ERROR)
    os._exit(EXIT_HUNG)


@contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """Within the block, end the process when the running loop stands still for so long.

    To be entered in the main thread. Stacks name files and lines, and no values. If the loop
    computes without end and lets no thread in, the process is ended by SIGPROF, after so many
    seconds of CPU time for each core.
    """
    loop = asyncio.get_running_loop()
    # Other threads may be busy too, and lawfully: one for each core.
    cpu_seconds = seconds * (os.cpu_count() or 1)
    beat = Beat(seconds, time.monotonic())
    over = threading.Event()
    timer: asyncio.Handle | None = None

    def tick() -> None:
        nonlocal timer
        beat.beat(time.monotonic())
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        timer = loop.call_later(BEAT_SECONDS, tick)

    def look() -> None:
        while not over.wait(BEAT_SECONDS):
            if beat.hangs(time.monotonic()):
                show_and_exit()

    faulthandler.register(signal.SIGPROF, file=STANDARD_ERROR, all_threads=True, chain=True)
    tick()
    thread = threading.Thread(target=look, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.unregister(signal.SIGPROF)
        over.set()
        thread.join()
