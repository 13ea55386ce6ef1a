import asyncio
import dataclasses
import gc
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from app_worker import (
    DelaySchedule,
    Done,
    Handler,
    KafkaSettings,
    Outcome,
    Record,
    WorkerPlan,
    WorkerSettings,
    run_worker,
)
from app_worker.controller import Controller, Subscription
from app_worker.observability.http_server import listen
from app_worker.observability.readiness import Readiness
from app_worker.share import Share
from app_worker.startup import Cluster
from app_worker.worker import EXIT_CRASHED, Member, _log_stray, _take_part, _Worker
from kafka_utils import FencedError, GroupError

PLAN = WorkerPlan(
    topic="names",
    schedule=DelaySchedule.parse("names", "1s"),
    dead_letter_topic="dead",
    needed_topics=("names",),
    create_command="create-them",
)


class Greeter:
    async def handle(self, record: Record) -> Sequence[Outcome]:
        return [Done()]


class BrokenGreeter(nullcontext[Greeter]):
    def __init__(self) -> None:
        super().__init__(Greeter())

    async def __aenter__(self) -> Greeter:
        raise OSError("no such file")


class ScriptedController:
    """Runs until it is stopped, or until it fails."""

    def __init__(self, error: Exception | None = None, seconds: float = 1.0) -> None:
        self.joined = asyncio.Event()
        self.stopping = asyncio.Event()
        self.left = False
        self._error = error
        self._seconds = seconds

    def stop(self) -> None:
        self.stopping.set()

    async def run(self, _: Subscription) -> None:
        await asyncio.sleep(self._seconds)
        self.joined.set()
        await asyncio.sleep(self._seconds)
        if self._error:
            raise self._error
        await self.stopping.wait()
        await asyncio.sleep(20)
        self.left = True


def member(controller: ScriptedController) -> Member:
    return Member("g", cast("Controller", controller), Subscription(topics=("names",)))


@pytest.fixture
def kafka() -> KafkaSettings:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]
    return KafkaSettings(bootstrap_servers=(f"127.0.0.1:{nobody}",))


@pytest.mark.looptime
async def test_it_is_ready_once_all_groups_are_joined_and_drains_both_at_a_stop() -> None:
    controllers = [ScriptedController(), ScriptedController()]
    readiness, stop = Readiness(), asyncio.Event()
    working = asyncio.create_task(_take_part([member(c) for c in controllers], readiness, stop))
    reasons = []
    for seconds in (0.5, 1):
        await asyncio.sleep(seconds)
        reasons.append(readiness.reason)
    stop.set()
    await asyncio.sleep(0.1)
    reasons.append(readiness.reason)
    assert reasons == ["joining group g", None, "stopping"]
    await working
    assert all(controller.left for controller in controllers)
    assert asyncio.get_running_loop().time() < 30


@pytest.mark.looptime
async def test_once_it_is_ready_collections_pass_over_what_was_there_before() -> None:
    readiness, stop = Readiness(), asyncio.Event()
    working = asyncio.create_task(_take_part([member(ScriptedController())], readiness, stop))
    await asyncio.sleep(0.5)
    at_start = gc.get_freeze_count()
    await asyncio.sleep(1)
    at_work = gc.get_freeze_count()
    stop.set()
    await working
    assert at_start == 0
    assert at_work > 10_000
    assert gc.get_freeze_count() == 0


@pytest.mark.looptime
async def test_when_one_group_fails_the_other_is_left_in_order(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken, sound = ScriptedController(KeyError("secret")), ScriptedController()
    readiness = Readiness()
    with pytest.raises(KeyError):
        await _take_part([member(broken), member(sound)], readiness, asyncio.Event())
    assert sound.left
    assert readiness.reason == "stopping"
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]


@pytest.mark.looptime
@pytest.mark.parametrize("kind", [GroupError, FencedError])
async def test_out_of_a_group_for_good_one_sentence_says_why_and_the_other_group_is_left_in_order(
    kind: type[GroupError], caplog: pytest.LogCaptureFixture
) -> None:
    reason = "group 'g': another member has joined with group_instance_id 'pod-0'"
    broken, sound = ScriptedController(kind(reason)), ScriptedController()
    with pytest.raises(kind):
        await _take_part([member(broken), member(sound)], Readiness(), asyncio.Event())
    assert sound.left
    (line,) = caplog.records
    assert (line.levelno, line.getMessage()) == (logging.CRITICAL, reason)
    assert line.exc_info is None


@pytest.mark.looptime
async def test_a_group_that_fails_while_the_others_are_left_is_told_of_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = ScriptedController(FencedError("fenced in g"))
    second = ScriptedController(FencedError("fenced in g.retry"), seconds=3.0)
    never_retrieved: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: never_retrieved.append(context))
    with pytest.raises(FencedError, match=r"fenced in g$"):
        await _take_part([member(first), member(second)], Readiness(), asyncio.Event())
    gc.collect()
    said = [record.getMessage() for record in caplog.records]
    assert (said, never_retrieved) == (["fenced in g", "fenced in g.retry"], [])


