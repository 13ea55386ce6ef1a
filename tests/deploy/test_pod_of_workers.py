"""A pod of real worker processes: its way up, its way down, and faults that a cluster brings."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import pytest

from deploy.demo.pods import free_port_ranges
from tests.harness.command_line import printed
from tests.harness.container import ROOT, Container, container, hurried, pod_directory

READY = ROOT / "deploy" / "image" / "ready.sh"
PROCESSES = 2


class Brokers(Protocol):
    """What the tests need to know of a cluster."""

    @property
    def bootstrap_servers(self) -> str: ...


class SlowReceiver:
    """Answers each request when it is allowed to."""

    def __init__(self) -> None:
        self.asked, self.release, self.requests = threading.Event(), threading.Event(), 0
        receiver = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.requests += 1
                receiver.asked.set()
                receiver.release.wait(30)
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.port = self._server.server_address[1]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def directory() -> Iterator[Path]:
    with pod_directory() as directory:
        yield directory


@pytest.fixture
def environ(directory: Path) -> dict[str, str]:
    endpoints = directory / "endpoints.yaml"
    endpoints.write_text("endpoints: []\n")
    endpoints.chmod(0o644)
    return {
        "POD_PROCESSES": str(PROCESSES),
        "WORKER_METRICS_PORT": str(free_port_ranges(1, PROCESSES)[0]),
        "WEBHOOK_ENDPOINTS": str(endpoints),
        # What is written so can have no address, now or ever.
        "KAFKA_BOOTSTRAP_SERVERS": "no-broker.invalid:9092",
    }


def probe(directory: Path, environ: dict[str, str]) -> tuple[int, list[str]]:
    """What the readiness probe of the pod would say, and its status."""
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
        "PYTHONPATH": str(ROOT),
        "POD_DIRECTORY": str(directory),
        **environ,
    }
    asked = subprocess.run(
        ["sh", READY], env=environ, capture_output=True, text=True, check=False, timeout=30
    )
    assert asked.stderr == ""
    return asked.returncode, asked.stdout.splitlines()


def test_without_a_broker_the_pod_stays_says_why_it_is_not_ready_and_ends_with_0(
    directory: Path, environ: dict[str, str]
) -> None:
    with container(directory, environ) as pod:
        pod.until(lambda: len({line.get("worker") for line in told(pod)}) == PROCESSES)
        status, said = probe(directory, environ)
        assert status == 1
        # Nothing wrong with the pod: it would be no better after another start.
        assert not pod.said("exited")
        pod.signal(signal.SIGTERM)
        assert pod.ended() == 0
    assert len(said) == PROCESSES
    for index, line in enumerate(said):
        assert line.startswith(f"worker-{index}: no broker can be reached")
        assert "no-broker.invalid:9092" in line


def told(pod: Container) -> list[dict[str, Any]]:
    return [line for line in pod.log if line["msg"].startswith("no broker can be reached")]


def test_a_port_that_is_taken_ends_the_pod_with_a_sentence_about_it(
    directory: Path, environ: dict[str, str]
) -> None:
    port = int(environ["WORKER_METRICS_PORT"]) + 1
    with (
        socket.create_server(("", port)),
        container(directory, environ, conf=hurried(directory, startsecs=30)) as pod,
    ):
        assert pod.ended() == 1
    said, word = pod.last_word.splitlines()[0], pod.last_word.splitlines()[-1]
    assert said == "worker-1 could not be started in 2 tries. Its last words:"
    assert json.loads(word)["msg"] == (
        f"WORKER_METRICS_PORT + WORKER_PROCESS_INDEX is {port}, "
        "but must be a port that is free (Address already in use)."
    )


def test_a_secret_and_endpoints_that_are_not_there_are_said_before_anything_starts(
    directory: Path, environ: dict[str, str]
) -> None:
    environ |= {
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": "fleet",
        "KAFKA_SASL_PASSWORD_FILE": "/etc/webhook/kafka/password",
        "WEBHOOK_ENDPOINTS": "/etc/webhook/endpoints/endpoints.yaml",
        "WORKER_DRAIN_TIMEOUT_SECONDS": "10",
    }
    with container(directory, environ) as pod:
        assert pod.ended() == 2
    assert [line.split()[0] for line in pod.last_word.splitlines()] == [
        "KAFKA_SASL_PASSWORD_FILE",
        "WORKER_DRAIN_TIMEOUT_SECONDS",
        "WEBHOOK_ENDPOINTS",
    ]
    assert [line["msg"] for line in pod.log] == pod.last_word.splitlines()


def test_a_pod_becomes_ready_and_finishes_at_sigterm_what_is_in_flight(
    cluster: Brokers, directory: Path, environ: dict[str, str]
) -> None:
    name = f"pod.{uuid.uuid4().hex[:8]}"
    with SlowReceiver() as receiver:
        endpoint = {
            "id": "slow",
            "customer_id": "acme",
            "url": f"http://127.0.0.1:{receiver.port}/",
            "secrets": ["whsec_" + base64.b64encode(b"the key of tests of pods").decode()],
        }
        Path(environ["WEBHOOK_ENDPOINTS"]).write_text(json.dumps({"endpoints": [endpoint]}))
        environ |= {
            "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
            "KAFKA_GROUP_ID": name,
            "WEBHOOK_TOPIC": name,
            "WEBHOOK_DEAD_LETTER_TOPIC": f"{name}.dead-letter",
            "WEBHOOK_RETRY_SCHEDULE": "1s",
            "WEBHOOK_EGRESS_ALLOW": "127.0.0.0/8",
        }
        printed(environ, "topics", "create", "--partitions", "2", "--retry-partitions", "1")
        with container(directory, environ) as pod:
            pod.until(lambda: len(list(directory.glob("ready.*"))) == PROCESSES)
            assert probe(directory, environ) == (0, [])
            printed(environ, "send", "--customer", "acme", "--type", "order.paid")
            pod.until(receiver.asked.is_set)
            pod.signal(signal.SIGTERM)
            pod.until(lambda: pod.said('"stopping"'))
            assert probe(directory, environ)[0] == 1
            receiver.release.set()
            assert pod.ended() == 0
        assert receiver.requests == 1
        assert described(environ)["lag"] <= 1, "what was in flight is handed over, to nobody yet"
        for ready in directory.glob("ready.*"):
            ready.unlink()
        with container(directory, environ) as pod:
            pod.until(lambda: described(environ)["lag"] == 0)
            pod.signal(signal.SIGTERM)
            assert pod.ended() == 0
    assert receiver.requests == 1, "the next pod learns that it was delivered"
    assert described(environ)["members"] == []


def described(environ: dict[str, str]) -> Any:
    """What the command line says of the group."""
    return json.loads(printed(environ, "group", "describe", "--json"))
