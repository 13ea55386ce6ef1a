"""A receiver that does as little as it can: a process of its own that answers 200 to everything."""

import asyncio
import mmap
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: sink\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"
)
BACKLOG = 4096
COUNT_BYTES = 8
_LENGTH = b"content-length: "


@dataclass(frozen=True, slots=True)
class Sink:
    """Where it listens."""

    port: int
    authority: Path | None
    """Of its certificate; None for plain HTTP."""
    count: Path | None = None
    """Where it writes how many POSTs it has answered."""

    def url(self, host: int) -> str:
        """The URL of one of its many hosts."""
        scheme = "http" if self.authority is None else "https"
        return f"{scheme}://{address(host)}:{self.port}/hook"

    def counted(self) -> int:
        """How many POSTs it has answered."""
        return int.from_bytes(self.count.read_bytes(), sys.byteorder) if self.count else 0


def address(host: int) -> str:
    """The address of a host, counted from 0."""
    return f"127.0.{host // 250}.{host % 250 + 1}"


@contextmanager
def receiving(directory: Path, certified: int = 0) -> Iterator[Sink]:
    """A sink in a process of its own; with TLS for so many hosts, if any."""
    authority = directory / "authority.pem" if certified else None
    count = directory / "count"
    count.write_bytes(bytes(COUNT_BYTES))
    words = [sys.executable, "-m", __name__, str(count), str(certified), str(authority or "")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            yield Sink(int(process.stdout.readline()), authority, count)
        finally:
            process.kill()


class _Serving(asyncio.Protocol):
    def __init__(self, count: memoryview) -> None:
        self._received = b""
        self._count = count

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        head = received.find(b"\r\n\r\n")
        if head >= 0:
            begin = received.lower().index(_LENGTH, 0, head) + len(_LENGTH)
            length = int(received[begin : received.index(b"\r\n", begin)])
            if len(received) >= head + 4 + length:
                self._received = b""
                self._count[0] += 1
                self._transport.write(ANSWER)
                return
        self._received = received


def _context(hosts: int, authority: Path) -> ssl.SSLContext:
    import trustme  # what needs no more than an address must not pay for it

    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(authority))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(*map(address, range(hosts))).configure_cert(context)
    return context


async def _serve(count: Path, hosts: int, authority: Path) -> None:
    loop = asyncio.get_running_loop()
    tls = _context(hosts, authority) if hosts else None
    everywhere = "0.0.0.0"  # noqa: S104 - the hosts are addresses of loopback
    with count.open("r+b") as file, mmap.mmap(file.fileno(), COUNT_BYTES) as shared:
        counter = memoryview(shared).cast("Q")
        server = await loop.create_server(
            lambda: _Serving(counter), everywhere, 0, backlog=BACKLOG, ssl=tls
        )
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
