"""Our worker as a user runs it: the command, with endpoints in a file and its environment."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SECRET = "whsec_" + base64.b64encode(b"the benchmark's own secret").decode()
COMMAND = Path(sys.executable).parent / "webhook-worker"


def environment(
    directory: Path, servers: str, topic: str, group: str, in_flight: int, urls: Mapping[str, str]
) -> dict[str, str]:
    """Make the topics that it needs, and one endpoint for each customer; what to start it with."""
    endpoints = directory / "endpoints.json"
    entries = [
        {"id": f"e-{customer}", "customer_id": customer, "url": url, "secrets": [SECRET]}
        for customer, url in urls.items()
    ]
    endpoints.write_text(json.dumps({"endpoints": entries}))
    environ = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        "KAFKA_GROUP_ID": group,
        "WORKER_METRICS_PORT": "0",
        "WORKER_LOG_LEVEL": "error",
        "WORKER_MAX_IN_FLIGHT": str(in_flight),
        "WEBHOOK_TOPIC": topic,
        "WEBHOOK_DEAD_LETTER_TOPIC": f"{topic}.dead",
        "WEBHOOK_ENDPOINTS": str(endpoints),
        "WEBHOOK_EGRESS_ALLOW": "127.0.0.0/8",
    }
    subprocess.run([COMMAND, "topics", "create"], env=environ, check=True, capture_output=True)  # noqa: S603
    return environ
