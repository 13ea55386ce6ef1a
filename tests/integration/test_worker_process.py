"""A worker process on real brokers: how it starts, says what it waits for, and ends."""

import re
import signal
import socket
import uuid
from pathlib import Path
from typing import Protocol

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from app_worker import DelaySchedule, WorkerSettings
from app_worker.controller import LEAVE_SECONDS
from app_worker.ending import CLOSE_SECONDS, LINGER_SECONDS
from deploy.local.brokers import Cluster
from kafka_utils import Admin, ProducerConfig, TopicSpec, create_producer
from tests.harness.worker_process import PATIENCE_SECONDS, program_of, running

ROOT = Path(__file__).parents[2]
COMMAND = "make-the-topics --now"
PROGRAM = program_of(
    """
async def handle(record):
    text = record.value.decode()
    print("begin", text, record.attempts, flush=True)
    if text == "slow":
        await asyncio.sleep(2)
    print("end", text, record.attempts, flush=True)
    if text == "park" and not record.attempts:
        return [Park("d", 1, "1s", "why_not")]
    return [Done()]
"""
)


TRACED_PROGRAM = (
    """
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

class Printer(SpanProcessor):
    def on_end(self, span):
        group = span.attributes["messaging.consumer.group.name"]
        print("span", span.name, group, span.attributes.get("error.type"), flush=True)

provider = TracerProvider()
provider.add_span_processor(Printer())
trace.set_tracer_provider(provider)
"""
    + PROGRAM
)


STUBBORN_PROGRAM = program_of(
    """
import time

async def catches_all():
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass

def sits_in_a_thread():
    time.sleep(1000)

async def handle(record):
    text = record.value.decode()
    print("begin", text, flush=True)
    if text == "task":
        await catches_all()
    await asyncio.to_thread(sits_in_a_thread)
"""
)


UNCLOSING_PROGRAM = program_of(
    """
from contextlib import asynccontextmanager

@asynccontextmanager
async def nullcontext(handler):
    yield handler
    await asyncio.Event().wait()

async def handle(record):
    return [Done()]
"""
)


class Brokers(Protocol):
    """What the tests need to know of a cluster."""

    @property
    def bootstrap_servers(self) -> str: ...


@pytest.fixture
def topic() -> str:
    return f"worker.{uuid.uuid4().hex}"


@pytest.fixture
def environ(cluster: Brokers, topic: str) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "KAFKA_GROUP_ID": topic,
        "KAFKA_SESSION_TIMEOUT_MS": "10000",
        "TEST_TOPIC": topic,
    }


async def create_topics(environ: dict[str, str], delays: str = "1s") -> None:
    topic = environ["TEST_TOPIC"]
    names = (topic, *DelaySchedule.parse(topic, delays).topics(), f"{topic}.dead-letter")
    async with Admin(tuple(environ["KAFKA_BOOTSTRAP_SERVERS"].split(","))) as admin:
        await admin.create([TopicSpec(name=name, partitions=2, replication=3) for name in names])


async def send(environ: dict[str, str], *values: str) -> None:
    servers = tuple(environ["KAFKA_BOOTSTRAP_SERVERS"].split(","))
    producer = create_producer(ProducerConfig(bootstrap_servers=servers))
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(environ["TEST_TOPIC"], value.encode())
    finally:
        await producer.stop()