async def test_out_of_a_group_for_good_the_worker_ends_with_code_1_and_repeats_nothing(
    kafka: KafkaSettings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect(*_: object) -> list[Member]:
        return [member(ScriptedController(FencedError("fenced"), seconds=0.0))]

    monkeypatch.setattr(_Worker, "connect", connect)
    worker = WorkerSettings(metrics_port=0)
    code = await run_worker(PLAN, kafka, worker, nullcontext(Greeter()), CollectorRegistry())
    assert code == EXIT_CRASHED != 0
    bad = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in bad] == ["fenced"]
    assert not any(record.exc_info for record in caplog.records)


async def test_a_stop_signal_ends_the_start_with_code_0(kafka: KafkaSettings) -> None:
    working = asyncio.create_task(
        run_worker(
            PLAN, kafka, WorkerSettings(metrics_port=0), nullcontext(Greeter()), CollectorRegistry()
        )
    )
    await asyncio.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await working == 0


async def test_a_stop_signal_ends_a_handler_that_is_still_being_entered(
    kafka: KafkaSettings,
) -> None:
    left = []

    @asynccontextmanager
    async def handler() -> AsyncIterator[Greeter]:
        try:
            async with asyncio.TaskGroup():
                await asyncio.Event().wait()
            yield Greeter()
        finally:
            left.append(True)

    worker = WorkerSettings(metrics_port=0)
    working = asyncio.create_task(run_worker(PLAN, kafka, worker, handler(), CollectorRegistry()))
    await asyncio.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        assert await working == 0
    assert left


async def test_a_port_that_is_taken_gives_code_2(
    kafka: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with listen(0) as taken:
        worker = WorkerSettings(metrics_port=taken.getsockname()[1])
        code = await run_worker(PLAN, kafka, worker, nullcontext(Greeter()), CollectorRegistry())
    assert code == 2
    assert "WORKER_METRICS_PORT" in caplog.text


async def test_a_handler_that_cannot_start_gives_code_1(
    kafka: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    worker = WorkerSettings(metrics_port=0)
    assert await run_worker(PLAN, kafka, worker, BrokenGreeter(), CollectorRegistry()) == 1
    assert caplog.records[-1].getMessage() == "crashed"


BLOCKED = """
import asyncio, sys, time
from contextlib import asynccontextmanager
from app_worker import DelaySchedule, WorkerPlan, run_program

def blocks_the_loop():
    time.sleep(60)

@asynccontextmanager
async def handler():
    print("entered", flush=True)
    await asyncio.sleep(0.5)
    blocks_the_loop()
    yield

plan = WorkerPlan(
    topic="names",
    schedule=DelaySchedule.parse("names", "1s"),
    dead_letter_topic="dead",
    needed_topics=("names",),
    create_command="create-them",
)
sys.exit(run_program(plan, handler()))
"""


def test_a_worker_shows_its_tasks_when_asked_and_ends_when_its_loop_is_blocked() -> None:
    environ = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "WORKER_METRICS_PORT": "0"}
    with subprocess.Popen(
        [sys.executable, "-c", BLOCKED],
        env=os.environ | environ | {"WORKER_WATCHDOG_SECONDS": "5"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "entered\n"
        process.send_signal(signal.SIGUSR2)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "tasks that wait at one place" in errors
    assert "in blocks_the_loop" in errors.split("the event loop hangs")[1]


async def test_what_asyncio_reports_is_logged_without_the_values_that_it_would_print(
    caplog: pytest.LogCaptureFixture,
) -> None:
    context: dict[str, Any] = {"message": "never retrieved", "future": "holds a secret"}
    _log_stray(asyncio.get_running_loop(), context | {"exception": KeyError("k")})
    assert caplog.records[0].getMessage() == "never retrieved"
    assert caplog.records[0].exc_info is not None
    assert "secret" not in caplog.text


async def test_before_the_first_assignment_it_works_as_the_owner_of_one_partition_of_all(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def there(*_: object) -> Cluster:
        return Cluster("id", {"names": 100, "other": 3})

    monkeypatch.setattr("app_worker.worker.wait_for_topics", there)
    plan = dataclasses.replace(PLAN, share=Share())
    async with AsyncExitStack() as stack:
        worker = _Worker(plan, kafka, WorkerSettings(), CollectorRegistry(), stack)
        connecting = asyncio.create_task(worker.connect(cast("Handler", None)))
        await asyncio.sleep(0)
        assert plan.share.fraction == 0.01
        connecting.cancel()
        await asyncio.wait([connecting])
