"""A pod: the real supervisord and its real configuration, over workers that do nothing."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from itertools import pairwise
from pathlib import Path

import pytest

from app_worker import KafkaSettings, WorkerSettings
from app_worker.controller import LEAVE_SECONDS
from deploy.demo.pods import GRACE_SECONDS, Pod, PodError, free_port_ranges
from deploy.local.guard import Guard, living
from webhook_worker.settings import WebhookSettings

ROOT = Path(__file__).parents[2]

WORKER = """#!{python}
import os, pathlib, signal, sys, time
def end(*_):
    print("drained", index, flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
index = os.environ["WORKER_PROCESS_INDEX"]
print("started", index, sys.argv[1:], flush=True)
pathlib.Path("pid." + index).write_text(str(os.getpid()))
while True:
    time.sleep(60)
"""


@pytest.fixture
def guard() -> Iterator[Guard]:
    with Guard() as guard:
        yield guard


@pytest.fixture
def pod(tmp_path: Path, guard: Guard) -> Pod:
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    worker = bin_directory / "webhook-worker"
    worker.write_text(WORKER.format(python=sys.executable))
    worker.chmod(0o755)
    return Pod(
        "pod-7",
        guard=guard,
        directory=tmp_path / "pod-7",
        base_port=free_port_ranges(1, 3)[0],
        processes=3,
        environment={"PATH": f"{bin_directory}:{Path(sys.executable).parent}:{os.defpath}"},
    )


def test_whatever_an_end_consists_of_has_less_time_than_what_it_is_part_of() -> None:
    supervised = ConfigParser(interpolation=None)
    supervised.read(ROOT / "deploy" / "image" / "supervisord.conf")
    worker = WorkerSettings()
    chain = {
        "an attempt": WebhookSettings.fields["attempt_timeout_seconds"].default,
        "a call of the handler": worker.handler_timeout_seconds,
        "a drain": worker.drain_timeout_seconds,
        "a drain and the leave": worker.drain_timeout_seconds + LEAVE_SECONDS,
        "the stop of a worker": supervised.getfloat("program:worker", "stopwaitsecs"),
        "the stop of a pod": GRACE_SECONDS,
    }
    assert all(inner < outer for inner, outer in pairwise(chain.values())), chain
    # A rebalance does not put out a member that drains.
    rebalance_ms = KafkaSettings.fields["rebalance_timeout_ms"].default
    assert worker.drain_timeout_seconds * 1000 < rebalance_ms


async def until(fulfilled: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not fulfilled():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.02)


def worker_pids(tmp_path: Path) -> set[int]:
    return {int(file.read_text() or 0) for file in tmp_path.glob("pod-7/pid.*")} - {0}


def lines(pod: Pod, word: str) -> list[str]:
    return [line for line in pod.log.read_text().splitlines() if line.startswith(word)]


async def test_a_pod_runs_its_workers_and_stops_them_in_order(pod: Pod, tmp_path: Path) -> None:
    pod.start()
    await until(lambda: len(worker_pids(tmp_path)) == 3)
    # What they have printed comes through supervisord.
    await until(lambda: len(lines(pod, "started")) == 3)
    assert sorted(lines(pod, "started")) == [f"started {index} ['run']" for index in range(3)]
    assert await pod.stop() == 0
    assert sorted(lines(pod, "drained")) == [f"drained {index}" for index in range(3)]
    assert not pod.running


async def test_a_killed_pod_is_gone_whole_and_can_be_started_again(
    pod: Pod, tmp_path: Path
) -> None:
    pod.start()
    await until(lambda: len(worker_pids(tmp_path)) == 3)
    session, first = pod.session, worker_pids(tmp_path)
    await pod.kill()
    assert not living([session])
    assert lines(pod, "drained") == []
    pod.start()
    await until(lambda: len(worker_pids(tmp_path) - first) == 3)
    await pod.stop()


async def test_a_worker_that_dies_is_started_again(pod: Pod, tmp_path: Path) -> None:
    pod.start()
    await until(lambda: len(worker_pids(tmp_path)) == 3)
    os.kill(int((tmp_path / "pod-7" / "pid.1").read_text()), signal.SIGKILL)
    await until(lambda: lines(pod, "started").count("started 1 ['run']") == 2)
    assert await pod.stop() == 0


async def test_a_pod_that_runs_is_not_started_twice(pod: Pod, tmp_path: Path) -> None:
    with pytest.raises(PodError, match="pod-7 was never started"):
        await pod.stop()
    pod.start()
    with pytest.raises(PodError, match="pod-7 runs already"):
        pod.start()
    await until(lambda: len(worker_pids(tmp_path)) == 3)
    await pod.kill()


def test_port_ranges_do_not_overlap() -> None:
    starts = sorted(free_port_ranges(25, 4))
    assert len(starts) == 25
    assert all(later - earlier >= 4 for earlier, later in pairwise(starts))
