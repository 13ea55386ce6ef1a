"""Opens connections to receivers, directly or through the egress proxy, and with TLS."""

import asyncio
import socket
import ssl
from typing import Protocol

from webhook_worker.egress import EgressPolicy
from webhook_worker.proxy import Proxy
from webhook_worker.sending.connection import Connection
from webhook_worker.sending.direct import Direct, Resolve, resolving_by
from webhook_worker.sending.errors import (
    EgressBlockedError,
    TlsError,
    TransportError,
)
from webhook_worker.sending.handshake import shake_hands
from webhook_worker.sending.resolver import Resolver
from webhook_worker.sending.tunnel import Tunnel
from webhook_worker.tls import tls_context

MOST_LOOKUPS = 32
"""Names that are looked up at a time, besides those that nobody answers for in time."""


class _Way(Protocol):
    async def open(self, host: str, port: int) -> socket.socket: ...

    def too_late(self, began: float, heard: float) -> TransportError: ...


class Dialer:
    """Dials hosts as far as the policy allows.

    Without ``tls`` the system's authorities are read at the first connection that needs them.

    Scheme, port and address are checked at every connection, and a connection that is kept needs
    no check. SNI and the certificate check use the host as named, whatever the way to it.

    ``patience``, in seconds, is the most that one address of several has to answer, that the proxy
    has to take a connection, and that a lookup waits to begin.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        tls: ssl.SSLContext | None,
        *,
        patience: float,
        resolve: Resolve | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self._policy = policy
        self._tls = tls
        resolve = resolve or resolving_by(Resolver(most=MOST_LOOKUPS, patience=patience))
        self._way: _Way
        if proxy is None:
            self._way = Direct(policy, resolve, patience=patience)
        else:
            self._way = Tunnel(proxy, policy, resolve, patience=patience)

    async def dial(self, scheme: str, host: str, port: int) -> Connection:
        """Open a connection. Raises ConnectError or ProxyError, mostly one of errors."""
        blocked = self._policy.check_service(scheme, port)
        if blocked is not None:
            raise EgressBlockedError(str(blocked))
        sock = await self._way.open(host, port)
        if scheme != "https":
            loop = asyncio.get_running_loop()
            return (await loop.create_connection(Connection, sock=sock))[1]
        try:
            return await shake_hands(sock, self._context(), host)
        except OSError as error:
            raise TlsError(_tls_text(error)) from error

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            # The system's authorities take 2 MB, and some milliseconds of every start.
            self._tls = tls_context()
        return self._tls

    def too_late(self, began: float, heard: float) -> TransportError:
        """What it means that from ``began`` to the deadline no connection came about.

        ``heard`` is when any answer came last. Both are on the loop's clock.
        """
        return self._way.too_late(began, heard)


def _tls_text(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"the handshake failed: {(error.reason or 'unknown').replace('_', ' ').lower()}"
    return "the connection was closed during the handshake"
