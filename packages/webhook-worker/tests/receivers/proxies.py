"""An egress proxy on loopback, true or scripted, and a sender that goes through it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address

from receivers.scripted import listening
from webhook_worker.egress import Address
from webhook_worker.proxy import Proxy

OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"
CREDENTIALS = b"Basic dXNlcjpodW50ZXIy"

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Egress:
    """A proxy that listens."""

    port: int = 0
    asked: list[bytes] = field(default_factory=list)
    """The head of each CONNECT."""
    arrivals: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    """One to acquire for each CONNECT."""
    closed: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    """One for each connection that has ended."""

    @property
    def address(self) -> Proxy:
        return Proxy("127.0.0.1", self.port, ip_address("127.0.0.1"), CREDENTIALS)

    @property
    def hosts(self) -> list[str]:
        return [head.split(b" ")[1].decode().rpartition(":")[0] for head in self.asked]


@asynccontextmanager
async def egress(
    answer: Answer | bytes = OPENED, *, silent_about: str = ""
) -> AsyncIterator[Egress]:
    """A proxy that answers so, and then connects to loopback, whatever the host is called."""
    state = Egress()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            state.asked.append(head)
            state.arrivals.release()
            if state.hosts[-1] == silent_about:
                await reader.read()
            elif not isinstance(answer, bytes):
                await answer(reader, writer)
                await reader.read()
            else:
                writer.write(answer)
                if answer == OPENED:
                    await _relay(int(head.split(b" ")[1].rpartition(b":")[2]), reader, writer)
                else:
                    await reader.read()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            state.closed.release()
            writer.transport.abort()

    async with listening(serve) as state.port:
        yield state


async def _relay(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    there, back = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(reader, back))
            both.create_task(_copy(there, writer))
    except* OSError:
        pass
    finally:
        back.transport.abort()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while piece := await source.read(65_536):
        target.write(piece)
        await target.drain()
    target.transport.abort()


async def only_addresses(host: str, port: int) -> Sequence[Address]:
    """Resolves no name: with a proxy, those of endpoints are none of our business."""
    return [ip_address(host)]
