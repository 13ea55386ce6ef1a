"""Customers: several processes on one port, which answer after a while and count for each worker.

Each worker calls them by a host of its own, so that whom a connection comes from is known once.
"""

import asyncio
import mmap
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

from benchmarks.processes import ended
from benchmarks.rebalance.fleet import ROOT
from deploy.local.guard import Guard
from deploy.local.ports import free_ports

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
BACKLOG = 4096
ANSWER_SECONDS = 0.05
MOST_WORKERS = 1_000
TAKEN = 3
"""Counts behind those of the workers: of connections, of pieces that came, and of their bytes."""
COUNT_BYTES = 8
START_SECONDS = 30.0
_LENGTH = b"content-length: "
CONNECTIONS, PIECES, SIZE = range(MOST_WORKERS, MOST_WORKERS + TAKEN)


class ReceiverError(Exception):
    """The customers are not there; the message says why."""


class Taken(NamedTuple):
    """What the customers were sent so far, by all workers."""

    connections: int = 0
    pieces: int = 0
    """Of which one is what came between two looks at a connection; most requests are one."""
    size: int = 0
    """In bytes."""


@dataclass(frozen=True, slots=True)
class Customers:
    """Where they listen, and what they have answered."""

    port: int
    pids: tuple[int, ...]
    files: tuple[Path, ...]

    def counts(self) -> list[int]:
        """How many POSTs of each worker they have answered."""
        return self._sums()[:MOST_WORKERS]

    def taken(self) -> Taken:
        """What they were sent so far."""
        return Taken(*self._sums()[MOST_WORKERS:])

    def _sums(self) -> list[int]:
        each = [memoryview(file.read_bytes()).cast("Q") for file in self.files]
        return [sum(column) for column in zip(*each, strict=True)]


def host(worker: int) -> str:
    """By which the worker of this number calls them."""
    return f"127.1.{worker // 250}.{worker % 250 + 1}"


def _worker(called: str) -> int:
    *_, block, number = map(int, called.split("."))
    return block * 250 + number - 1


@contextmanager
def customers(guard: Guard, directory: Path, processes: int) -> Iterator[Customers]:
    """So many processes. Raises ReceiverError."""
    [port] = free_ports(1)
    files = tuple(directory / f"answered-{number}" for number in range(processes))
    log = directory / "customers.log"
    started = []
    for file in files:
        file.write_bytes(bytes((MOST_WORKERS + TAKEN) * COUNT_BYTES))
        words = [sys.executable, "-m", __name__, str(port), str(file)]
        with log.open("ab") as output:
            started.append(guard.spawn(words, output=output, cwd=ROOT))
    pids = tuple(process.pid for process in started)
    give_up = time.monotonic() + START_SECONDS
    while log.read_text().count("listening") < processes:
        if ended(pids) or time.monotonic() > give_up:
            raise ReceiverError(f"The customers did not start; they said:\n{log.read_text()}")
        time.sleep(0.05)
    try:
        yield Customers(port, pids, files)
    finally:
        for process in started:
            process.kill()
            process.wait()
            guard.release(process.pid)


# All connections read into this. By itself asyncio takes new memory of 256 KB for each read, and
# the first fleet alone would pay for that until the allocator has got used to it.
_RECEIVED = memoryview(bytearray(64 * 1024))


class _Serving(asyncio.BufferedProtocol):
    """One connection, on which a request comes when the one before is answered."""

    def __init__(self, counts: memoryview) -> None:
        self._counts = counts
        self._received = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._worker = _worker(transport.get_extra_info("sockname")[0])
        self._counts[CONNECTIONS] += 1

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return _RECEIVED

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(_RECEIVED[:nbytes])
        self._counts[PIECES] += 1
        self._counts[SIZE] += len(data)
        received = self._received + data if self._received else data
        head = received.find(b"\r\n\r\n")
        if head >= 0:
            begin = received.lower().index(_LENGTH, 0, head) + len(_LENGTH)
            length = int(received[begin : received.index(b"\r\n", begin)])
            if len(received) >= head + 4 + length:
                self._received = b""
                self._loop.call_later(ANSWER_SECONDS, self._answer)
                return
        self._received = received

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER)
            self._counts[self._worker] += 1


async def _serve(port: int, file: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as shared:
        counts = memoryview(shared).cast("Q")
        server = await asyncio.get_running_loop().create_server(
            lambda: _Serving(counts),
            "0.0.0.0",  # noqa: S104 - the hosts are addresses of loopback
            port,
            backlog=BACKLOG,
            reuse_port=True,
        )
        print("listening", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2])))
