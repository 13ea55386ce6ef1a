"""HTTP/1.1 for httpx over httpcore's connections, kept alive in a pool without scans."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import httpcore
import httpx

from webhook_worker.sending.dialer import Dialer
from webhook_worker.sending.idle import IdleConnections, Origin
from webhook_worker.sending.stream import MOST_ANSWER_BYTES, AnswerTooLongError, Stream

STALE_SECONDS = 1.0
"""A kept connection that had been closed meanwhile says so within a round trip. One that breaks
later may have broken under our request, which the receiver has perhaps acted upon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """How many connections a process holds, and for how long."""

    most: int = 400
    """Connections in use at a time; further requests wait for one of them."""
    most_idle: int = 200
    idle_seconds: float = 30.0
    """Shorter than the 60 s and more that most receivers keep an idle connection."""


class StaleError(Exception):
    """A kept connection broke at once, without a byte of an answer: it had been closed before."""


class TooLongError(httpx.RemoteProtocolError):
    """The answer has more bytes than are read."""


class PooledTransport(httpx.AsyncBaseTransport):
    """Sends requests, each over an idle connection to its origin or over a new one.

    httpcore's own pool looks at every connection for every request, which makes a hundred
    connections a hundred times as dear; this one finds its connection in a dictionary. A request
    whose kept connection turns out to be stale is sent once more, over a new one.

    Of httpx's timeouts only ``pool``, the wait for a free connection, is used (httpx.PoolTimeout);
    the caller has a deadline over the whole attempt.
    """

    def __init__(self, dialer: Dialer, limits: ConnectionLimits) -> None:
        self._dialer = dialer
        self._limits = limits
        self._free = asyncio.Semaphore(limits.most)
        self._idle = IdleConnections[_Connection](limits.most_idle, limits.idle_seconds)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send and return the answer with its body unread. Raises httpx.TransportError."""
        await self._wait_until_free(request.extensions.get("timeout", {}).get("pool"))
        try:
            connection, answer = await self._exchange(request)
        except BaseException:
            self._free.release()
            raise
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(self, connection, answer),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close the idle connections."""
        for connection in self._idle.clear():
            await connection.http.aclose()

    async def give_back(self, connection: "_Connection") -> None:
        """Take back a connection whose answer is done with; keep it if it can serve again."""
        self._free.release()
        if connection.sent_too_much():
            await connection.http.aclose()
        elif connection.http.is_idle():
            for surplus in self._idle.put(connection.origin, connection, time.monotonic()):
                await surplus.http.aclose()

    async def _wait_until_free(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._free.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout(f"all {self._limits.most} connections are in use") from None

    async def _exchange(self, request: httpx.Request) -> tuple["_Connection", httpcore.Response]:
        origin = origin_of(request.url)
        kept = await self._kept(origin)
        if kept is not None:
            try:
                return kept, await kept.send(request)
            except StaleError:
                pass
        fresh = _Connection(origin, await self._dialer.dial(*origin), self._limits.idle_seconds)
        return fresh, await fresh.send(request)

    async def _kept(self, origin: Origin) -> "_Connection | None":
        while connection := self._idle.take(origin):
            if not connection.http.has_expired():
                connection.reused = True
                return connection
            await connection.http.aclose()
        return None


class _Connection:
    """One connection: its HTTP side and its bytes."""

    def __init__(self, origin: Origin, stream: Stream, idle_seconds: float) -> None:
        scheme, host, port = origin
        self.origin = origin
        self.stream = stream
        self.reused = False
        self.http = httpcore.AsyncHTTP11Connection(
            httpcore.Origin(scheme.encode(), host.encode(), port), stream, idle_seconds
        )

    def sent_too_much(self) -> bool:
        """Whether bytes followed the answer: they would be taken for the next request's."""
        unread, _ = self.http._h11_state.trailing_data  # noqa: SLF001 - httpcore does not look
        return bool(unread)

    async def send(self, request: httpx.Request) -> httpcore.Response:
        """Send a request and return the head of the answer. Raises StaleError or httpx errors."""
        scheme, host, port = self.origin
        raw = httpcore.Request(
            request.method,
            httpcore.URL(
                scheme=scheme.encode(), host=host.encode(), port=port, target=request.url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
        )
        before = self.stream.bytes_received
        self.stream.begin_answer()
        began = time.monotonic()
        try:
            with errors_of_httpx(self.stream):
                return await self.http.handle_async_request(raw)
        except httpx.NetworkError as error:
            at_once = time.monotonic() - began <= STALE_SECONDS
            if self.reused and at_once and self.stream.bytes_received == before:
                raise StaleError from error
            raise


class _Body(httpx.AsyncByteStream):
    """The body of an answer, as it comes from the wire. Closing it gives the connection back."""

    def __init__(
        self, transport: PooledTransport, connection: _Connection, answer: httpcore.Response
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._answer = answer
        self._chunks = cast(AsyncGenerator[bytes, None], aiter(answer.stream))  # type: ignore[arg-type]
        self._open = True

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with errors_of_httpx(self._connection.stream):
            return await anext(self._chunks)

    async def aclose(self) -> None:
        """Done with the answer; if its body was not read to the end, the connection is closed."""
        if self._open:
            self._open = False
            try:
                await self._chunks.aclose()
                await self._answer.aclose()
            finally:
                await self._transport.give_back(self._connection)


def origin_of(url: httpx.URL) -> Origin:
    """Where a request for this URL has to be sent."""
    port = url.port or (443 if url.scheme == "https" else 80)
    return url.scheme, url.raw_host.decode("ascii"), port


@contextmanager
def errors_of_httpx(stream: Stream) -> Iterator[None]:
    """Turn httpcore's errors on a connection into those of httpx."""
    try:
        yield
    except httpcore.LocalProtocolError as error:
        raise httpx.LocalProtocolError("our request breaks the rules of HTTP") from error
    except AnswerTooLongError as error:
        said = f"the answer's head has no end within {MOST_ANSWER_BYTES} bytes"
        raise TooLongError(said) from error
    except httpcore.RemoteProtocolError as error:
        if stream.end_was_read:
            raise httpx.ReadError("the connection was closed before the answer's end") from error
        raise httpx.RemoteProtocolError("the answer is not HTTP/1.1") from error
    except httpcore.NetworkError as error:
        raise httpx.ReadError("the connection was reset before the answer's end") from error
