"""A worker as a process of its own, seen from outside: its output, its log and its HTTP port."""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.harness.environment import without_settings

PATIENCE_SECONDS = 40

_PROGRAM = """
import asyncio, os, sys
from contextlib import nullcontext
from types import SimpleNamespace
from app_worker import DelaySchedule, Done, Park, WorkerPlan, run_program
{handle}
topic = os.environ["TEST_TOPIC"]
schedule = DelaySchedule.parse(topic, "1s")
dead = topic + ".dead-letter"
plan = WorkerPlan(
    topic=topic,
    schedule=schedule,
    dead_letter_topic=dead,
    needed_topics=(topic, *schedule.topics(), dead),
    create_command="make-the-topics --now",
)
sys.exit(run_program(plan, nullcontext(SimpleNamespace(handle=handle))))
"""


def program_of(handle: str) -> str:
    """The source of a worker of the topic TEST_TOPIC; ``handle`` is that of its coroutine."""
    return _PROGRAM.replace("{handle}", handle)


class Worker:
    """A worker process, seen from outside: its output, its log and its HTTP port."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path, errors: Path) -> None:
        self.process = process
        self._output = output
        self._errors = errors

    @property
    def printed(self) -> list[str]:
        return self._output.read_text().splitlines()

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._errors.read_text().splitlines()]

    def messages(self) -> str:
        return "\n".join(entry["msg"] for entry in self.log)

    @property
    def port(self) -> int:
        ports = [entry["port"] for entry in self.log if entry["msg"] == "listening"]
        return int(ports[0]) if ports else 0

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except urllib.error.URLError:
            return 0, ""

    def wait_until(self, reached: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not reached():
            assert self.process.poll() is None, self.messages()
            assert time.monotonic() < deadline, self.messages()
            time.sleep(0.05)

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def stop(self) -> tuple[int, float]:
        """End it in order: its exit code, and the seconds that it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS), time.monotonic() - began


@contextmanager
def running(directory: Path, *, program: str, **environ: str) -> Iterator[Worker]:
    settings = {"WORKER_METRICS_PORT": "0", "PYTHONWARNINGS": "error::ResourceWarning"}
    name = uuid.uuid4().hex
    output, errors = directory / f"{name}.out", directory / f"{name}.err"
    with (
        output.open("wb") as out,
        errors.open("wb") as err,
        subprocess.Popen(
            [sys.executable, "-c", program],
            env=without_settings() | settings | environ,
            stdout=out,
            stderr=err,
            cwd=directory,
        ) as process,
    ):
        try:
            yield Worker(process, output, errors)
        finally:
            process.kill()
