"""The direct way to a host: its name is resolved, each address is checked, then dialled."""

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address

from webhook_worker.egress import Address, EgressPolicy
from webhook_worker.sending.errors import (
    ConnectError,
    ConnectTimeoutError,
    EgressBlockedError,
    NameNotResolvedError,
    OwnLimitError,
    ResolverUnavailableError,
    TransportError,
)
from webhook_worker.sending.lookups import ResolverBusyError, SlowNameError
from webhook_worker.sending.resolver import Resolver

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
"""From a host, a name or an address, and a port to at least one address, the best first."""

MOST_REASONS = 4

# Our process or machine has run out of something; no receiver can be blamed.
_OWN_FAULTS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}


class Direct:
    """Connects to hosts at those of their addresses that the policy allows.

    It is the dialled address itself that is checked, at every connection: a name that resolves
    differently the next time gains nothing.

    An address that does not answer within ``patience`` seconds is left for the next one; the last
    one has all the time that the caller gives.
    """

    def __init__(self, policy: EgressPolicy, resolve: Resolve, *, patience: float) -> None:
        self._policy = policy
        self._resolve = resolve
        self._patience = patience

    async def open(self, host: str, port: int) -> socket.socket:
        """Connect. Raises ConnectError, mostly one of those in errors."""
        addresses = self._allowed(await self._resolve(host, port))
        for address in addresses[:-1]:
            try:
                async with asyncio.timeout(self._patience):
                    return await _connect_to(address, port)
            except (TimeoutError, ConnectError):
                continue
        return await _connect_to(addresses[-1], port)

    def too_late(self, began: float, heard: float) -> TransportError:  # noqa: ARG002
        """What it means that from ``began`` to the deadline no connection came about."""
        return ConnectTimeoutError("no connection came about in time")

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


def _connect_error(error: OSError) -> ConnectError:
    text = os.strerror(error.errno) if error.errno else type(error).__name__
    return OwnLimitError(text) if error.errno in _OWN_FAULTS else ConnectError(text)