async def uncommitted(environ: dict[str, str], topic: str, group: str) -> int:
    """Records of the topic that the group has not committed."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=environ["KAFKA_BOOTSTRAP_SERVERS"],
        group_id=group,
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(2)]
        ends = await consumer.end_offsets(partitions)
        committed = [await consumer.committed(partition) or 0 for partition in partitions]
    finally:
        await consumer.stop()
    return int(sum(ends.values()) - sum(committed))


async def test_records_are_handled_parked_and_committed(
    environ: dict[str, str], topic: str, tmp_path: Path
) -> None:
    await create_topics(environ)
    await send(environ, "a", "park", "b")
    with running(tmp_path, program=TRACED_PROGRAM, **environ) as worker:
        worker.wait_until(lambda: "end park 1" in worker.printed)
        worker.wait_until(worker.ready)
        metrics = worker.get("/metrics")[1]
        code, seconds = worker.stop()
    assert sorted(line for line in worker.printed if line.startswith("end")) == [
        "end a 0",
        "end b 0",
        "end park 0",
        "end park 1",
    ]
    assert sorted(line for line in worker.printed if line.startswith("span")) == [
        f"span process {topic} {topic} None",
        f"span process {topic} {topic} None",
        f"span process {topic} {topic} why_not",
        f"span process {topic}.retry.1s {topic}.retry None",
    ]
    assert re.search(r'worker_build_info\{assignor="cooperative-sticky",', metrics)
    assert 'worker_parked_total{delay="1s"} 1.0' in metrics
    assert code == 0
    assert seconds < 10
    assert await uncommitted(environ, topic, topic) == 0
    assert await uncommitted(environ, f"{topic}.retry.1s", f"{topic}.retry") == 0
    assert "ResourceWarning" not in worker.messages()


async def test_an_idle_worker_ends_soon_and_takes_its_readiness_file_with_it(
    environ: dict[str, str], tmp_path: Path
) -> None:
    await create_topics(environ)
    ready_file = tmp_path / "ready.3"
    environ |= {"WORKER_READY_DIR": str(tmp_path), "WORKER_PROCESS_INDEX": "3"}
    with running(tmp_path, program=PROGRAM, **environ) as worker:
        worker.wait_until(worker.ready)
        worker.wait_until(ready_file.exists)
        code, seconds = worker.stop()
    assert code == 0
    assert seconds < 5
    assert not ready_file.exists()


async def test_what_is_in_flight_at_sigterm_is_finished_and_committed(
    environ: dict[str, str], topic: str, tmp_path: Path
) -> None:
    await create_topics(environ)
    with running(tmp_path, program=PROGRAM, **environ) as worker:
        worker.wait_until(worker.ready)
        await send(environ, *["slow"] * 10)
        worker.wait_until(lambda: worker.printed.count("begin slow 0") == 10)
        worker.process.send_signal(signal.SIGTERM)
        worker.wait_until(lambda: worker.get("/readyz") == (503, "stopping\n"))
        assert worker.process.wait(PATIENCE_SECONDS) == 0
    assert worker.printed.count("end slow 0") == 10
    assert await uncommitted(environ, topic, topic) == 0


async def test_a_handler_that_cannot_be_ended_does_not_keep_the_process_from_ending(
    environ: dict[str, str], topic: str, tmp_path: Path
) -> None:
    await create_topics(environ)
    environ |= {"WORKER_HANDLER_TIMEOUT_SECONDS": "1", "WORKER_DRAIN_TIMEOUT_SECONDS": "2"}
    with running(tmp_path, program=STUBBORN_PROGRAM, **environ) as worker:
        worker.wait_until(worker.ready)
        await send(environ, "task", "thread")
        worker.wait_until(lambda: {"begin task", "begin thread"} <= set(worker.printed))
        code, seconds = worker.stop()
    assert code == 0
    assert seconds < 2 + LEAVE_SECONDS + LINGER_SECONDS
    left = [one["frames"] for one in worker.log if one["msg"] == "the end does not wait for this"]
    assert any(" catches_all" in frames for frames in left)
    assert any(" sits_in_a_thread" in frames for frames in left)
    assert await uncommitted(environ, topic, topic) >= 1


async def test_a_second_signal_ends_it_at_once(environ: dict[str, str], tmp_path: Path) -> None:
    await create_topics(environ)
    with running(tmp_path, program=PROGRAM, **environ) as worker:
        worker.wait_until(worker.ready)
        await send(environ, "slow")
        worker.wait_until(lambda: "begin slow 0" in worker.printed)
        worker.process.send_signal(signal.SIGTERM)
        worker.wait_until(lambda: worker.get("/readyz")[0] == 503)
        code, seconds = worker.stop()
    assert code == 143
    assert seconds < 1


def test_missing_topics_are_named_with_the_command_until_they_exist(
    environ: dict[str, str], topic: str, tmp_path: Path
) -> None:
    missing = (
        f"missing topics {topic}, {topic}.dead-letter, {topic}.retry.1s; create with: {COMMAND}"
    )
    with running(tmp_path, program=PROGRAM, **environ) as worker:
        worker.wait_until(lambda: missing in worker.messages())
        assert worker.get("/readyz") == (503, missing + "\n")
        assert worker.get("/livez")[0] == 200
        code, seconds = worker.stop()
    assert code == 0
    assert seconds < 3


async def test_it_starts_by_itself_once_the_topics_are_created(
    environ: dict[str, str], tmp_path: Path
) -> None:
    with running(tmp_path, program=PROGRAM, **environ) as worker:
        worker.wait_until(lambda: "missing topics" in worker.messages())
        await create_topics(environ)
        worker.wait_until(worker.ready)
        assert worker.stop()[0] == 0


def test_without_a_broker_it_says_so_keeps_trying_and_ends_at_once(
    environ: dict[str, str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    environ["KAFKA_BOOTSTRAP_SERVERS"] = nobody
    with running(tmp_path, program=PROGRAM, **environ) as worker:
        worker.wait_until(lambda: worker.messages().count("no broker can be reached") >= 2)
        status, reason = worker.get("/readyz")
        assert status == 503
        assert nobody in reason
        assert worker.get("/livez")[0] == 200
        code, seconds = worker.stop()
    assert code == 0
    assert seconds < 2


def test_a_handler_that_is_never_left_does_not_keep_the_process_from_ending(
    environ: dict[str, str], tmp_path: Path
) -> None:
    with running(tmp_path, program=UNCLOSING_PROGRAM, **environ) as worker:
        worker.wait_until(lambda: "missing topics" in worker.messages())
        code, seconds = worker.stop()
    assert code == 0
    assert seconds < CLOSE_SECONDS + 2
    left = [one["frames"] for one in worker.log if one["msg"] == "the end does not wait for this"]
    assert any(" __aexit__" in frames for frames in left)


async def test_brokers_that_are_gone_do_not_keep_it_from_ending_in_order(
    own_cluster: Cluster, topic: str, tmp_path: Path
) -> None:
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": own_cluster.bootstrap_servers,
        "KAFKA_GROUP_ID": topic,
        "TEST_TOPIC": topic,
    }
    await create_topics(environ)
    with running(tmp_path, program=PROGRAM, **environ) as worker:
        await send(environ, "a record")
        worker.wait_until(lambda: any(line.startswith("end") for line in worker.printed))
        for number in range(3):
            own_cluster.kill(number)
        worker.wait_until(lambda: "Failed fetch" in worker.messages())
        code, seconds = worker.stop()
        assert code == 0, worker.messages()
        # A drain, and the time for leaving.
        assert seconds < WorkerSettings().drain_timeout_seconds + LEAVE_SECONDS
        assert worker.log[-1]["msg"] == "stopped"


async def test_of_two_with_one_instance_id_the_first_ends_with_a_sentence_and_code_1(
    environ: dict[str, str], topic: str, tmp_path: Path
) -> None:
    await create_topics(environ)
    environ |= {"KAFKA_GROUP_INSTANCE_ID": "pod"}
    with running(tmp_path, program=PROGRAM, **environ) as first:
        first.wait_until(first.ready)
        with running(tmp_path, program=PROGRAM, **environ) as second:
            assert first.process.wait(PATIENCE_SECONDS) == 1
            second.wait_until(second.ready)
            await send(environ, "a")
            second.wait_until(lambda: "end a 0" in second.printed)
            assert second.stop()[0] == 0
    said = [entry for entry in first.log if entry["level"] == "critical"]
    assert said
    for entry in said:
        assert "another member has joined with group_instance_id 'pod-0'" in entry["msg"]
        assert entry["group"] in (topic, f"{topic}.retry")
    assert [entry for entry in first.log if "frames" in entry] == []


async def test_its_metrics_tell_of_the_group(
    environ: dict[str, str], topic: str, tmp_path: Path
) -> None:
    await create_topics(environ)
    group = f'group="{topic}"'
    owned = f"worker_owned_partitions{{{group}}}"
    with running(tmp_path, program=PROGRAM, **environ) as worker:
        worker.wait_until(lambda: f"{owned} 2.0" in worker.get("/metrics")[1])
        with running(tmp_path, program=PROGRAM, **environ) as other:
            other.wait_until(lambda: f"{owned} 1.0" in other.get("/metrics")[1])
            metrics = worker.get("/metrics")[1]
            assert other.stop()[0] == 0
        worker.wait_until(lambda: f"{owned} 2.0" in worker.get("/metrics")[1])
        assert worker.stop()[0] == 0
    assert f'worker_partition_changes_total{{change="revoked",{group}}} 1.0' in metrics
    assert f'worker_revocations_total{{{group},outcome="done"}} 1.0' in metrics
    assert f'worker_group_generations_total{{{group},reason="first join"}} 1.0' in metrics
    assert re.search(rf"worker_group_generation{{{group}}} [1-9]", metrics)
    assert re.search(rf"worker_coordinator_id{{{group}}} [012]\.0", metrics)
    bad = [entry for entry in worker.log + other.log if entry["level"] not in ("info", "debug")]
    assert not bad


def test_a_port_that_is_taken_ends_it_with_code_2(environ: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with running(
            tmp_path, program=PROGRAM, **environ | {"WORKER_METRICS_PORT": str(port)}
        ) as worker:
            assert worker.process.wait(PATIENCE_SECONDS) == 2
    assert f"WORKER_METRICS_PORT + WORKER_PROCESS_INDEX is {port}" in worker.messages()


def test_wrong_variables_end_it_with_code_2_and_a_line_for_each(
    environ: dict[str, str], tmp_path: Path
) -> None:
    environ |= {"KAFKA_ASSIGNOR": "fair", "WORKER_MAX_IN_FLIGHT": "many", "KAFKA_GROUP_ID": " "}
    with running(tmp_path, program=PROGRAM, **environ) as worker:
        assert worker.process.wait(PATIENCE_SECONDS) == 2
    lines = next(tmp_path.glob("*.err")).read_text().splitlines()
    assert {line.split()[0] for line in lines} == {
        "KAFKA_ASSIGNOR",
        "WORKER_MAX_IN_FLIGHT",
        "KAFKA_GROUP_ID",
    }
    assert len(lines) == 3


async def test_the_example_in_the_readme_runs(
    environ: dict[str, str], topic: str, tmp_path: Path
) -> None:
    readme = (ROOT / "packages" / "app-worker" / "README.md").read_text()
    found = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    # Only the topics' names are others, since tests share the brokers.
    program = found[1].replace('"names', f'"{topic}')
    await create_topics(environ, "5s,1m")
    await send(environ, "Ada")
    with running(tmp_path, program=program, **environ) as worker:
        worker.wait_until(lambda: worker.printed == ["hello b'Ada'"])
        assert worker.stop()[0] == 0
