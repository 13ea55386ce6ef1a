"""The whole way: a worker's process, from the records of a topic to the committed offsets."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import our_worker
from benchmarks.controller.ground import brokers
from benchmarks.delivery import engine
from benchmarks.delivery.ground import committed, fill
from benchmarks.delivery.measured import Figures, Shape
from benchmarks.delivery.sink import Sink, address, receiving
from benchmarks.processes import cpu_seconds, resident_mb

WARM_SHARE = 0.2
"""Of the events, that are not measured: imports, the first join, the first connections."""
TIMED_SHARE = 0.95
"""Until then the speed is measured: the last ones may wait, parked."""
LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 300.0
END_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Run:
    """One worker is to deliver what one topic holds."""

    directory: Path
    servers: str
    topic: str
    group: str
    shape: Shape
    sink: Sink


Start = Callable[[Run], tuple[Sequence[str], dict[str, str]]]
"""The words and the environment of a process."""


def ours(run: Run) -> tuple[Sequence[str], dict[str, str]]:
    """The command `webhook-worker run`: signed, checked, isolated and counted."""
    urls = {address(host): run.sink.url(host) for host in range(run.shape.hosts)}
    environ = our_worker.environment(
        run.directory, run.servers, run.topic, run.group, run.shape.in_flight, urls
    )
    if run.sink.authority:
        environ["WEBHOOK_TLS_CAFILE"] = str(run.sink.authority)
    return [str(our_worker.COMMAND), "run"], environ


def peer(kind: str) -> Start:
    """One of those that a user would write in Python."""

    def start(run: Run) -> tuple[Sequence[str], dict[str, str]]:
        words = [sys.executable, "-m", "benchmarks.delivery.peers", kind, run.servers, run.topic]
        authority = str(run.sink.authority or "")
        rest = [run.group, str(run.sink.port), str(run.shape.in_flight), authority]
        return [*words, *rest], dict(os.environ)

    return start


def of_engine(program: Path) -> Start:
    """The engine in Go."""

    def start(run: Run) -> tuple[Sequence[str], dict[str, str]]:
        config = engine.configured(
            run.directory,
            run.servers,
            run.topic,
            run.group,
            run.sink.port,
            run.shape.in_flight,
        )
        return [str(program), "-c", str(config)], dict(os.environ)

    return start


class Ground:
    """Brokers, and topics that are filled when they are first wanted."""

    def __init__(self, directory: Path, servers: str) -> None:
        self._directory = directory
        self._servers = servers
        self._topics: set[str] = set()
        self._runs = 0

    def measure(self, start: Start, shape: Shape, sink: Sink, count: int) -> Figures:
        """Let one worker deliver so many events."""
        topic = f"events-{shape.hosts}-{count}"
        if topic not in self._topics:
            asyncio.run(fill(self._servers, topic, shape.hosts, count))
            self._topics.add(topic)
        self._runs += 1
        group = f"group-{self._runs}"
        run = Run(self._directory, self._servers, topic, group, shape, sink)
        words, environ = start(run)
        with _process(words, environ) as process:
            return _measured(run, process, count)


def _measured(run: Run, process: subprocess.Popen[bytes], count: int) -> Figures:
    """CPU is counted until all is committed, also of what was parked and not delivered yet."""
    pid, before = process.pid, run.sink.counted()
    warm = _wait_for(run.sink, before + int(count * WARM_SHARE), process)
    cpu, began = cpu_seconds([pid]), time.monotonic()
    timed = _wait_for(run.sink, before + int(count * TIMED_SHARE), process) - warm
    took = time.monotonic() - began
    asyncio.run(committed(run.servers, run.topic, run.group, count))
    cpu = cpu_seconds([pid]) - cpu
    delivered = run.sink.counted()
    if delivered - before < count:
        print(f"{before + count - delivered} of {count} were parked", file=sys.stderr)
    return Figures(cpu / (delivered - warm) * 1e6, timed / took, resident_mb([pid]))


def _wait_for(sink: Sink, count: int, process: subprocess.Popen[bytes]) -> int:
    """Return how many have come, once that is ``count``."""
    until = time.monotonic() + PATIENCE_SECONDS
    while (now := sink.counted()) < count:
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"{count - now} are missing: the worker ended, or does nothing")
        time.sleep(LOOK_SECONDS)
    return now


@contextmanager
def _process(words: Sequence[str], environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(words, env=environ) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def ground() -> Iterator[Ground]:
    """Three brokers. Raises BrokersUnavailable."""
    with tempfile.TemporaryDirectory() as directory, brokers() as servers:
        yield Ground(Path(directory), servers)


@contextmanager
def workers(kinds: Sequence[str]) -> Iterator[dict[str, Start]]:
    """How to start those of these kinds that this machine can have; others are told of."""
    known: dict[str, Start] = {"ours": ours, "aiohttp": peer("aiohttp"), "httpx": peer("httpx")}
    with tempfile.TemporaryDirectory() as directory:
        if "engine" in kinds:
            program = engine.build(Path(directory))
            if program is None:
                print("left out: engine, for there is no Go here\n", file=sys.stderr)
            else:
                known["engine"] = of_engine(program)
        yield {kind: known[kind] for kind in kinds if kind in known}


@contextmanager
def sink_for(shape: Shape) -> Iterator[Sink]:
    """A receiver in a process of its own."""
    with (
        tempfile.TemporaryDirectory() as directory,
        receiving(Path(directory), shape.hosts if shape.tls else 0) as sink,
    ):
        yield sink
