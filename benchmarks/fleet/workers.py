"""The workers that are compared, and how one process of each is started."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.delivery import engine
from benchmarks.fleet.environments import PeerUnavailableError, python_with
from benchmarks.fleet.launcher import Program
from benchmarks.fleet.receiver import host
from benchmarks.rebalance.java import compiled
from deploy.drill.stage import CUSTOMERS
from deploy.local.errors import BrokersUnavailable

IN_FLIGHT = 100
PEERS = Path(__file__).parent / "peers"
SECRET = "whsec_" + base64.b64encode(b"the benchmark's own secret").decode()
FASTSTREAM = ("faststream[kafka]==0.7.8", "aiohttp>=3.14,<4")


@dataclass(frozen=True, slots=True)
class Work:
    """What one fleet is to deliver, and to whom."""

    directory: Path
    """The fleet's own."""
    servers: str
    topic: str
    group: str
    port: int
    """Of the customers."""

    def base(self, worker: int) -> str:
        """The URL by which this worker calls them, before the customer's number."""
        return f"http://{host(worker)}:{self.port}"


Start = Callable[[Work, int], Program]
"""From the work and the number of a process."""


def ours(_: Path) -> Start:
    """`webhook-worker run`: signed, checked, isolated, counted, each record committed."""

    def start(work: Work, worker: int) -> Program:
        endpoints = work.directory / f"endpoints-{worker}.json"
        entries = [
            {
                "id": f"endpoint-{number}",
                "customer_id": str(number),
                "url": f"{work.base(worker)}/{number}",
                "secrets": [SECRET],
            }
            for number in range(CUSTOMERS)
        ]
        endpoints.write_text(json.dumps({"endpoints": entries}))
        environ = {
            "KAFKA_GROUP_ID": work.group,
            "KAFKA_CLIENT_ID": f"worker-{worker}",
            "WEBHOOK_TOPIC": work.topic,
            "WEBHOOK_DEAD_LETTER_TOPIC": f"{work.topic}.dead-letter",
            "WEBHOOK_ENDPOINTS": str(endpoints),
            "WORKER_METRICS_PORT": "0",
            "WORKER_PROCESS_INDEX": str(worker),
            "WORKER_READY_DIR": str(work.directory),
            "WORKER_LOG_LEVEL": "warning",
            "WORKER_MAX_IN_FLIGHT": str(IN_FLIGHT),
        }
        ready = work.directory / f"ready.{worker}"
        return Program(["webhook-worker", "run"], environ, ready)

    return start


def careful(_: Path) -> Start:
    """aiokafka and aiohttp, a hundred in flight, in order committed once a second."""
    module = "benchmarks.isolation.careful"

    def start(work: Work, worker: int) -> Program:
        rest = [str(work.port), work.topic, host(worker), work.group]
        return Program(
            [sys.executable, "-m", module, *rest], {"KAFKA_BOOTSTRAP_SERVERS": work.servers}
        )

    return start


def stock(http: str) -> Callable[[Path], Start]:
    """aiokafka as anyone writes it, with its eager default."""

    def made(_: Path) -> Start:
        def start(work: Work, worker: int) -> Program:
            told = {
                "servers": work.servers,
                "topic": work.topic,
                "group": work.group,
                "client_id": f"worker-{worker}",
                "base": work.base(worker),
                "http": http,
                "assignor": "roundrobin",
                "most": str(IN_FLIGHT),
            }
            words = [f"{name}={value}" for name, value in told.items()]
            return Program([sys.executable, "-m", "benchmarks.fleet.peers.stock", *words], {})

        return start

    return made


def _by_arguments(command: list[str], work: Work, worker: int) -> Program:
    return Program([*command, work.servers, work.topic, work.group, work.base(worker)], {})


def faststream(directory: Path) -> Start:
    """FastStream and aiohttp, a subscriber with a hundred workers."""
    python = python_with(directory / "faststream", *FASTSTREAM)
    command = [python, str(PEERS / "faststream_app.py")]
    return lambda work, worker: _by_arguments(command, work, worker)


def java(directory: Path) -> Start:
    """Java's client and java.net.http."""
    try:
        command = compiled(directory / "java", PEERS / "Worker.java")
    except (BrokersUnavailable, subprocess.CalledProcessError) as error:
        raise PeerUnavailableError(f"not compiled: {error}") from error
    if command is None:
        raise PeerUnavailableError("there is no JDK here")
    words = [str(word) for word in command]
    return lambda work, worker: _by_arguments(words, work, worker)


def of_engine(directory: Path) -> Start:
    """The engine of Redpanda Connect, in Go."""
    place = directory / "engine"
    place.mkdir(exist_ok=True)
    try:
        program = place / "engine" if (place / "engine").exists() else engine.build(place)
    except subprocess.SubprocessError as error:
        raise PeerUnavailableError(f"not built: {error}") from error
    if program is None:
        raise PeerUnavailableError("there is no Go here")

    def start(work: Work, worker: int) -> Program:
        config = engine.configured(
            work.directory,
            work.servers,
            work.topic,
            work.group,
            work.port,
            IN_FLIGHT,
            host=host(worker),
        )
        return Program([str(program), "-c", str(config)], {})

    return start


WORKERS: Mapping[str, Callable[[Path], Start]] = {
    "ours": ours,
    "careful": careful,
    "stock-httpx": stock("httpx"),
    "stock-aiohttp": stock("aiohttp"),
    "faststream": faststream,
    "java": java,
    "engine": of_engine,
}
"""By name, each made in a directory for what has to be compiled or installed first.

Making one may raise PeerUnavailableError.
"""

SLOW = {"stock-httpx": 6}
"""Workers so slow that a part of the events tells enough."""
