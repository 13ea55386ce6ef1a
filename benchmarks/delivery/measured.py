"""One measurement: a client in this process, so many POSTs, what they cost."""

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.delivery.clients import CLIENTS, Post
from benchmarks.delivery.sink import Sink
from benchmarks.processes import resident_mb


@dataclass(frozen=True, slots=True)
class Shape:
    """How a client is used."""

    hosts: int
    in_flight: int
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.hosts} x {self.in_flight}{' TLS' if self.tls else ''}"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run found."""

    cpu_us: float
    """Of the client's process for one POST, as the operating system counts it."""
    per_second: float
    resident_mb: float


def run(client: str, shape: Shape, sink: Sink, requests: int) -> Figures:
    """Measure in a process of its own."""
    authority = str(sink.authority) if sink.authority else ""
    words = [client, str(shape.hosts), str(shape.in_flight), str(requests), str(sink.port)]
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", __name__, *words, authority],
        capture_output=True,
        text=True,
        check=True,
    )
    return Figures(**json.loads(done.stdout))


async def _measure(client: str, shape: Shape, sink: Sink, requests: int) -> Figures:
    async with CLIENTS[client](sink, shape.hosts) as post:
        # Every connection that will be needed is there before anything is counted.
        await send(post, shape, max(2 * shape.hosts, 4 * shape.in_flight))
        cpu, began = _cpu_seconds(), time.monotonic()
        await send(post, shape, requests)
        cpu, took = _cpu_seconds() - cpu, time.monotonic() - began
        return Figures(cpu / requests * 1e6, requests / took, resident_mb([os.getpid()]))


async def send(post: Post, shape: Shape, requests: int) -> None:
    """POST to the hosts in turn, so many in flight."""
    numbers = iter(range(requests))

    async def work() -> None:
        for number in numbers:
            status = await post(number % shape.hosts)
            if status != 200:  # noqa: PLR2004 - what the sink says
                raise SystemExit(f"a POST came back with {status}")

    async with asyncio.TaskGroup() as workers:
        for _ in range(shape.in_flight):
            workers.create_task(work())


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(client: str, hosts: str, in_flight: str, requests: str, port: str, ca: str) -> None:
    """Print the figures."""
    shape = Shape(int(hosts), int(in_flight), bool(ca))
    sink = Sink(int(port), Path(ca) if ca else None)
    figures = asyncio.run(_measure(client, shape, sink, int(requests)))
    print(json.dumps(asdict(figures)))


if __name__ == "__main__":
    main(*sys.argv[1:])
