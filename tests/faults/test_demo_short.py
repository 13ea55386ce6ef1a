"""The demo in short: a pod is killed, nothing is lost, and nothing is left, however it ends."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local.brokers import Cluster
from deploy.local.scratch import MEMORY
from kafka_utils import Admin
from tests.conftest import ExistingCluster

ROOT = Path(__file__).parents[2]


class Demo:
    """A run of the demo as a process of its own, all of whose descendants can be told apart."""

    def __init__(self, output: Path, **environment: str) -> None:
        self.mark = f"demo-test-{uuid.uuid4()}"
        self._output = output
        with output.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy.demo"],
                cwd=ROOT,
                env={**os.environ, "DEMO_TEST_MARK": self.mark, **environment},
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def until_it_says(self, text: str) -> None:
        until(lambda: text in self.output or self.process.poll() is not None, text)
        assert text in self.output, self.output

    def descendants(self) -> list[str]:
        """Command lines of all that still runs of it."""
        found = []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in environment.read_bytes():
                    found.append(environment.with_name("cmdline").read_text().replace("\0", " "))
            except OSError:  # it has ended meanwhile
                continue
        return found


def until(fulfilled: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + 60
    while not fulfilled():
        assert time.monotonic() < give_up, f"waited in vain: {what}"
        time.sleep(0.05)


def directories() -> set[Path]:
    places = {Path(tempfile.gettempdir()), MEMORY}
    return {path for place in places for path in place.glob("webhook-demo-*")}


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    before = directories()
    started: list[Demo] = []

    def start(**environment: str) -> Demo:
        small = {"DEMO_PODS": "2", "DEMO_PROCESSES": "2", "DEMO_SECONDS": "6", "DEMO_RATE": "100"}
        started.append(Demo(tmp_path / "output", **{**small, **environment}))
        return started[-1]

    yield start
    for run in started:
        run.process.kill()
        run.process.wait()
        until(lambda run=run: not run.descendants(), "the end of all processes")  # type: ignore[misc]
    until(lambda: directories() <= before, "the end of all directories")


def row(output: str, label: str) -> str:
    found = re.search(rf"^  {label} +(.*)$", output, re.MULTILINE)
    assert found, output
    return found[1]


async def topics_of_demos(cluster: Cluster | ExistingCluster) -> set[str]:
    async with Admin(tuple(cluster.bootstrap_servers.split(","))) as admin:
        return {name for name in await admin.list_topics() if name.startswith("webhook-demo-")}


async def test_a_pod_is_killed_and_nothing_is_lost(
    demo: Callable[..., Demo], cluster: Cluster | ExistingCluster
) -> None:
    run = demo(KAFKA_BOOTSTRAP_SERVERS=cluster.bootstrap_servers)
    status = run.process.wait(90)
    output = run.output
    assert status == 0, output
    assert row(output, "lost") == "0"
    assert row(output, "bad signatures") == "0"
    assert row(output, "parked") == "0"
    assert re.match(r"\d+ \(exhausted \d+\)", row(output, "dead letters"))
    assert "The promise held" in output
    assert run.descendants() == []
    assert await topics_of_demos(cluster) == set()


async def test_an_interrupted_demo_leaves_no_topics_in_a_cluster_of_others(
    demo: Callable[..., Demo], cluster: Cluster | ExistingCluster
) -> None:
    run = demo(KAFKA_BOOTSTRAP_SERVERS=cluster.bootstrap_servers)
    run.until_it_says("is killed with SIGKILL")
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(20) == 130
    assert run.descendants() == []
    assert await topics_of_demos(cluster) == set()


@pytest.mark.parametrize(
    ("signum", "moment", "status"),
    [
        (signal.SIGKILL, "Events begin to flow", -9),
        (signal.SIGTERM, "The brokers are up", 143),
    ],
)
def test_an_interrupted_demo_leaves_nothing_behind(
    demo: Callable[..., Demo], signum: signal.Signals, moment: str, status: int
) -> None:
    run = demo(KAFKA_BOOTSTRAP_SERVERS="")
    run.until_it_says(moment)
    run.process.send_signal(signum)
    assert run.process.wait(20) == status
    until(lambda: run.descendants() == [], "the end of all processes")


def test_wrong_settings_are_refused_before_anything_is_started(demo: Callable[..., Demo]) -> None:
    run = demo(DEMO_PODS="0", DEMO_RATE="fast")
    assert run.process.wait(20) == 2
    assert run.output.count("allowed is") == 2
