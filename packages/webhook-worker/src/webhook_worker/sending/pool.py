"""Sends requests over connections that are kept, few enough, and found without a search."""

import asyncio
from dataclasses import dataclass

from app_worker.loop_clock import loop_clock
from webhook_worker.request import Check, Origin, Request
from webhook_worker.sending.answer import Answer
from webhook_worker.sending.connection import Connection
from webhook_worker.sending.deadlines import Deadlines
from webhook_worker.sending.dialer import Dialer
from webhook_worker.sending.errors import (
    NetworkError,
    PoolTimeoutError,
    TransportError,
)
from webhook_worker.sending.idle import IdleConnections
from webhook_worker.sending.turnstile import Turnstile

STALE_SECONDS = 1.0
"""A kept connection that had been closed meanwhile says so within a round trip. One that breaks
later may have broken under our request, which the receiver has perhaps acted upon."""

MOST_IDLE = 1000
"""An idle connection costs 10 KB, with TLS 65 KB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """How many connections a process holds, and for how long."""

    most: int = 400
    """Connections in use at a time; further requests wait for one of them."""
    most_idle: int = 200
    idle_seconds: float = 30.0
    """Shorter than the 60 s and more that most receivers keep an idle connection."""


def limits_within(open_files: int, most: int) -> ConnectionLimits:
    """Limits that leave a quarter of the files that the process may open to everything else.

    Idle ones are at most MOST_IDLE: of more receivers than that in half a minute, some are
    connected to anew.
    """
    room = open_files * 3 // 4
    in_use = max(1, min(most, room * 2 // 3))
    return ConnectionLimits(most=in_use, most_idle=max(1, min(MOST_IDLE, room - in_use)))


class Pool:
    """Sends each request over an idle connection to its origin or over a new one.

    One whose kept connection turns out to be stale is sent once more, over a new one. ``patience``
    is the most, in seconds, that a request waits while all connections are in use.
    """

    def __init__(self, dialer: Dialer, limits: ConnectionLimits, *, patience: float) -> None:
        self._dialer = dialer
        self._limits = limits
        self._patience = patience
        self._turnstile = Turnstile(limits.most)
        self._deadlines = Deadlines()
        self._idle = IdleConnections[Connection](limits.most_idle, limits.idle_seconds)
        self._heard = float("-inf")
        """When a connection was kept last, on the loop's clock."""

    async def open(self) -> None:
        """Nothing is connected before it is needed."""
        self._clock = loop_clock()

    async def aclose(self) -> None:
        """Close the idle connections."""
        for connection in self._idle.clear():
            connection.close()

    async def exchange(
        self, request: Request, deadline: float, check: Check | None = None
    ) -> Answer:
        """Send, and return the answer; ``deadline`` is on the loop's clock.

        Of an answer that breaks off behind its head this is said in it. Raises TransportError
        where not even the head came, and what ``check`` raises, which is called right before the
        first byte.
        """
        if not self._turnstile.pass_at_once():
            await self._wait_until_free()
        came: Answer | TransportError | None = None
        try:
            origin = request.head.origin
            began = self._clock()
            connection = self._kept(origin, began)
            while True:
                is_kept = connection is not None
                if connection is None:
                    connection = await self._dial(origin, deadline)
                try:
                    if check is not None:
                        check()
                    # Not before now: those that are due then may have been told while it was
                    # dialled.
                    due = self._deadlines.due_at(deadline)
                    came = await connection.ask(request.wire(), due)
                except BaseException:
                    connection.close()
                    raise
                if isinstance(came, Answer):
                    self._keep(connection, origin)
                    return came
                if not is_kept or not self._is_stale(connection, came, began):
                    raise came
                connection = None
        finally:
            came = None  # an error that is raised holds this frame, and with it the request
            self._turnstile.leave()

    async def _wait_until_free(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._turnstile.wait()
        except TimeoutError:
            raise PoolTimeoutError(f"all {self._limits.most} connections are in use") from None

    def _is_stale(self, connection: Connection, error: TransportError, began: float) -> bool:
        """Whether it had been closed before the request came, which was therefore not read."""
        if not isinstance(error, NetworkError) or connection.answer_began:
            return False
        return self._clock() - began <= STALE_SECONDS

    def _kept(self, origin: Origin, now: float) -> Connection | None:
        while connection := self._idle.take(origin):
            if connection.is_open and now - connection.idle_since <= self._limits.idle_seconds:
                return connection
            connection.close()
        return None

    def _keep(self, connection: Connection, origin: Origin) -> None:
        if connection.is_open:
            connection.idle_since = self._heard = now = self._clock()
            for surplus in self._idle.put(origin, connection, now):
                surplus.close()

    async def _dial(self, origin: Origin, deadline: float) -> Connection:
        began = self._clock()
        try:
            async with asyncio.timeout_at(deadline):
                return await self._dialer.dial(*origin)
        except TimeoutError:
            raise self._dialer.too_late(began, self._heard) from None
