"""A partition moves at once while a delivery of it is in flight; the receiver's ledger."""

import asyncio
import re
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from app_worker.holds import Holds
from app_worker.offset_map import Scope, encode
from deploy.local.brokers import Cluster
from kafka_utils import TopicSpec
from tests.conftest import ExistingCluster, Tell
from tests.harness.line_receiver import PROGRAM, LineReceiver
from tests.harness.worker_process import Worker, running
from tests.harness.worker_scene import Scene, until

DAYS_MS = str(8 * 86_400_000)
SOON = {"WORKER_HANDLER_TIMEOUT_SECONDS": "3", "WORKER_DRAIN_TIMEOUT_SECONDS": "9"}
"""A record is held for the handler's 3 s and 5 s more at most."""


@dataclass
class Play:
    """A topic with the one of hand-over, a receiver that keeps some deliveries, and workers."""

    scene: Scene
    receiver: LineReceiver
    directory: Path
    sent: int = 0
    slow: list[int] = field(default_factory=list)

    @contextmanager
    def worker(self, **environ: str) -> Iterator[Worker]:
        settings = self.scene.environ(self.receiver) | {"WORKER_HANDOVER": "on"} | environ
        with running(self.directory, program=PROGRAM, **settings) as worker:
            yield worker

    async def ready(self, *workers: Worker, mode: str = 'mode="on",reason=""') -> None:
        """They take part, and have found out how they give partitions up."""
        said = f"worker_handover_mode{{{mode}}} 1.0"

        def is_ready(worker: Worker) -> bool:
            return worker.ready() and said in worker.get("/metrics")[1]

        for worker in workers:
            await until(worker, partial(is_ready, worker))

    def keep(self, number: int) -> None:
        """What is delivered of this is not answered before ``let_go``."""
        self.receiver.gates[number] = asyncio.Event()
        self.slow.append(number)

    def let_go(self) -> None:
        for number in self.slow:
            self.receiver.gates[number].set()

    async def send(self, count: int) -> None:
        await self.scene.produce(count, start=self.sent)
        self.sent += count

    async def others_answered(self, worker: Worker) -> None:
        """All that is sent was delivered, and answered but for what is kept."""
        await until(worker, lambda: self.begun >= set(range(self.sent)))
        wanted = set(range(self.sent)) - {
            number for number in self.slow if not self.receiver.gates[number].is_set()
        }
        await until(worker, lambda: self.receiver.answered >= wanted)

    @property
    def begun(self) -> set[int]:
        return {each.number for each in self.receiver.deliveries}

    def count(self, worker: Worker, name: str, **labels: str) -> float:
        """A metric of a worker for the group that reads the topic."""
        said = ",".join(
            f'{key}="{value}"'
            for key, value in sorted({"group": self.scene.topic, **labels}.items())
        )
        found = re.search(
            rf"(?m)^{re.escape(f'{name}{{{said}}}')} (\S+)$", worker.get("/metrics")[1]
        )
        return float(found[1]) if found else 0.0

    def owned(self, worker: Worker) -> float:
        return self.count(worker, "worker_owned_partitions")

    async def owns(self, worker: Worker, partitions: int) -> None:
        await until(worker, lambda: self.owned(worker) == partitions)

    async def heir(self, *workers: Worker) -> tuple[Worker, Worker]:
        """Which of two got the partition, and the other one."""
        await until(workers[0], lambda: any(self.owned(each) for each in workers))
        first, second = workers
        return (first, second) if self.owned(first) else (second, first)

    async def has_counted(self, worker: Worker, change: str, count: int = 1) -> None:
        def reached() -> bool:
            return self.count(worker, "worker_holds_total", change=change) == count

        await until(worker, reached)

    async def ends(self, worker: Worker) -> int:
        return await asyncio.to_thread(worker.process.wait, 40)

    async def stopped(self, *workers: Worker) -> list[int]:
        return [(await asyncio.to_thread(worker.stop))[0] for worker in workers]

    async def committed(self) -> int | None:
        here = TopicPartition(self.scene.topic, 0)
        async with self.scene.admin() as admin:
            return (await admin.committed_offsets(self.scene.topic, [here]))[here]

    def ledger(self) -> dict[str, int]:
        counts = Counter(each.number for each in self.receiver.deliveries)
        return {
            "sent": self.sent,
            "lost": len(set(range(self.sent)) - self.receiver.answered),
            "repeated": counts.total() - len(counts),
        }


@asynccontextmanager
async def play(
    servers: str, directory: Path, partitions: int = 1, *, with_topic: bool = True
) -> AsyncIterator[Play]:
    scene = Scene(servers, partitions)
    await scene.create()
    if with_topic:
        configs = {"retention.ms": DAYS_MS, "min.insync.replicas": "2"}
        spec = TopicSpec(
            name=f"{scene.topic}.handover", partitions=1, replication=3, configs=configs
        )
        async with scene.admin() as admin:
            await admin.create([spec])
    async with LineReceiver() as receiver:
        yield Play(scene, receiver, directory)


