"""Twenty customers in a process of its own, and the ledger: a note when each request came."""

import asyncio
import re
import sys
import time
from typing import cast

from benchmarks.handover.shape import line_of
from benchmarks.rebalance.notes import Kind, Note, Notebook

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
BACKLOG = 4096
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class _Serving(asyncio.Protocol):
    def __init__(self, notebook: Notebook) -> None:
        self._received = b""
        self._notebook = notebook
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data
        head = received.find(b"\r\n\r\n")
        length = _LENGTH.search(received, 0, head) if head >= 0 else None
        if length is None or len(received) < head + 4 + int(length[1]):
            return
        self._received = b""
        now = time.monotonic_ns()
        line = line_of(received[head:])
        if line is None:
            self._transport.close()
            return
        note = Note(Kind.BEGAN, 0, line.partition, line.number, line.produced_ns, now)
        self._notebook.note(note)
        self._loop.call_later(line.work_us / 1e6, self._transport.write, ANSWER)


async def _serve(notes: str) -> None:
    notebook = Notebook(notes)
    server = await asyncio.get_running_loop().create_server(
        lambda: _Serving(notebook),
        "0.0.0.0",  # noqa: S104 - the hosts are addresses of loopback
        0,
        backlog=BACKLOG,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
