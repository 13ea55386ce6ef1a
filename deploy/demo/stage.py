"""What stands around the play: brokers, topics, endpoints, a receiver, pods."""

import asyncio
import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiokafka.errors import KafkaError

from app_worker.environment import load
from app_worker.settings import KafkaSettings
from deploy.demo.customers import DemoEndpoint, demo_endpoints, endpoint_file, secrets_file
from deploy.demo.observe import ClusterView
from deploy.demo.pods import Pod, free_port_ranges
from deploy.demo.progress import Display
from deploy.demo.settings import DemoSettings
from deploy.local.brokers import DEFAULT_VERSION, Cluster
from deploy.local.guard import Guard, kill_sessions

ROOT = Path(__file__).parents[2]
PARTITIONS = 100
SESSION_MS = 6_000
HEARTBEAT_MS = 2_000
SCHEDULE = "1s,2s"
RECEIVER_START_SECONDS = 20.0
TOPICS_CREATE_SECONDS = 60.0
# What an existing cluster may need to be reached; nothing else of the caller's settings is used.
ACCESS_PREFIXES = ("KAFKA_SECURITY_", "KAFKA_SSL_", "KAFKA_SASL_")
OUR_PREFIXES = ("KAFKA_", "WORKER_", "WEBHOOK_")


class StageError(Exception):
    """The surroundings could not be set up; the message says which part, and why."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything around the play."""

    settings: DemoSettings
    display: Display
    guard: Guard
    directory: Path
    environment: Mapping[str, str]
    """Of the workers."""
    endpoints: Sequence[DemoEndpoint]
    topic: str

    @property
    def logs(self) -> Path:
        """What is kept when something goes wrong."""
        return self.directory / "logs"

    @property
    def ledger(self) -> Path:
        """The receiver's."""
        return self.logs / "ledger.jsonl"

    @property
    def kafka(self) -> KafkaSettings:
        """As the workers read them."""
        return load(KafkaSettings, self.environment)


@contextmanager
def bootstrap_servers(
    settings: DemoSettings, display: Display, guard: Guard, directory: Path
) -> Iterator[str]:
    """Where the brokers are: an existing cluster, or one of our own for as long as this lasts."""
    if settings.bootstrap_servers:
        yield settings.bootstrap_servers
        return
    display.note("The brokers are being started; the first time, Kafka's jars are fetched before.")
    began = time.monotonic()
    cluster = Cluster(
        settings.kafka_version or DEFAULT_VERSION,
        directory=directory / "brokers",
        # Kafka's own defaults, because rebalances are shown.
        offsets_partitions=50,
        rebalance_delay_ms=3_000,
        guard=guard,
    )
    with cluster:
        display.say(f"The brokers are up, after {time.monotonic() - began:.1f} s.")
        yield cluster.bootstrap_servers


def set_stage(
    settings: DemoSettings, display: Display, guard: Guard, directory: Path, servers: str
) -> Stage:
    """Make the endpoints, start their receiver, create the topics. Raises StageError."""
    # In a cluster of others, nothing but names that nobody has.
    name = f"webhook-demo-{secrets.token_hex(4)}" if settings.bootstrap_servers else "webhook"
    endpoints = demo_endpoints(secrets.token_bytes)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(OUR_PREFIXES)}
    if settings.bootstrap_servers:
        kept |= {k: v for k, v in os.environ.items() if k.startswith(ACCESS_PREFIXES)}
    endpoints_path = directory / "endpoints.json"
    environment = kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        "KAFKA_GROUP_ID": f"{name}-workers",
        "KAFKA_SESSION_TIMEOUT_MS": str(SESSION_MS),
        "KAFKA_HEARTBEAT_INTERVAL_MS": str(HEARTBEAT_MS),
        "WEBHOOK_TOPIC": name,
        "WEBHOOK_DEAD_LETTER_TOPIC": f"{name}.dead-letter",
        "WEBHOOK_RETRY_SCHEDULE": SCHEDULE,
        "WEBHOOK_ENDPOINTS": str(endpoints_path),
        "WEBHOOK_EGRESS_ALLOW": "127.0.0.0/8,::1/128",
    }
    stage = Stage(settings, display, guard, directory, environment, endpoints, name)
    stage.logs.mkdir()
    # What the demo's own clients report goes there, and not between the lines of the display.
    logging.basicConfig(filename=stage.logs / "demo.log", level=logging.WARNING)
    receiver_url = _start_receiver(stage)
    endpoints_path.write_text(endpoint_file(endpoints, receiver_url))
    _create_topics(stage)
    return stage


def _start_receiver(stage: Stage) -> str:
    secrets_path = stage.directory / "receiver-secrets.json"
    secrets_path.write_text(secrets_file(stage.endpoints))
    arguments = ["--secrets", str(secrets_path), "--ledger", str(stage.ledger)]
    words = ("deploy.demo.receiver", *arguments)
    return f"http://127.0.0.1:{start_receiver(stage.guard, stage.logs, words)}"


def start_receiver(guard: Guard, logs: Path, words: Sequence[str]) -> int:
    """Start a receiver, a module and its arguments; return its port. Raises StageError."""
    log = logs / "receiver.log"
    with log.open("ab") as output:
        process = guard.spawn([sys.executable, "-m", *words], output=output, cwd=ROOT)
    give_up = time.monotonic() + RECEIVER_START_SECONDS
    while not (said := log.read_text()).strip().isdigit():
        if process.poll() is not None or time.monotonic() > give_up:
            raise StageError(f"The sample receiver did not start; it said:\n{said}")
        time.sleep(0.05)
    return int(said)


def _create_topics(stage: Stage) -> None:
    replication = min(3, asyncio.run(_count_brokers(stage.kafka)))
    sizes = ["--partitions", str(PARTITIONS), "--replication", str(replication)]
    create_topics(stage.environment, sizes)


def create_topics(environment: Mapping[str, str], sizes: Sequence[str]) -> None:
    """As an operator does. Raises StageError."""
    try:
        created = subprocess.run(
            ["webhook-worker", "topics", "create", *sizes],
            env=environment,
            capture_output=True,
            text=True,
            timeout=TOPICS_CREATE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StageError(f"Creating the topics took longer than {error.timeout:.0f} s.") from error
    if created.returncode:
        said = created.stdout + created.stderr
        raise StageError(f"The topics could not be created:\n{said}")


async def _count_brokers(kafka: KafkaSettings) -> int:
    async with kafka.admin() as admin:
        return await admin.brokers()


def place_pods(stage: Stage) -> list[Pod]:
    """The pods, not started yet."""
    settings = stage.settings
    return [
        Pod(
            f"pod-{number}",
            guard=stage.guard,
            directory=stage.logs / f"pod-{number}",
            base_port=port,
            processes=settings.processes,
            environment=stage.environment,
        )
        for number, port in enumerate(free_port_ranges(settings.pods, settings.processes), start=1)
    ]


@contextmanager
def cleared_afterwards(stage: Stage, pods: Sequence[Pod]) -> Iterator[None]:
    """Whatever happens: no pod runs on, and an existing cluster has no topic more than before."""
    try:
        yield
    finally:
        kill_sessions([pod.session for pod in pods if pod.running])
        if stage.settings.bootstrap_servers:
            try:
                asyncio.run(_delete_topics(stage))
            except KafkaError as error:
                stage.display.say(f"Topics {stage.topic}* could not be deleted: {error}")


async def _delete_topics(stage: Stage) -> None:
    async with ClusterView(stage.kafka, stage.topic) as view:
        await view.delete_topics()
