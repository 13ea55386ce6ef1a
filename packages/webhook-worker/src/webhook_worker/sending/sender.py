"""Makes an attempt: one HTTP request under one deadline, and what came back as a value."""

import logging
import ssl
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from app_worker.loop_clock import loop_clock
from app_worker.send_gate import GivenUpError
from webhook_worker.attempt import Answered, Attempt, Failed, FailureKind, parse_retry_after
from webhook_worker.egress import EgressPolicy
from webhook_worker.proxy import Proxy
from webhook_worker.request import Check, Request
from webhook_worker.sending.answer import Answer
from webhook_worker.sending.dialer import Dialer
from webhook_worker.sending.direct import Resolve
from webhook_worker.sending.errors import (
    ConnectError,
    EgressBlockedError,
    LocalProtocolError,
    NameNotResolvedError,
    NetworkError,
    OwnLimitError,
    PoolTimeoutError,
    ProxyError,
    ResolverUnavailableError,
    TimedOutError,
    TlsError,
    TransportError,
)
from webhook_worker.sending.pool import ConnectionLimits, Pool

if TYPE_CHECKING:
    import httpx

MOST_KEPT_BYTES = 1024
"""How much of an answer's body an ``Answered`` holds."""

HIGHEST_STATUS = 599
"""RFC 9110, 15: there is no class beyond 5xx."""

_RETRY_AFTER = b"retry-after"

_log = logging.getLogger(__name__)

# The first class that fits decides. True: the fault is ours, not the receiver's.
_KINDS: tuple[tuple[type[TransportError], FailureKind, bool], ...] = (
    (EgressBlockedError, "blocked", False),
    (NameNotResolvedError, "dns", False),
    (ResolverUnavailableError, "dns", True),
    (TlsError, "tls", False),
    (ProxyError, "proxy", True),
    (OwnLimitError, "internal", True),
    (PoolTimeoutError, "internal", True),
    (LocalProtocolError, "internal", True),
    (TimedOutError, "timeout", False),
    (ConnectError, "connect", False),
    (NetworkError, "reset", False),
    (TransportError, "protocol", False),
)


class _Exchanges(Protocol):
    async def open(self) -> None: ...

    async def aclose(self) -> None: ...

    async def exchange(self, request: Request, deadline: float, check: Check | None) -> Answer: ...


class Sender:
    """Sends requests; an async context manager that closes its connections at the end.

    ``attempt_timeout``, in seconds, covers everything: a free connection, the name's resolution,
    connect, the ``proxy`` if there is one, TLS, the request, the answer's head and its body up to a
    limit. Redirects are not followed, cookies are not kept, and proxies of the environment are not
    used.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        limits: ConnectionLimits,
        attempt_timeout: float,
        *,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
        proxy: Proxy | None = None,
        transport: "httpx.AsyncBaseTransport | None" = None,
    ) -> None:
        """``transport``, if given, replaces the connections, the addresses' check and the proxy."""
        self._attempt_timeout = attempt_timeout
        # A third each for a free connection, for a lookup to begin and for an address that does
        # not answer: of one such trouble alone, time is left for the request.
        share = attempt_timeout / 3
        self._exchanges: _Exchanges
        if transport is None:
            dialer = Dialer(policy, tls, patience=share, resolve=resolve, proxy=proxy)
            self._exchanges = Pool(dialer, limits, patience=share)
        else:
            # It loads httpx, which nobody needs without a transport of it.
            from webhook_worker.sending.transport import HttpxExchange

            self._exchanges = HttpxExchange(transport, policy, patience=share)

    async def __aenter__(self) -> Self:
        self._clock = loop_clock()
        await self._exchanges.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._exchanges.aclose()

    async def attempt(self, request: Request, check: Check | None = None) -> Attempt:
        """Send ``request`` and return what came back.

        Raises nothing but a cancellation, and a GivenUpError of ``check``: then nothing was sent.
        """
        try:
            deadline = self._clock() + self._attempt_timeout
            return self._came_back(await self._exchanges.exchange(request, deadline, check))
        except TransportError as error:
            return self._failed(error, "no answer")
        except GivenUpError:
            raise
        except Exception as error:
            # An exception would cancel the event's other deliveries, which have done nothing wrong.
            _log.exception("an attempt failed in an unforeseen way")
            return Failed("internal", type(error).__name__, ours=True)

    def _came_back(self, answer: Answer) -> Attempt:
        answered = _answered(answer)
        if answer.cut_short is not None and answered.is_success:
            missing = f"status {answer.status}, but not all of its body,"
            return self._failed(answer.cut_short, missing)
        if answer.status > HIGHEST_STATUS:
            return Failed("protocol", f"status {answer.status} is none that HTTP has")
        return answered

    def _failed(self, error: TransportError, missing: str) -> Failed:
        kind, ours = next((kind, ours) for cls, kind, ours in _KINDS if isinstance(error, cls))
        if kind == "timeout":
            return Failed(kind, f"{missing} within {self._attempt_timeout:g} s")
        return Failed(kind, str(error) or type(error).__name__, ours)


def _answered(answer: Answer) -> Answered:
    answered = Answered(answer.status, None, answer.body[:MOST_KEPT_BYTES])
    if answered.is_success:
        return answered  # Nobody waits after a success, whatever its headers say.
    for name, value in answer.headers:
        if len(name) == len(_RETRY_AFTER) and name.lower() == _RETRY_AFTER:
            retry_after = parse_retry_after(value.decode("latin-1"), time.time())
            return answered._replace(retry_after=retry_after)
    return answered
