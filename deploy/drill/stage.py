"""What stands around a drill: brokers, topics, customers with their receiver, pods."""

import base64
import json
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.demo.pods import Pod, free_port_ranges
from deploy.demo.stage import ROOT, start_receiver
from deploy.drill.settings import DrillSettings
from deploy.local.guard import Guard

CUSTOMERS = 50
TOPIC = "webhook"
SESSION_MS = 10_000
HEARTBEAT_MS = 3_000
OUR_PREFIXES = ("KAFKA_", "WORKER_", "WEBHOOK_", "POD_")


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


def start_customers(guard: Guard, logs: Path, ledger: Path, long_seconds: float) -> int:
    """Start the customers; return their port. Raises StageError."""
    ledger.touch()
    return start_receiver(guard, logs, ("deploy.drill.receiver", str(ledger), str(long_seconds)))


def place_pods(
    settings: DrillSettings,
    membership: str,
    guard: Guard,
    directory: Path,
    environment: Mapping[str, str],
) -> list[Pod]:
    """The pods of a fleet, not started yet."""
    ranges = free_port_ranges(settings.pods, settings.processes)
    pods = []
    for number, port in enumerate(ranges):
        name = f"pod-{number:02}"
        of_its_kind = {
            "static": {"KAFKA_GROUP_INSTANCE_ID": name},
            "handover": {"WORKER_HANDOVER": "on"},
            "drain": {"WORKER_HANDOVER": "off"},
        }
        pods.append(
            Pod(
                name,
                guard=guard,
                directory=directory / f"{membership}-{name}",
                base_port=port,
                processes=settings.processes,
                environment={**environment, **of_its_kind.get(membership, {})},
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
        directory=directory / f"bad-{pod.name}",
        base_port=pod.ports[0],
        processes=settings.processes,
        environment={**environment, "WEBHOOK_RETRY_SCHEDULE": "soon"},
        command=(sys.executable, "-m", "deploy.image.entrypoint"),
    )
