"""Fifty customers in a process of its own: each answers after its time, or never."""

import asyncio
import json
import random
import re
import sys
import time
from pathlib import Path
from typing import cast

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
BACKLOG = 4096
TYPICAL_SECONDS = 0.05
LONG_SECONDS = 2.0
LONG_SHARE = 0.01
"""A hundredth of the answers takes long, as customers' endpoints do."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SENT = re.compile(rb'"sent": ?([0-9.]+)')


class Customers:
    """What arrived, and when: seconds from the event to its first arrival, by endpoint."""

    def __init__(self, hanging: int, ledger: Path) -> None:
        self._hanging = hanging
        self._ledger = ledger
        self._chance = random.Random(0)
        self._arrived: dict[tuple[int, bytes], tuple[float, float]] = {}

    def arrived(self, endpoint: int, event: bytes, sent: float) -> float | None:
        """Note an event; return after how many seconds it is answered, None for never."""
        now = time.time()
        self._arrived.setdefault((endpoint, event), (now, now - sent))
        if endpoint < self._hanging:
            return None
        return LONG_SECONDS if self._chance.random() < LONG_SHARE else TYPICAL_SECONDS

    async def keep(self) -> None:
        """Write the ledger, once a second."""
        while True:
            await asyncio.sleep(1)
            rows = [(key[0], *value) for key, value in list(self._arrived.items())]
            new = self._ledger.with_suffix(".new")
            new.write_text(json.dumps(rows))
            new.replace(self._ledger)


class _Serving(asyncio.Protocol):
    def __init__(self, customers: Customers) -> None:
        self._customers = customers
        self._received = b""
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
        endpoint = int(received.split(b" ", 2)[1].strip(b"/"))
        sent = _SENT.search(received, head)
        event = received[received.rindex(b"{") :]
        seconds = self._customers.arrived(endpoint, event, float(sent[1]) if sent else 0.0)
        if seconds is not None:
            self._loop.call_later(seconds, self._transport.write, ANSWER)


async def _serve(hanging: int, ledger: Path) -> None:
    customers = Customers(hanging, ledger)
    server = await asyncio.get_running_loop().create_server(
        lambda: _Serving(customers),
        "0.0.0.0",  # noqa: S104 - the hosts are addresses of loopback
        0,
        backlog=BACKLOG,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await customers.keep()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2])))