def end(worker: Worker) -> None:
    worker.process.send_signal(signal.SIGTERM)


async def test_a_delivery_outlasts_two_moves_of_its_partition_and_keeps_nothing_waiting(
    cluster: Cluster | ExistingCluster, tmp_path: Path, tell: Tell
) -> None:
    async with play(cluster.bootstrap_servers, tmp_path) as made:
        with made.worker() as first, made.worker() as second, made.worker() as third:
            workers = (first, second, third)
            await made.ready(*workers)
            [owner] = [worker for worker in workers if made.owned(worker)]
            made.keep(5)
            await made.send(20)
            await made.others_answered(owner)
            end(owner)
            heir, last = await made.heir(*(worker for worker in workers if worker is not owner))
            await made.send(20)
            await made.others_answered(heir)
            end(heir)
            assert await made.ends(heir) == 0
            await made.owns(last, 1)
            await made.send(20)
            await made.others_answered(last)
            assert owner.process.poll() is None
            assert await made.committed() == 5
            made.let_go()
            await made.has_counted(last, "settled")
            assert await made.ends(owner) == 0
            assert await made.stopped(last) == [0]
        ledger = made.ledger()
        committed = await made.committed()
    tell(ledger)
    assert ledger == {"sent": 60, "lost": 0, "repeated": 0}
    assert committed == 60


async def test_a_worker_that_gets_its_partition_back_waits_for_its_own_word(
    cluster: Cluster | ExistingCluster, tmp_path: Path, tell: Tell
) -> None:
    async with play(cluster.bootstrap_servers, tmp_path, partitions=2) as made:
        with made.worker() as worker:
            await made.ready(worker)
            made.keep(2)
            made.keep(3)
            await made.send(20)
            await made.others_answered(worker)
            with made.worker() as guest:
                await made.ready(guest)
                await made.owns(guest, 1)
                await made.send(20)
                await made.others_answered(guest)
                assert await made.stopped(guest) == [0]
            await made.owns(worker, 2)
            await made.has_counted(worker, "taken")
            await made.send(20)
            await made.others_answered(worker)
            made.let_go()
            await made.has_counted(worker, "settled")
            assert await made.stopped(worker) == [0]
        ledger = made.ledger()
    tell(ledger)
    assert ledger == {"sent": 60, "lost": 0, "repeated": 0}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_one_that_does_not_finish_what_it_handed_over_has_it_begun_anew_in_time(
    cluster: Cluster | ExistingCluster, tmp_path: Path, tell: Tell, number: signal.Signals
) -> None:
    async with play(cluster.bootstrap_servers, tmp_path) as made:
        with made.worker(**SOON) as former:
            await made.ready(former)
            with made.worker(**SOON) as heir:
                await made.ready(heir)
                made.keep(5)
                await made.send(20)
                await made.others_answered(former)
                end(former)
                await made.owns(heir, 1)
                former.process.send_signal(number)
                await made.has_counted(heir, "expired")
                await until(heir, lambda: made.ledger()["repeated"] == 1)
                if number is signal.SIGSTOP:
                    former.process.send_signal(signal.SIGCONT)
                    assert await made.ends(former) == 0
                made.let_go()
                await made.send(20)
                await made.others_answered(heir)
                assert await made.stopped(heir) == [0]
        ledger = made.ledger()
        committed = await made.committed()
    tell(ledger)
    assert ledger == {"sent": 40, "lost": 0, "repeated": 1}
    assert committed == 40


async def test_one_that_is_killed_while_it_waits_leaves_the_waiting_to_the_next(
    cluster: Cluster | ExistingCluster, tmp_path: Path, tell: Tell
) -> None:
    async with play(cluster.bootstrap_servers, tmp_path) as made:
        with made.worker() as former:
            await made.ready(former)
            with made.worker() as one, made.worker() as another:
                await made.ready(one, another)
                made.keep(5)
                await made.send(20)
                await made.others_answered(former)
                end(former)
                heir, last = await made.heir(one, another)
                await made.has_counted(heir, "taken")
                heir.process.kill()
                made.let_go()
                assert await made.ends(former) == 0
                await made.has_counted(last, "settled")
                await made.send(20)
                await made.others_answered(last)
                assert await made.stopped(last) == [0]
        ledger = made.ledger()
    tell(ledger)
    assert ledger == {"sent": 40, "lost": 0, "repeated": 0}


