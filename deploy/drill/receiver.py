"""Customers in a process of its own: a few of their answers take long, and all is noted.

It judges no signature: the tests and the demo do, and here it would cost more than the delivery.
"""

import asyncio
import random
import re
import sys
import time
from pathlib import Path
from typing import BinaryIO, cast

from deploy.drill.notes import Note

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
BACKLOG = 4_096
LONG_SHARE = 0.01
LONG_SECONDS = 8.0
"""One in a hundred takes as long as a bad endpoint does."""
TYPICAL_SECONDS = 0.05

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_NUMBER = re.compile(rb'"number": ?(\d+)')


class Ledger:
    """Notes arrivals and answers."""

    def __init__(self, file: BinaryIO, long_seconds: float = LONG_SECONDS) -> None:
        self._file = file
        self._long_seconds = long_seconds
        self._chance = random.Random(0)

    def arrived(self, number: int) -> float:
        """Note it; return after how many seconds it is answered."""
        self._file.write(Note(False, number, time.time_ns()).to_bytes())
        return self._long_seconds if self._chance.random() < LONG_SHARE else TYPICAL_SECONDS

    def answered(self, number: int) -> None:
        """Note it."""
        self._file.write(Note(True, number, time.time_ns()).to_bytes())


class _Serving(asyncio.Protocol):
    """One connection, on which a request comes when the one before is answered."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._received = b""
        self._loop = asyncio.get_running_loop()
        self._answering: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's own
        # Whoever asked is gone: that it was answered must not stand in the ledger.
        if self._answering:
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data
        head = received.find(b"\r\n\r\n")
        length = _LENGTH.search(received, 0, head + 2) if head >= 0 else None
        if length is None or len(received) < head + 4 + int(length[1]):
            return
        self._received = b""
        found = _NUMBER.search(received, head)
        if found is None:
            self._transport.close()
            return
        number = int(found[1])
        seconds = self._ledger.arrived(number)
        self._answering = self._loop.call_later(seconds, self._answer, number)

    def _answer(self, number: int) -> None:
        self._answering = None
        self._transport.write(ANSWER)
        self._ledger.answered(number)


async def _serve(ledger: Ledger) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: _Serving(ledger), "127.0.0.1", 0, backlog=BACKLOG
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with Path(sys.argv[1]).open("ab", buffering=0) as opened:
        asyncio.run(_serve(Ledger(cast(BinaryIO, opened), float(sys.argv[2]))))
