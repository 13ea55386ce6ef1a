"""Stop signals: the first one asks for an orderly end, the second one ends at once."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = logging.getLogger(__name__)


@contextmanager
def stop_signals(end_at_once: Callable[[int], object] = os._exit) -> Iterator[asyncio.Event]:
    """Within the block, SIGTERM and SIGINT set the event that is yielded.

    A second signal ends the process at once with exit code 128 + its number, as a shell reports a
    process that a signal killed (143 for SIGTERM, 130 for SIGINT): nothing is committed any more,
    what was in work is delivered again. To be entered before any connection is made.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def received(number: signal.Signals) -> None:
        if stop.is_set():
            _log.critical("stopping at once, by a second signal", extra={"signal": number.name})
            end_at_once(128 + number)
        _log.info("stopping", extra={"signal": number.name})
        stop.set()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, received, number)
    try:
        yield stop
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
