"""Resolves names in threads of its own, which nobody waits for."""

import asyncio
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address

from webhook_worker.egress import Address

Answer = Sequence[Address] | Exception
"""An exception is an answer, since nobody may be left to take it as an exception."""


class ResolverBusyError(Exception):
    """No thread became free in time, so nothing was asked about the name."""


class Resolver:
    """Asks the system's resolver, which blocks for as long as it likes.

    Neither the event loop's executor nor the end of the process gets to wait for a lookup that
    hangs: each has a daemon thread of its own, ``most`` of them at a time. All who want a name at
    the same time share one lookup, so a name that hangs takes one thread; nothing is remembered
    beyond that. ``patience`` is the most, in seconds, that a lookup waits for a thread.
    """

    def __init__(self, *, most: int, patience: float) -> None:
        self._most = most
        self._patience = patience
        self._free = asyncio.Semaphore(most)
        self._running: dict[str, asyncio.Task[Answer]] = {}

    async def look_up(self, host: str) -> Sequence[Address]:
        """The addresses of a name, the best first; an address is its own.

        Raises ResolverBusyError, and socket.gaierror and UnicodeError as ``getaddrinfo`` does.
        """
        try:
            return [ip_address(host)]
        except ValueError:
            pass  # a name
        lookup = self._running.get(host)
        if lookup is None:
            lookup = self._running[host] = asyncio.create_task(self._run(host))
        # Shielded: whoever gives up leaves the lookup to the others.
        found = await asyncio.shield(lookup)
        if isinstance(found, Exception):
            raise found
        return found

    async def _run(self, host: str) -> Answer:
        try:
            return await self._ask_in_thread(host)
        except ResolverBusyError as error:
            return error
        finally:
            del self._running[host]

    async def _ask_in_thread(self, host: str) -> Answer:
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Answer] = loop.create_future()

        def work() -> None:
            answer = _ask(host)
            with suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
                loop.call_soon_threadsafe(self._end, answered, answer)

        await self._wait_for_thread()
        try:
            threading.Thread(target=work, name=f"resolve {host}", daemon=True).start()
        except RuntimeError as error:
            self._free.release()
            raise ResolverBusyError("no thread can be started") from error
        return await answered

    async def _wait_for_thread(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._free.acquire()
        except TimeoutError:
            said = f"all {self._most} threads of our resolver are busy"
            raise ResolverBusyError(said) from None

    def _end(self, answered: asyncio.Future[Answer], answer: Answer) -> None:
        self._free.release()
        if not answered.done():
            answered.set_result(answer)


def _ask(host: str) -> Answer:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(ip_address(sockaddr[0]) for *_, sockaddr in found))
    except Exception as error:
        return error