async def test_without_its_topic_a_partition_is_drained_before_it_goes(
    cluster: Cluster | ExistingCluster, tmp_path: Path, tell: Tell
) -> None:
    async with play(cluster.bootstrap_servers, tmp_path, with_topic=False) as made:
        with made.worker() as former:
            missing = 'mode="off",reason="topic_missing"'
            await made.ready(former, mode=missing)
            with made.worker() as heir:
                await made.ready(heir, mode=missing)
                made.keep(5)
                await made.send(20)
                await made.others_answered(former)
                end(former)
                await until(former, lambda: "stopping" in former.get("/readyz")[1])
                await made.send(20)
                assert former.process.poll() is None
                made.let_go()
                assert await made.ends(former) == 0
                await made.others_answered(heir)
                assert made.count(heir, "worker_holds_total", change="taken") == 0
                assert await made.stopped(heir) == [0]
        ledger = made.ledger()
        async with made.scene.admin() as admin:
            assert f"{made.scene.topic}.handover" not in await admin.list_topics()
    tell(ledger)
    assert ledger == {"sent": 40, "lost": 0, "repeated": 0}


async def test_a_fleet_that_hands_over_in_part_repeats_nothing_either_way(
    cluster: Cluster | ExistingCluster, tmp_path: Path, tell: Tell
) -> None:
    async with play(cluster.bootstrap_servers, tmp_path) as made:
        with made.worker() as former:
            await made.ready(former)
            with made.worker(WORKER_HANDOVER="off") as without:
                await made.ready(without, mode='mode="off",reason="setting"')
                made.keep(5)
                await made.send(20)
                await made.others_answered(former)
                end(former)
                await made.owns(without, 1)
                await made.send(20)
                await made.others_answered(without)
                made.let_go()
                await made.has_counted(without, "settled")
                assert await made.ends(former) == 0
                with made.worker() as heir:
                    await made.ready(heir)
                    made.keep(45)
                    await made.send(20)
                    await made.others_answered(without)
                    end(without)
                    await until(without, lambda: "stopping" in without.get("/readyz")[1])
                    made.let_go()
                    assert await made.ends(without) == 0
                    await made.owns(heir, 1)
                    await made.send(20)
                    await made.others_answered(heir)
                    assert made.count(heir, "worker_holds_total", change="taken") == 0
                    assert await made.stopped(heir) == [0]
        ledger = made.ledger()
    tell(ledger)
    assert ledger == {"sent": 80, "lost": 0, "repeated": 0}


async def test_holds_beside_another_offset_than_theirs_are_those_of_other_records(
    cluster: Cluster | ExistingCluster, tmp_path: Path
) -> None:
    async with play(cluster.bootstrap_servers, tmp_path) as made:
        scene, here = made.scene, TopicPartition(made.scene.topic, 0)
        await made.send(20)
        async with scene.admin() as admin:
            place = Scope(await admin.cluster_id(), scene.topic).place(here)
        held = Holds(uuid.uuid4().int >> 64, 0, 0, 600.0, (4,))
        said = encode(place, 3, [(5, 9)], [held])
        # One that commits by itself may do so at its end, over what was said.
        consumer = AIOKafkaConsumer(
            bootstrap_servers=scene.servers, group_id=scene.topic, enable_auto_commit=False
        )
        async with consumer:
            consumer.assign([here])
            await consumer.commit({here: OffsetAndMetadata(4, said)})
        with made.worker() as worker:
            await until(worker, lambda: made.receiver.answered == set(range(4, 20)))
            assert re.search(
                r'(?m)^worker_offset_maps_ignored_total\{reason="base"\} 1\.0$',
                worker.get("/metrics")[1],
            )
            assert await made.stopped(worker) == [0]
        assert await made.committed() == 20


async def test_words_find_their_way_when_their_partitions_leader_is_killed(
    own_cluster: Cluster, tmp_path: Path, tell: Tell
) -> None:
    async with play(own_cluster.bootstrap_servers, tmp_path) as made:
        words = TopicPartition(f"{made.scene.topic}.handover", 0)
        with made.worker() as former:
            await made.ready(former)
            with made.worker() as heir:
                await made.ready(heir)
                made.keep(5)
                await made.send(20)
                await made.others_answered(former)
                end(former)
                await made.owns(heir, 1)
                async with made.scene.admin() as admin:
                    leaders = (await admin.describe_topics([words.topic])).leader_of_each()
                leader = leaders[words]
                assert leader is not None
                own_cluster.kill(leader - 1)
                made.let_go()
                await made.has_counted(heir, "settled")
                assert await made.ends(former) == 0
                await made.send(20)
                await made.others_answered(heir)
                assert await made.stopped(heir) == [0]
        ledger = made.ledger()
    tell(ledger)
    assert ledger == {"sent": 40, "lost": 0, "repeated": 0}
