"""Any transport of httpx as what sends, for whoever brings one of their own.

The only module that needs httpx: it is loaded where a transport is given.
"""

import asyncio

import httpx

from webhook_worker.egress import EgressPolicy
from webhook_worker.request import METHOD, Check, Request
from webhook_worker.sending.answer import MOST_BODY_BYTES, Answer
from webhook_worker.sending.errors import (
    ConnectError,
    ConnectTimeoutError,
    EgressBlockedError,
    LocalProtocolError,
    NetworkError,
    PoolTimeoutError,
    ProxyError,
    ReadTimeoutError,
    TimedOutError,
    TransportError,
)

# The first class that fits decides.
_OURS: tuple[tuple[type[httpx.TransportError], type[TransportError]], ...] = (
    (httpx.ProxyError, ProxyError),
    (httpx.PoolTimeout, PoolTimeoutError),
    (httpx.LocalProtocolError, LocalProtocolError),
    (httpx.ConnectTimeout, ConnectTimeoutError),
    (httpx.TimeoutException, TimedOutError),
    (httpx.ConnectError, ConnectError),
    (httpx.NetworkError, NetworkError),
    (httpx.TransportError, TransportError),
)


class HttpxExchange:
    """Sends requests through a transport of httpx, and reads what comes back within bounds.

    The transport decides on everything else: connections, the addresses that are dialled, TLS.
    ``patience``, in seconds, is httpx's timeout ``pool``.
    """

    def __init__(
        self, transport: httpx.AsyncBaseTransport, policy: EgressPolicy, *, patience: float
    ) -> None:
        self._transport = transport
        self._policy = policy
        self._extensions = {"timeout": {"pool": patience}}

    async def exchange(
        self, request: Request, deadline: float, check: Check | None = None
    ) -> Answer:
        """See Pool. What the transport does before its first byte comes after ``check``."""
        blocked = self._policy.check_url(request.url)
        if blocked is not None:
            raise EgressBlockedError(str(blocked))
        if check is not None:
            check()
        answer: Answer | None = None
        body = bytearray()
        cut_short: TransportError
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._transport.handle_async_request(self._of_httpx(request))
                answer = Answer(response.status_code, list(response.headers.raw), b"")
                await _read_start(response, body)
        except TimeoutError:
            cut_short = ReadTimeoutError("the answer did not come in time")
        except TransportError as error:
            cut_short = error
        except httpx.TransportError as error:
            cut_short = _ours(error)
        else:
            answer.body = bytes(body)
            return answer
        if answer is None:
            try:
                raise cut_short
            finally:
                del cut_short  # it holds this frame, and with it the request
        answer.body, answer.cut_short = bytes(body), cut_short
        return answer

    async def open(self) -> None:
        """Enter the transport."""
        await self._transport.__aenter__()

    async def aclose(self) -> None:
        """Leave the transport."""
        await self._transport.__aexit__()

    def _of_httpx(self, request: Request) -> httpx.Request:
        return httpx.Request(
            METHOD,
            str(request.url),
            # With a Host of its own httpx does not look for one, so it never decodes an xn--
            # name, which fails for many that the DNS has.
            headers=[(b"host", request.url.authority.encode()), *request.headers],
            content=request.body,
            extensions=self._extensions,
        )


def _ours(error: httpx.TransportError) -> TransportError:
    kind = next(ours for theirs, ours in _OURS if isinstance(error, theirs))
    return kind(str(error) or type(error).__name__)


async def _read_start(response: httpx.Response, body: bytearray) -> None:
    """Fill ``body``, also as far as it came before an error."""
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("the transport's answers must have an AsyncByteStream")
    try:
        async for chunk in stream:
            body += chunk
            if len(body) >= MOST_BODY_BYTES:
                break
    finally:
        await stream.aclose()
