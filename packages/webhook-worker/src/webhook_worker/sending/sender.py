"""Makes an attempt: one HTTP request under one deadline, and what came back as a value."""

import asyncio
import logging
import ssl
import time
from dataclasses import replace
from types import TracebackType
from typing import Self

import httpx

from webhook_worker.attempt import Answered, Attempt, Failed, FailureKind, parse_retry_after
from webhook_worker.egress import EgressPolicy
from webhook_worker.request import Request
from webhook_worker.sending.dialer import (
    AddressBlockedError,
    Dialer,
    NameNotResolvedError,
    OwnLimitError,
    Resolve,
    ResolverUnavailableError,
    TlsError,
)
from webhook_worker.sending.transport import ConnectionLimits, PooledTransport, TooLongError

MOST_BODY_BYTES = 16 * 1024
"""How much of an answer's body is read; then the connection is closed. Raw: never decompressed."""
MOST_KEPT_BYTES = 1024
"""How much of it an ``Answered`` holds."""

HIGHEST_STATUS = 599
"""RFC 9110, 15: there is no class beyond 5xx."""

_log = logging.getLogger(__name__)

# The first class that fits decides. True: the fault is ours, not the receiver's.
_KINDS: tuple[tuple[type[httpx.TransportError], FailureKind, bool], ...] = (
    (AddressBlockedError, "blocked", False),
    (NameNotResolvedError, "dns", False),
    (ResolverUnavailableError, "dns", True),
    (TlsError, "tls", False),
    (OwnLimitError, "internal", True),
    (httpx.PoolTimeout, "internal", True),
    (httpx.LocalProtocolError, "internal", True),
    (httpx.TimeoutException, "timeout", False),
    (httpx.ConnectError, "connect", False),
    (httpx.NetworkError, "reset", False),
    (httpx.TransportError, "protocol", False),
)


class Sender:
    """Sends requests; an async context manager that closes its connections at the end.

    ``attempt_timeout``, in seconds, covers everything: a free connection, the name's resolution,
    connect, TLS, the request, the answer's head and its body up to a limit. Redirects are not
    followed, cookies are not kept, and proxies of the environment are not used.

    Certificates are checked against the system's authorities: those are what the operator of the
    machine maintains, and an internal authority or a withdrawn one is then known here as everywhere
    else, while a list inside a Python package is as old as the lock file.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        limits: ConnectionLimits,
        attempt_timeout: float,
        *,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """``transport``, if given, replaces the connections and with them the addresses' check."""
        self._policy = policy
        self._attempt_timeout = attempt_timeout
        # A third each for a free connection, for a lookup to begin and for an address that does
        # not answer: of one such trouble alone, time is left for the request.
        share = attempt_timeout / 3
        self._extensions = {"timeout": {"pool": share}}
        self._transport = transport or PooledTransport(
            Dialer(policy, tls or tls_context(), patience=share, resolve=resolve), limits
        )

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._transport.__aexit__(exc_type, exc, traceback)

    async def attempt(self, request: Request) -> Attempt:
        """Send ``request`` and return what came back. Raises nothing but a cancellation."""
        try:
            return await self._attempt(request)
        except Exception as error:
            # An exception would cancel the event's other deliveries, which have done nothing wrong.
            _log.exception("an attempt failed in an unforeseen way")
            return Failed("internal", type(error).__name__, ours=True)

    async def _attempt(self, request: Request) -> Attempt:
        blocked = self._policy.check_url(request.url)
        if blocked is not None:
            return Failed("blocked", str(blocked))
        answer: Answered | None = None
        body = bytearray()
        try:
            async with asyncio.timeout(self._attempt_timeout):
                response = await self._transport.handle_async_request(self._http(request))
                answer = _head(response)
                await _read_start(response, body)
        except (TimeoutError, httpx.TransportError) as error:
            if answer is None or answer.is_success:
                return self._failed(error, answer)
        if answer.status > HIGHEST_STATUS:
            return Failed("protocol", f"status {answer.status} is none that HTTP has")
        return replace(answer, body_start=bytes(body[:MOST_KEPT_BYTES]))

    def _failed(self, error: TimeoutError | httpx.TransportError, head: Answered | None) -> Failed:
        if isinstance(error, TimeoutError):
            missing = f"status {head.status}, but not all of its body," if head else "no answer"
            return Failed("timeout", f"{missing} within {self._attempt_timeout:g} s")
        kind, ours = next((kind, ours) for cls, kind, ours in _KINDS if isinstance(error, cls))
        return Failed(kind, str(error) or type(error).__name__, ours)

    def _http(self, request: Request) -> httpx.Request:
        return httpx.Request(
            request.method,
            str(request.url),
            # With a Host of its own httpx does not look for one, so it never decodes an xn-- name,
            # which fails for many that the DNS has.
            headers=[(b"host", request.url.authority.encode()), *request.headers],
            content=request.body,
            extensions=self._extensions,
        )


def tls_context() -> ssl.SSLContext:
    """TLS 1.2 or newer, HTTP/1.1, certificates and names checked by the system's authorities."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _head(response: httpx.Response) -> Answered:
    retry_after = parse_retry_after(response.headers.get("retry-after"), time.time())
    return Answered(response.status_code, retry_after)


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
    except TooLongError:
        return  # more framing than body: as good as read up to the limit
    finally:
        await stream.aclose()
