"""Resident memory of a sender whose receivers mean harm, early and late."""

import asyncio
import gzip
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from ipaddress import ip_network

from benchmarks.processes import resident_mb
from webhook_worker.attempt import Answered
from webhook_worker.egress import EgressPolicy
from webhook_worker.endpoint import Endpoint
from webhook_worker.request import build
from webhook_worker.sending.pool import ConnectionLimits
from webhook_worker.sending.sender import Sender
from webhook_worker.signing import Secret
from webhook_worker.url import parse_url

KINDS = ("drip", "bomb", "large", "silent", "head", "informational")
EACH_IN_FLIGHT = 20
TIMEOUT_SECONDS = 2.0
EARLY_SECONDS = 10.0
BODY = b"x" * 1024
LARGE = 50_000_000
_BOMB = gzip.compress(bytes(10_000_000))
_HEAD = b"HTTP/1.1 200 OK\r\n"


async def _harm(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        match head.split(b" ", 2)[1]:
            case b"/drip":
                await _repeat(writer, _HEAD + b"\r\n", b"x", 0.1)
            case b"/bomb":
                length = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % LARGE
                await _repeat(writer, _HEAD + length, _BOMB, 0.1)
            case b"/large":
                begin = _HEAD + b"Content-Length: %d\r\n\r\n" % LARGE
                await _repeat(writer, begin, b"x" * 100_000, 0.001)
            case b"/head":
                await _repeat(writer, _HEAD, b"X: " + b"y" * 1000 + b"\r\n", 0.01)
            case b"/informational":
                await _repeat(writer, b"", b"HTTP/1.1 103 Hints\r\n\r\n", 0.01)
            case _:
                await reader.read()
    writer.transport.abort()


async def _repeat(writer: asyncio.StreamWriter, begin: bytes, again: bytes, wait: float) -> None:
    writer.write(begin)
    while True:
        writer.write(again)
        await writer.drain()
        await asyncio.sleep(wait)


async def _serve() -> None:
    server = await asyncio.start_server(_harm, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _suffer(port: int, seconds: float) -> None:
    policy = EgressPolicy(allow=(ip_network("127.0.0.0/8"),))
    secrets = (Secret(b"0123456789abcdefghijklmn"),)
    made: Counter[str] = Counter()
    ends = time.monotonic() + seconds

    async def send(sender: Sender, kind: str) -> None:
        url = parse_url(f"http://127.0.0.1:{port}/{kind}")
        endpoint = Endpoint(id=kind, customer_id="c", url=url, secrets=secrets)
        while time.monotonic() < ends:
            attempt = await sender.attempt(build(BODY, "evt_1", endpoint, time.time()))
            result = str(attempt.status) if isinstance(attempt, Answered) else attempt.kind
            made[f"{kind}: {result}"] += 1

    async with (
        Sender(policy, ConnectionLimits(most=1000, most_idle=1000), TIMEOUT_SECONDS) as sender,
        asyncio.TaskGroup() as senders,
    ):
        for kind in KINDS * EACH_IN_FLIGHT:
            senders.create_task(send(sender, kind))
        await asyncio.sleep(EARLY_SECONDS)
        early = resident_mb([os.getpid()])
        await asyncio.sleep(seconds - EARLY_SECONDS)
        late = resident_mb([os.getpid()])
    print(", ".join(f"{what} {count}" for what, count in sorted(made.items())))
    print(f"resident: {early:.1f} MB after {EARLY_SECONDS:.0f} s, {late:.1f} MB at the end")


def measure(seconds: float) -> None:
    """Print what the attempts came to, and memory after 10 s and after so many."""
    words = [sys.executable, "-m", __name__]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            asyncio.run(_suffer(int(process.stdout.readline()), seconds))
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(_serve())
