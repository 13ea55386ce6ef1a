"""The way to a host through the egress proxy: a tunnel, asked for by CONNECT."""

import asyncio
import socket
from contextlib import suppress
from ipaddress import IPv6Address, ip_address

from webhook_worker.egress import EgressPolicy
from webhook_worker.proxy import Proxy
from webhook_worker.request import USER_AGENT
from webhook_worker.sending.answer import AnswerReader, Headers
from webhook_worker.sending.connection import MOST_READ_BYTES
from webhook_worker.sending.direct import Direct, Resolve
from webhook_worker.sending.errors import (
    ConnectError,
    ConnectTimeoutError,
    EgressBlockedError,
    OwnLimitError,
    ProxyError,
    TransportError,
)

_FORBIDDEN = 403
_WANTS_CREDENTIALS = 407
_RECEIVER_FAILED = (502, 503, 504)
_CHALLENGE = b"proxy-authenticate"


class Tunnel:
    """Opens tunnels to hosts, http and https alike.

    A proxy can also send an http request on by itself. But then its own refusals come where the
    receiver's answers come, and who is at fault would be for the receiver to say; the proxy's
    credentials would travel with customers' requests. The answer to CONNECT is the proxy's alone,
    and what follows is the receiver's alone.

    The proxy resolves the names and judges where they lead; an address in a URL is judged here,
    too. What the proxy does wrong is an ProxyError. Its own address has an allowance of its
    own. ``patience``, in seconds, is the most that it has to take a connection.
    """

    def __init__(
        self, proxy: Proxy, policy: EgressPolicy, resolve: Resolve, *, patience: float
    ) -> None:
        self._proxy = proxy
        self._policy = policy
        self._patience = patience
        # Half of it for each address but the last, so that a second one has its turn.
        self._direct = Direct(policy.for_proxy(), resolve, patience=patience / 2)
        self._heard = float("-inf")

    async def open(self, host: str, port: int) -> socket.socket:
        """Ask for a tunnel. Raises ConnectError, EgressBlockedError and ProxyError."""
        request = _connect_request(self._named(host, port), self._proxy.authorization)
        sock = await self._reach_proxy()
        try:
            await asyncio.get_running_loop().sock_sendall(sock, request)
            status, headers = await _read_answer(sock)
            self._heard = asyncio.get_running_loop().time()
            expect_tunnel(status, headers)
        except OSError as error:
            sock.close()
            said = "the proxy broke the connection instead of answering"
            raise ProxyError(said) from error
        except BaseException:
            sock.close()
            raise
        return sock

    def too_late(self, began: float, heard: float) -> TransportError:
        """See Dialer. A proxy that answers others is waiting for the receiver."""
        if max(self._heard, heard) < began:
            return ProxyError("the proxy has answered nothing in time")
        return ConnectTimeoutError("no connection came about in time")

    def _named(self, host: str, port: int) -> str:
        try:
            address = ip_address(host)
        except ValueError:
            return f"{host}:{port}"
        blocked = self._policy.check_address(address)
        if blocked is not None:
            raise EgressBlockedError(str(blocked))
        return f"[{host}]:{port}" if isinstance(address, IPv6Address) else f"{host}:{port}"

    async def _reach_proxy(self) -> socket.socket:
        try:
            async with asyncio.timeout(self._patience):
                return await self._direct.open(self._proxy.host, self._proxy.port)
        except OwnLimitError:
            raise
        except TimeoutError:
            raise ProxyError("the proxy does not take a connection in time") from None
        except ConnectError as error:
            raise ProxyError(f"the proxy cannot be connected to: {error}") from error


def expect_tunnel(status: int, headers: Headers) -> None:
    """Raise what an answer to CONNECT means, unless it is that there is a tunnel.

    That the proxy may not go there, or finds nobody there, is the receiver's matter: Squid and
    Envoy say it with 403 and 503, Smokescreen with 407, 502 and 504, where its 407, unlike one
    that asks for credentials, has no challenge. All else is the proxy's.
    """
    if 200 <= status <= 299:  # noqa: PLR2004 - the classes of HTTP
        return
    challenged = any(name.lower() == _CHALLENGE for name, _ in headers)
    if status == _FORBIDDEN or (status == _WANTS_CREDENTIALS and not challenged):
        raise EgressBlockedError(f"the proxy refuses to connect there: status {status}")
    if status in _RECEIVER_FAILED:
        raise ConnectError(f"the proxy could not connect: status {status}")
    if status == _WANTS_CREDENTIALS:
        raise ProxyError("the proxy does not accept our credentials: status 407")
    raise ProxyError(f"the proxy opens no tunnel: status {status}")


def _connect_request(authority: str, authorization: bytes | None) -> bytes:
    request = (
        f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: {USER_AGENT}\r\n"
    ).encode()
    if authorization is not None:
        request += b"proxy-authorization: %b\r\n" % authorization
    return request + b"\r\n"


async def _read_answer(sock: socket.socket) -> tuple[int, Headers]:
    """The head of the answer to CONNECT, and no byte more: what follows is the receiver's.

    Bounded as a receiver's is. Raises OSError and ProxyError.
    """
    reader = AnswerReader()
    try:
        while not reader.status:
            seen = await _peek(sock)
            if not seen:
                raise ConnectionResetError
            sock.recv(_feed_head(reader, seen))
        return reader.status, reader.headers
    finally:
        reader.release()


def _feed_head(reader: AnswerReader, seen: bytes) -> int:
    """Feed line by line until the head ends; return how much of ``seen`` belongs to it."""
    taken = 0
    while taken < len(seen) and not reader.status:
        end = seen.find(b"\n", taken) + 1 or len(seen)
        error = reader.feed(memoryview(seen)[taken:end])
        if error is not None:
            raise ProxyError(f"the proxy failed: {error}")
        taken = end
    return taken


async def _peek(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    while True:
        readable = asyncio.Event()
        loop.add_reader(sock, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(sock)
        with suppress(BlockingIOError):
            return sock.recv(MOST_READ_BYTES, socket.MSG_PEEK)
