"""Shows, when asked by SIGUSR2, what every task of the process waits for."""

import asyncio
import logging
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from app_worker.observability.logs import place_of

MOST_STACKS = 50
MOST_FRAMES = 12

_log = logging.getLogger(__name__)


@contextmanager
def shown_on_request(number: signal.Signals = signal.SIGUSR2) -> Iterator[None]:
    """Within the block, this signal has the tasks of the running loop logged."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(number, log_tasks, loop)
    try:
        yield
    finally:
        loop.remove_signal_handler(number)


def log_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Log each stack once, with the number of tasks that have it, the most frequent ones first.

    As warnings: who asks for it is to get it, whatever the level is.
    """
    stacks = stacks_of(loop)
    _log.warning("tasks", extra={"tasks": stacks.total(), "stacks": len(stacks)})
    for stack, count in stacks.most_common(MOST_STACKS):
        _log.warning("tasks that wait at one place", extra={"tasks": count, "frames": stack})


def stacks_of(loop: asyncio.AbstractEventLoop) -> Counter[str]:
    """Each place that tasks of the loop wait at, from the outermost frame on, and how many do."""
    return Counter(map(stack_of, asyncio.all_tasks(loop)))


def stack_of(task: "asyncio.Task[Any]") -> str:
    """From the outermost frame to what is waited for; places in the code, and no values."""
    places: list[str] = []
    waiting: Any = task.get_coro()
    while waiting is not None:
        frame: FrameType | None = getattr(waiting, "cr_frame", None)
        if frame is not None:
            places.append(place_of(frame.f_code, frame.f_lineno))
        waiting = getattr(waiting, "cr_await", None)
    return " > ".join(places[-MOST_FRAMES:])
