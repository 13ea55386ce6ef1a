"""Opens connections to receivers: a name is resolved, each address is checked, then dialled."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address

import httpx

from webhook_worker.egress import Address, EgressPolicy
from webhook_worker.sending.connection import Connection
from webhook_worker.sending.handshake import shake_hands
from webhook_worker.sending.lookups import ResolverBusyError, SlowNameError
from webhook_worker.sending.resolver import Resolver

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
"""From a host, a name or an address, and a port to at least one address, the best first."""

MOST_LOOKUPS = 32
"""Names that are looked up at a time, besides those that nobody answers for in time."""
MOST_REASONS = 4

# Our process or machine has run out of something; no receiver can be blamed.
_OWN_FAULTS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}


class NameNotResolvedError(httpx.ConnectError):
    """The host's name has no address."""


class ResolverUnavailableError(httpx.ConnectError):
    """Our resolver gave no answer in time, so nothing is known about the name."""


class EgressBlockedError(httpx.ConnectError):
    """The egress policy forbids the scheme, the port or every address of the host."""


class TlsError(httpx.ConnectError):
    """No trusted TLS connection came about."""


class OwnLimitError(httpx.ConnectError):
    """This process or machine has no sockets, ports or memory left."""


class Dialer:
    """Dials hosts at those of their addresses that the policy allows.

    It is the dialled address itself that is checked, and scheme and port with it, at every
    connection: a name that resolves differently the next time gains nothing, and a connection that
    is kept needs no check. SNI and the certificate check use the host as named.

    An address that does not answer within ``patience`` seconds is left for the next one; the last
    one has all the time that the caller gives. A lookup waits no longer than that to begin, either.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        tls: ssl.SSLContext,
        *,
        patience: float,
        resolve: Resolve | None = None,
    ) -> None:
        self._policy = policy
        self._tls = tls
        self._patience = patience
        self._resolve = resolve or resolving_by(Resolver(most=MOST_LOOKUPS, patience=patience))

    async def dial(self, scheme: str, host: str, port: int) -> Connection:
        """Open a connection. Raises one of the errors above, or plain httpx.ConnectError."""
        blocked = self._policy.check_service(scheme, port)
        if blocked is not None:
            raise EgressBlockedError(str(blocked))
        sock = await self._connect(host, port)
        if scheme != "https":
            loop = asyncio.get_running_loop()
            return (await loop.create_connection(Connection, sock=sock))[1]
        try:
            return await shake_hands(sock, self._tls, host)
        except OSError as error:
            raise TlsError(_tls_text(error)) from error

    async def _connect(self, host: str, port: int) -> socket.socket:
        addresses = self._allowed(await self._resolve(host, port))
        for address in addresses[:-1]:
            try:
                async with asyncio.timeout(self._patience):
                    return await _connect_to(address, port)
            except (TimeoutError, httpx.ConnectError):
                continue
        return await _connect_to(addresses[-1], port)

    def _allowed(self, addresses: Sequence[Address]) -> Sequence[Address]:
        verdicts = [(address, self._policy.check_address(address)) for address in addresses]
        allowed = [address for address, blocked in verdicts if blocked is None]
        if not allowed:
            reasons = [str(blocked) for _, blocked in verdicts[:MOST_REASONS]]
            raise EgressBlockedError("; ".join(reasons))
        return allowed


def resolving_by(resolver: Resolver) -> Resolve:
    """Ask a resolver, and tell its errors in our words."""

    async def resolve(host: str, _: int) -> Sequence[Address]:
        try:
            return await resolver.look_up(host)
        except ResolverBusyError as error:
            raise ResolverUnavailableError(str(error)) from error
        except SlowNameError as error:
            raise NameNotResolvedError("nobody answers for the name in time") from error
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                said = "our resolver gave no answer for the name"
                raise ResolverUnavailableError(said) from error
            raise NameNotResolvedError("the name has no address") from error
        except UnicodeError as error:
            raise NameNotResolvedError("the name is no name of a host") from error

    return resolve


async def _connect_to(address: Address, port: int) -> socket.socket:
    try:
        sock = _new_socket(address)
    except OSError as error:
        raise _connect_error(error) from error
    try:
        await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
    except OSError as error:
        sock.close()
        raise _connect_error(error) from error
    except BaseException:
        sock.close()
        raise
    return sock


def _new_socket(address: Address) -> socket.socket:
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def _connect_error(error: OSError) -> httpx.ConnectError:
    text = os.strerror(error.errno) if error.errno else type(error).__name__
    return OwnLimitError(text) if error.errno in _OWN_FAULTS else httpx.ConnectError(text)


def _tls_text(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"the handshake failed: {(error.reason or 'unknown').replace('_', ' ').lower()}"
    return "the connection was closed during the handshake"
