"""Asks the system's resolver in threads of its own, which nobody waits for."""

import asyncio
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address

from webhook_worker.egress import Address

Answer = Sequence[Address] | Exception
"""An exception is an answer, since nobody may be left to take it as an exception."""

SLOW_SECONDS = 1.0
"""A name that has had no answer by then is slow; nearly all have one within milliseconds."""


class ResolverBusyError(Exception):
    """No thread became free in time, so nothing was asked about the name."""


class SlowNameError(Exception):
    """The name is known to be slow, and too many like it are being asked about."""


class Lookups:
    """Lookups at one time: ``most`` that are young, and ``most_slow`` that are slow.

    The system's resolver blocks for as long as it likes. Neither the event loop's executor nor the
    end of the process gets to wait for it: each lookup has a daemon thread of its own. One that
    turns out to be slow leaves its place to the next, as long as there is room among the slow, and
    a name that was slow before begins there: however many names nobody answers for, they hold up a
    name that somebody answers for at their first time only.

    ``patience`` is the most, in seconds, that a lookup waits for a place.
    """

    def __init__(self, *, most: int, most_slow: int, patience: float) -> None:
        self._most = most
        self._patience = patience
        self._young = asyncio.Semaphore(most)
        self._most_slow = most_slow
        self._slow = 0

    async def ask(self, host: str, *, slow: bool) -> Answer:
        """What the system says, with ``slow`` for a name that is known to be slow.

        Raises ResolverBusyError and SlowNameError.
        """
        loop = asyncio.get_running_loop()
        lookup = _Lookup(loop.create_future(), slow)
        if slow:
            self._join_the_slow(host)
        else:
            await self._wait_for_place()

        def work() -> None:
            answer = _ask(host)
            with suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
                loop.call_soon_threadsafe(self._end, lookup, answer)

        try:
            threading.Thread(target=work, name=f"resolve {host}", daemon=True).start()
        except RuntimeError as error:
            self._leave(lookup)
            raise ResolverBusyError("no thread can be started") from error
        turning_slow = loop.call_later(SLOW_SECONDS, self._make_room, lookup)
        try:
            return await lookup.answered
        finally:
            turning_slow.cancel()

    async def _wait_for_place(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._young.acquire()
        except TimeoutError:
            said = f"all {self._most} threads of our resolver are busy"
            raise ResolverBusyError(said) from None

    def _join_the_slow(self, host: str) -> None:
        if self._slow >= self._most_slow:
            raise SlowNameError(host)
        self._slow += 1

    def _make_room(self, lookup: "_Lookup") -> None:
        if not lookup.slow and self._slow < self._most_slow:
            self._young.release()
            self._slow += 1
            lookup.slow = True

    def _leave(self, lookup: "_Lookup") -> None:
        if lookup.slow:
            self._slow -= 1
        else:
            self._young.release()

    def _end(self, lookup: "_Lookup", answer: Answer) -> None:
        self._leave(lookup)
        if not lookup.answered.done():
            lookup.answered.set_result(answer)


class _Lookup:
    """One that runs, and whose place it has."""

    __slots__ = ("answered", "slow")

    def __init__(self, answered: asyncio.Future[Answer], slow: bool) -> None:
        self.answered = answered
        self.slow = slow


def _ask(host: str) -> Answer:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(ip_address(sockaddr[0]) for *_, sockaddr in found))
    except Exception as error:
        return error
