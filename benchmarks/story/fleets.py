"""The three fleets: as the story's was, as it was tuned, and ours; how a process of each starts.

The story tells of the settings, not of the code: the worker of the first two is what a user writes
with aiokafka and aiohttp, one poll at a time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fleet.environments import python_with
from benchmarks.fleet.launcher import Program
from benchmarks.fleet.workers import PEERS
from benchmarks.story.plan import Plan

THEN = ("aiokafka==0.8.0", "kafka-python==2.0.2", "aiohttp>=3.14,<4")
NOW = ("aiokafka==0.14.0", "aiohttp>=3.14,<4")


@dataclass(frozen=True, slots=True)
class Cast:
    """Where a fleet works."""

    servers: str
    topic: str
    group: str
    port: int
    """Of the customers."""
    plan: Plan


Start = Callable[[Cast, str, int], Program]
"""From a pod's name and the number of a process in it."""


def _stock(python: str, told: Mapping[str, str], times: Mapping[str, int]) -> Start:
    def start(cast: Cast, pod: str, number: int) -> Program:
        words = {
            "servers": cast.servers,
            "topic": cast.topic,
            "group": cast.group,
            "client_id": f"{pod}-{number}",
            "base": f"http://127.0.0.1:{cast.port}",
            "http": "aiohttp",
            **told,
            **{name: str(cast.plan.ms(usual)) for name, usual in times.items()},
        }
        script = [python, str(PEERS / "stock.py")]
        return Program([*script, *(f"{name}={value}" for name, value in words.items())], {})

    return start


def original(directory: Path) -> Start:
    """aiokafka 0.8.0, round-robin, session 30 s, requests 60 s, polls of 10 within 300 s."""
    times = {
        "session_timeout_ms": 30_000,
        "heartbeat_interval_ms": 3_000,
        "request_timeout_ms": 60_000,
        "max_poll_interval_ms": 300_000,
    }
    python = python_with(directory / "then", *THEN)
    return _stock(python, {"assignor": "roundrobin", "most": "10"}, times)


def tuned(directory: Path) -> Start:
    """A newer aiokafka, `sticky`, session 60 s, requests 120 s, polls of 5 within 600 s."""
    times = {
        "session_timeout_ms": 60_000,
        "heartbeat_interval_ms": 20_000,
        "request_timeout_ms": 120_000,
        "max_poll_interval_ms": 600_000,
    }
    python = python_with(directory / "now", *NOW)
    return _stock(python, {"assignor": "sticky", "most": "5"}, times)


def ours(_: Path) -> Start:
    """`webhook-worker run` with its defaults."""

    def start(cast: Cast, pod: str, number: int) -> Program:
        return Program(
            ["webhook-worker", "run"],
            {
                "KAFKA_GROUP_ID": cast.group,
                "KAFKA_CLIENT_ID": f"{pod}-{number}",
                "KAFKA_SESSION_TIMEOUT_MS": str(cast.plan.ms(60_000)),
                "KAFKA_HEARTBEAT_INTERVAL_MS": str(cast.plan.ms(3_000)),
                "WEBHOOK_TOPIC": cast.topic,
                "WEBHOOK_DEAD_LETTER_TOPIC": f"{cast.topic}.dead-letter",
                "WORKER_METRICS_PORT": "0",
                "WORKER_LOG_LEVEL": "warning",
            },
        )

    return start


FLEETS: Mapping[str, Callable[[Path], Start]] = {"original": original, "tuned": tuned, "ours": ours}
"""By name, each made in a directory for what is installed. May raise PeerUnavailableError."""

EAGER: Sequence[str] = ("original", "tuned")
"""While these make a new plan, nobody owns anything."""
