"""Where the CPU of an attempt goes, by the part of the way."""

import asyncio
import cProfile
import pstats
from collections import Counter

from benchmarks.delivery.clients import ours
from benchmarks.delivery.measured import Shape, send
from benchmarks.delivery.sink import Sink

PARTS = (
    ("the operating system: send, receive, wait", ("_socket.socket", "select.epoll")),
    ("asyncio: loop, transports, futures", ("asyncio", "selectors.py", "_asyncio", "contextvars")),
    ("signature", ("signing.py", "_hashlib", "hmac.py", "base64.py", "binascii")),
    ("parser and reader of answers", ("answer.py",)),
    ("connection, pool, deadlines", ("connection.py", "pool.py", "idle.py", "deadlines.py")),
    ("request", ("request.py",)),
    ("attempt", ("sender.py", "attempt.py")),
    ("this benchmark", ("benchmarks",)),
)


async def profile(sink: Sink, shape: Shape, requests: int) -> list[tuple[str, float]]:
    """Each part's share of the time in it, functions of C included, by cProfile."""
    async with ours(sink, shape.hosts) as post:
        await send(post, shape, 4 * shape.in_flight)
        profiler = cProfile.Profile()
        profiler.enable()
        await send(post, shape, requests)
        profiler.disable()
    spent: Counter[str] = Counter()
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    for (file, _, name), (_, _, own, _, _) in stats.items():
        spent[_part(f"{file} {name}")] += own
    total = sum(spent.values())
    return [(part, own / total) for part, own in spent.most_common()]


def _part(where: str) -> str:
    for part, marks in PARTS:
        if any(mark in where for mark in marks):
            return part
    return "what Python does in between (len, isinstance, join, ...)"


def show(sink: Sink, requests: int) -> None:
    """Print the shares."""
    print("| part | share |\n|---|---|")
    for part, share in asyncio.run(profile(sink, Shape(50, 100), requests)):
        print(f"| {part} | {share:.0%} |")
