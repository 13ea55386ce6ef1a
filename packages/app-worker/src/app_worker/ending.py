"""Ends a program in time, though something that its handler began never ends."""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Coroutine, Iterator
from functools import partial
from traceback import walk_stack
from typing import Any

from app_worker.observability.logs import place_of
from app_worker.observability.task_stacks import stacks_of

LINGER_SECONDS = 1.0
"""How long what was not waited for may take to end, once it has been cancelled."""
CLOSE_SECONDS = 5.0
"""How long the handler may take to close what it has opened."""
MOST_SHOWN = 10
MOST_FRAMES = 12

_log = logging.getLogger(__name__)


def run_to_end(main: Coroutine[Any, Any, int]) -> int:
    """Return what ``main`` returns, as ``asyncio.run`` does, or exit with it LINGER_SECONDS later.

    ``asyncio.run`` waits without end for a task that catches its cancellation, and for a thread of
    ``asyncio.to_thread``, which nothing can end.
    """
    return asyncio.run(_to_its_end(main))


class Closing:
    """The time in which a handler is to be left."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, error: type[BaseException] | None, *_: object) -> None:
        """An exit callback of a context: exit in CLOSE_SECONDS, with 1 if there is an error."""
        loop = asyncio.get_running_loop()
        code = 0 if error is None else 1
        self._timer = loop.call_later(CLOSE_SECONDS, partial(_exit, loop, code))

    def over(self) -> None:
        """It is left, or was never entered."""
        if self._timer is not None:
            self._timer.cancel()


async def _to_its_end(main: Coroutine[Any, Any, int]) -> int:
    code = await main
    loop = asyncio.get_running_loop()
    # The loop goes on until nothing is left of all that; with it this is forgotten.
    loop.call_later(LINGER_SECONDS, partial(_exit, loop, code))
    return code


def _exit(loop: asyncio.AbstractEventLoop, code: int) -> None:
    left = [stack for stack, _ in stacks_of(loop).most_common()] + list(_threads())
    for stack in left[:MOST_SHOWN]:
        _log.error("the end does not wait for this", extra={"frames": stack})
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def _threads() -> Iterator[str]:
    """Where each thread is that would be waited for, from its outermost frame on."""
    at_work = sys._current_frames()  # noqa: SLF001 - there is no other way to see them
    for thread in threading.enumerate():
        frame = at_work.get(thread.ident or 0)
        if thread.daemon or thread is threading.current_thread() or frame is None:
            continue
        places = [place_of(each.f_code, line) for each, line in walk_stack(frame)]
        yield " > ".join(places[:MOST_FRAMES][::-1])
