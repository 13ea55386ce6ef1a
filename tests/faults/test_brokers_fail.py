"""Brokers fail in the midst of what a worker asks of them; the receiver's ledger."""

import asyncio
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from app_worker.offset_map import Scope, decode
from deploy.local.brokers import Cluster
from tests.conftest import VERSION, Tell
from tests.conftest import running as running_cluster
from tests.harness.line_receiver import PARKING_PROGRAM, is_parked
from tests.harness.worker_process import Worker, running
from tests.harness.worker_scene import PARTITIONS, Scene, fault, until

pytestmark = pytest.mark.timeout(300)  # Brokers that start again on a busy machine take long.


@pytest.fixture(scope="module")
def mortal_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three brokers that are started again after they were killed, and soon given up as dead."""
    directory = tmp_path_factory.mktemp("mortal") / "kafka"
    yield from running_cluster(Cluster(VERSION, directory=directory, broker_session_ms=3_000))


def metric(worker: Worker, name: str) -> float:
    """The sum of a metric's series."""
    found = re.findall(
        rf"^worker_{name}(?:{{.*}})? (\S+)$", worker.get("/metrics")[1], re.MULTILINE
    )
    return sum(map(float, found))


async def restart(cluster: Cluster, scene: Scene, number: int) -> None:
    """Return when it has caught up: only then may another one die."""
    await asyncio.to_thread(cluster.start_broker, number)
    async with scene.admin() as admin, asyncio.timeout(120):
        while (await admin.describe_topics()).under_replicated:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def complete_by_its_commits(scene: Scene) -> set[int]:
    """The numbers that a crash would not repeat: below the committed offsets, or in their maps."""
    async with scene.admin() as admin:
        place = Scope(await admin.cluster_id(), scene.topic).place
    client = AIOKafkaAdminClient(bootstrap_servers=scene.servers)
    try:
        await client.start()
        committed = await client.list_consumer_group_offsets(scene.topic)
    finally:
        await client.close()
    numbers: set[int] = set()
    for here, (offset, metadata) in committed.items():
        for first, end in [(0, offset), *decode(metadata, place(here), offset).done]:
            numbers |= {each * PARTITIONS + here.partition for each in range(first, end)}
    return numbers


async def test_while_too_few_replicas_take_what_is_parked_nothing_is_committed_on_a_promise(
    mortal_cluster: Cluster, tmp_path: Path, tell: Tell
) -> None:
    # Both replicas have to be in sync. The offsets have three, and two are enough for a commit: all
    # that keeps a record from being committed is that it is not parked.
    servers = mortal_cluster.bootstrap_servers
    async with fault(servers, parks=True, delay_partitions=1, delay_replicas=2) as made:
        scene, receiver = made.scene, made.receiver
        with running(tmp_path, program=PARKING_PROGRAM, **scene.environ(receiver)) as worker:
            await made.send(30)
            await made.all_answered(worker)
            async with scene.admin() as admin:
                described = await admin.describe_topics([scene.delay_topic])
            gone = described.topics[scene.delay_topic].partitions[0].replicas[1]
            mortal_cluster.kill(gone)
            await made.send(60)
            finished = {each for each in range(made.sent) if each < 30 or not is_parked(each)}
            waiting = set(range(made.sent)) - finished
            await until(worker, lambda: waiting <= receiver.answered)
            await until(worker, lambda: metric(worker, "parking_failures_total") > 0)
            complete: set[int] = set()
            async with asyncio.timeout(30):
                while not finished <= complete:
                    await asyncio.sleep(0.2)
                    complete = await complete_by_its_commits(scene)
            assert complete == finished
            assert metric(worker, "in_flight") == len(waiting)
            await asyncio.gather(restart(mortal_cluster, scene, gone), made.all_answered(worker))
            code, _ = await asyncio.to_thread(worker.stop)
        ledger = made.ledger()
    tell(ledger | {"open while too few replicas were in sync": len(waiting)})
    assert code == 0
    assert ledger == {"sent": 90, "lost": 0, "repeated": 0}


async def test_a_coordinator_that_dies_at_any_step_costs_no_record(
    mortal_cluster: Cluster, tmp_path: Path, tell: Tell
) -> None:
    async with fault(mortal_cluster.bootstrap_servers, parks=True) as made:
        scene, receiver = made.scene, made.receiver
        # Who is frozen has to stay a member until the other one has joined.
        environ = scene.environ(receiver) | {"KAFKA_SESSION_TIMEOUT_MS": "30000"}

        async def coordinator(state: str) -> int:
            async with scene.admin() as admin, asyncio.timeout(30):
                group = await admin.describe_group(scene.topic)
                while group.state != state:
                    await asyncio.sleep(0.05)
                    group = await admin.describe_group(scene.topic)
            return group.coordinator.node_id

        with running(tmp_path, program=PARKING_PROGRAM, **environ) as first:
            await made.send(300)
            await until(first, lambda: len(receiver.answered) > 100)
            # A member that does not move keeps the other one waiting in its join.
            first.process.send_signal(signal.SIGSTOP)
            with running(tmp_path, program=PARKING_PROGRAM, **environ) as second:
                gone = await coordinator("PreparingRebalance")
                mortal_cluster.kill(gone)
                first.process.send_signal(signal.SIGCONT)
                await asyncio.gather(
                    restart(mortal_cluster, scene, gone), made.all_answered(second)
                )
                joining = made.ledger()

                # What both fetch, park and commit comes from and goes to each broker. This one is
                # silent first, so that all of it is under way when it dies.
                gone = await coordinator("Stable")
                await made.send(600)
                await until(first, lambda: len(receiver.answered) > made.sent - 500)
                mortal_cluster.pause(gone)
                await asyncio.sleep(2)
                parking = metric(first, "in_flight") + metric(second, "in_flight")
                mortal_cluster.kill(gone)
                await made.send(60)
                await asyncio.gather(
                    restart(mortal_cluster, scene, gone), made.all_answered(second)
                )
                codes = [(await asyncio.to_thread(each.stop))[0] for each in (first, second)]
        ledger = made.ledger()
    tell({"died while one joined": joining, "died in the midst of work": ledger, "open": parking})
    assert codes == [0, 0]
    assert parking > 0
    assert joining["lost"] == ledger["lost"] == 0
