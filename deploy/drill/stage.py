"""What stands around a drill: brokers, topics, customers with their receiver, pods."""

import base64
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from deploy.demo.pods import Pod, free_port_ranges
from deploy.drill.settings import DrillSettings
from deploy.local.guard import Guard

ROOT = Path(__file__).parents[2]
PARTITIONS = 100
CUSTOMERS = 50
TOPIC = "webhook"
SESSION_MS = 10_000
HEARTBEAT_MS = 3_000
START_SECONDS = 20.0
CREATE_SECONDS = 60.0
OUR_PREFIXES = ("KAFKA_", "WORKER_", "WEBHOOK_", "POD_")


class StageError(Exception):
    """The drill's surroundings could not be set up; the message says which part, and why."""


def workers_environment(servers: str, directory: Path) -> dict[str, str]:
    """What all workers see."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(OUR_PREFIXES)}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(ROOT),
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        "KAFKA_GROUP_ID": f"{TOPIC}-workers",
        "KAFKA_SESSION_TIMEOUT_MS": str(SESSION_MS),
        "KAFKA_HEARTBEAT_INTERVAL_MS": str(HEARTBEAT_MS),
        "WEBHOOK_TOPIC": TOPIC,
        "WEBHOOK_DEAD_LETTER_TOPIC": f"{TOPIC}.dead-letter",
        "WEBHOOK_RETRY_SCHEDULE": "1s,2s,5s,10s,30s",
        "WEBHOOK_ENDPOINTS": str(directory / "endpoints.json"),
        "WEBHOOK_EGRESS_ALLOW": "127.0.0.0/8",
    }


def write_endpoints(directory: Path, port: int) -> None:
    """One endpoint for each customer."""
    entries = [
        {
            "id": f"endpoint-{number}",
            "customer_id": str(number),
            "url": f"http://127.0.0.1:{port}/{number}",
            "secrets": ["whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()],
        }
        for number in range(CUSTOMERS)
    ]
    (directory / "endpoints.json").write_text(json.dumps({"endpoints": entries}))


def start_receiver(guard: Guard, directory: Path, ledger: Path, long_seconds: float) -> int:
    """Start the customers; return their port. Raises StageError."""
    ledger.touch()
    log = directory / "receiver.log"
    with log.open("ab") as output:
        process = guard.spawn(
            [sys.executable, "-m", "deploy.drill.receiver", str(ledger), str(long_seconds)],
            output=output,
            cwd=ROOT,
        )
    give_up = time.monotonic() + START_SECONDS
    while not (said := log.read_text()).strip().isdigit():
        if process.poll() is not None or time.monotonic() > give_up:
            raise StageError(f"The receiver did not start; it said:\n{said}")
        time.sleep(0.05)
    return int(said)


def create_topics(environment: Mapping[str, str], partitions: int = PARTITIONS) -> None:
    """As an operator does. Raises StageError."""
    created = subprocess.run(
        ["webhook-worker", "topics", "create", "--partitions", str(partitions)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=CREATE_SECONDS,
        check=False,
    )
    if created.returncode:
        said = created.stdout + created.stderr
        raise StageError(f"The topics could not be created:\n{said}")


def place_pods(
    settings: DrillSettings, guard: Guard, directory: Path, environment: Mapping[str, str]
) -> list[Pod]:
    """The pods, not started yet."""
    ranges = free_port_ranges(settings.pods, settings.processes)
    pods = []
    for number, port in enumerate(ranges):
        name = f"pod-{number:02}"
        static = {"KAFKA_GROUP_INSTANCE_ID": name} if settings.static else {}
        pods.append(
            Pod(
                name,
                guard=guard,
                directory=directory / name,
                base_port=port,
                processes=settings.processes,
                environment={**environment, **static},
            )
        )
    return pods


def bad_release_of(
    pod: Pod, settings: DrillSettings, guard: Guard, directory: Path, environment: Mapping[str, str]
) -> Pod:
    """A pod of the same name whose workers are given a setting that they cannot work with."""
    return Pod(
        pod.name,
        guard=guard,
        directory=directory / f"{pod.name}-bad",
        base_port=pod.ports[0],
        processes=settings.processes,
        environment={**environment, "WEBHOOK_RETRY_SCHEDULE": "soon"},
        command=(sys.executable, "-m", "deploy.image.entrypoint"),
    )
