"""A receiver on loopback whose every byte is scripted, and a sender that may send there."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network

from webhook_worker.attempt import Attempt
from webhook_worker.egress import EgressPolicy
from webhook_worker.endpoint import Endpoint
from webhook_worker.request import Request, build
from webhook_worker.sending.pool import ConnectionLimits
from webhook_worker.sending.sender import Sender
from webhook_worker.signing import Secret
from webhook_worker.url import parse_url

LOOPBACK = EgressPolicy(allow=(ip_network("127.0.0.0/8"),))
SECRET = Secret(b"0123456789abcdefghijklmn")
SHORT = 0.3
"""Seconds: the deadline of attempts that are to miss it."""
Script = Callable[["Exchange"], Awaitable[None]]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Receiver:
    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Exchange:
    """One request that has arrived whole."""

    head: bytes
    body: bytes
    number: int
    """Of the requests on this connection, counted from 1."""
    connection: int
    writer: asyncio.StreamWriter

    async def answer(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    def reset(self) -> None:
        transport = self.writer.transport
        sock = transport.get_extra_info("socket")
        sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER of no time: RST instead of FIN
        transport.abort()

    def close(self) -> None:
        self.writer.close()


@asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serves every connection as told; yields the port, and leaves no connection behind."""
    served: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served[writer] = asyncio.current_task()
        await serve(reader, writer)

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer, task in served.items():
            writer.transport.abort()
            if task:
                task.cancel()
        await asyncio.gather(*filter(None, served.values()), return_exceptions=True)
        await asyncio.sleep(0.01)  # handshakes that failed end in the background


@asynccontextmanager
async def receiver(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Answers each request as the script says."""
    state = Receiver()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        connection, number = state.connections, 0
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                number += 1
                state.requests.append(head + body)
                await script(Exchange(head, body, number, connection, writer))
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            writer.transport.abort()

    async with listening(serve, tls) as state.port:
        yield state


def plain(status: str, body: bytes = b"", headers: str = "") -> bytes:
    """An answer with a length."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def request_to(target: Receiver, path: str = "/hook?token=1") -> Request:
    return request_for(f"http://127.0.0.1:{target.port}{path}")


def request_for(url: str, body: bytes = b'{"data":1}') -> Request:
    endpoint = Endpoint(id="e", customer_id="c", url=parse_url(url), secrets=(SECRET,))
    return build(body, "evt_1", endpoint, 1_614_265_330)


def sender(attempt_timeout: float = 10.0, most: int = 100, idle_seconds: float = 30.0) -> Sender:
    limits = ConnectionLimits(most=most, most_idle=most, idle_seconds=idle_seconds)
    return Sender(LOOPBACK, limits, attempt_timeout)


async def attempt_at(script: Script, attempt_timeout: float = 10.0) -> Attempt:
    async with receiver(script) as target, sender(attempt_timeout) as ours:
        return await ours.attempt(request_to(target))


def answering(raw: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(raw)

    return script


def answering_then_closing(raw: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(raw)
        exchange.close()

    return script
