"""Says, right before a request's first byte, whether it may still be sent."""

import time
from collections.abc import Callable

from app_worker.record import Record

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def since_boot() -> float:
    """Seconds on a clock that goes on while the machine is suspended, where there is one."""
    return time.clock_gettime(_BOOT_CLOCK)


class GivenUpError(Exception):
    """A record that this process may not work on any more, since others may begin it by now.

    Raised in a handler, it leaves the record without an outcome, and is no fault.
    """


class SendGate:
    """Kept by the worker, asked by a handler whose requests act on the world.

    A record whose partition was handed over may be worked on for a while, and then not any more.
    Its work is cancelled in time; but a process that stood still may come to send the next byte
    before it comes to learn that its time is over.
    """

    def __init__(self, clock: Callable[[], float] = since_boot) -> None:
        self._clock = clock
        self._asked: dict[int, tuple[Record, Callable[[float], bool]]] = {}

    def ask(self, record: Record, may_send: Callable[[float], bool]) -> None:
        """Of this very record nothing is to be sent any more unless this says so of the moment."""
        self._asked[id(record)] = (record, may_send)

    def forget(self, record: Record) -> None:
        """Nobody works on this very record any more."""
        self._asked.pop(id(record), None)

    def may_send(self, record: Record) -> bool:
        """Whether a request about it may be begun now. It must be the object that was handed in."""
        asked = self._asked.get(id(record)) if self._asked else None
        return asked is None or asked[1](self._clock())

    def check(self, record: Record) -> None:
        """Raise GivenUpError unless a request about it may be begun now."""
        if self._asked and not self.may_send(record):
            raise GivenUpError(f"{record.topic}-{record.partition} was handed over")
