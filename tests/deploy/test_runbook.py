"""The runbook's commands are run as they stand there, against a worker on real brokers."""

import json
import os
import re
import shlex
import subprocess
import uuid
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from string import Template
from typing import Protocol

from tests.harness.environment import COMMAND, without_settings
from tests.harness.worker_process import running
from webhook_worker.cli import main

RUNBOOK = Path(__file__).resolve().parents[2] / "deploy" / "monitoring" / "RUNBOOK.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
INSTANCE, ENDPOINT = "webhook-worker-7-0", "acme-orders"
WORKER = "import sys; from webhook_worker.cli import main; sys.exit(main(['run']))"
ENDPOINTS = f"""
endpoints:
  - id: {ENDPOINT}
    customer_id: acme
    url: https://127.0.0.1:1/orders
    secrets: [whsec_cnVuYm9vaydzIGtleSBvZiAyNCBieXRlcw==]
"""


class Brokers(Protocol):
    @property
    def bootstrap_servers(self) -> str: ...


def commands() -> list[str]:
    """Each that the runbook has, once, in the order in which it has them."""
    lines = "".join(BLOCK.findall(RUNBOOK.read_text())).splitlines()
    return list(dict.fromkeys(lines))


def run(command: str, environ: dict[str, str]) -> str:
    """What it prints; one of our own is called here, since a process costs a second to start."""
    program, *arguments = shlex.split(Template(command).substitute(environ))
    if program == "webhook-worker" and "|" not in arguments:
        said, complained = StringIO(), StringIO()
        with redirect_stdout(said), redirect_stderr(complained):
            status = main(arguments, environ)
        output = said.getvalue(), complained.getvalue()
    else:
        shell = ("bash", "-o", "pipefail", "-c", command)
        done = subprocess.run(shell, env=environ, check=False, capture_output=True, text=True)
        status, output = done.returncode, (done.stdout, done.stderr)
    assert status == 0, "\n".join((command, *output))
    return output[0]


def test_every_command_of_the_runbook_works_on_a_worker_that_gives_deliveries_up(
    cluster: Brokers, tmp_path: Path
) -> None:
    group = f"runbook.{uuid.uuid4().hex[:8]}"
    endpoints = tmp_path / "endpoints.yaml"
    endpoints.write_text(ENDPOINTS)
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "KAFKA_GROUP_ID": group,
        "KAFKA_GROUP_INSTANCE_ID": INSTANCE.removesuffix("-0"),
        "WEBHOOK_TOPIC": group,
        "WEBHOOK_DEAD_LETTER_TOPIC": f"{group}.dead-letter",
        "WEBHOOK_ENDPOINTS": str(endpoints),
        "WEBHOOK_RETRY_SCHEDULE": "1s",
        "WEBHOOK_ORDERED_TOPIC": f"{group}.ordered",
    }
    shell = without_settings() | settings
    shell |= {
        "PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}",
        "GROUP": group,
        "INSTANCE_ID": INSTANCE,
        "ENDPOINT_ID": ENDPOINT,
        "ENDPOINTS_FILE": str(endpoints),
    }
    run("webhook-worker topics create --partitions 2 --retry-partitions 1", shell)
    with running(tmp_path, program=WORKER, **settings) as worker:
        worker.wait_until(worker.ready)
        run("webhook-worker send --customer acme --type order.created", shell)
        worker.wait_until(
            lambda: 'dead_letters_total{reason="exhausted"} 1' in worker.get("/metrics")[1]
        )
        shell["WORKER_PID"] = str(worker.process.pid)
        told = {
            command: run(command.replace("localhost:9100", f"localhost:{worker.port}"), shell)
            for command in commands()
        }
        worker.wait_until(lambda: "tasks that wait at one place" in worker.messages())
    assert "state: Stable" in told["webhook-worker group describe"]
    state = json.loads(told["curl -s localhost:9100/debug/state"])
    assert "waits_for" in json.dumps(state)
    # What the runbook calls $WORKER_PID can be found out in a container without ps.
    assert state["pid"] == worker.process.pid
    replayed = next(said for command, said in told.items() if "--yes --rate" in command)
    assert "1" in replayed
    removed = next(said for command, said in told.items() if "--instance-id" in command)
    assert f"{INSTANCE}: removed" in removed
