"""A worker is killed, stopped, or relieved in the midst of its work; the receiver's ledger."""

import asyncio
import re
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from deploy.local.brokers import Cluster
from tests.conftest import ExistingCluster, Tell
from tests.harness.line_receiver import PROGRAM, LineReceiver
from tests.harness.worker_process import running
from tests.harness.worker_scene import IN_FLIGHT, PARTITIONS, Scene, until

COMMIT_SECONDS = 1.0
"""What a worker may complete without having committed it."""
SLACK_SECONDS = 1.0
"""For a commit to be sent and answered on a busy machine."""


@pytest.fixture
async def scene(cluster: Cluster | ExistingCluster) -> Scene:
    made = Scene(cluster.bootstrap_servers)
    await made.create()
    return made


def has_answered(receiver: LineReceiver, enough: int) -> bool:
    return len(receiver.answered) >= enough


async def test_a_kill_repeats_what_was_in_flight_or_not_yet_committed_behind_a_stuck_head(
    scene: Scene, tmp_path: Path, tell: Tell
) -> None:
    total, until_killed = 6_000, 4_000
    heads = range(PARTITIONS)
    async with LineReceiver(lambda number: None if number in heads else 0.1) as receiver:
        await scene.produce(total)
        environ = scene.environ(receiver)
        with running(tmp_path, program=PROGRAM, **environ) as worker:
            await until(worker, partial(has_answered, receiver, until_killed))
            held = set(heads)
            receiver.hold = held.add
            await until(worker, lambda: len(held) == IN_FLIGHT)
            worker.process.kill()
            killed = time.monotonic()
            worker.process.wait()
        first, receiver.deliveries = receiver.deliveries, []
        receiver.hold = lambda _: 0.0
        done = {each.number: each.answered for each in first if each.answered is not None}
        with running(tmp_path, program=PROGRAM, **environ) as worker:
            await until(worker, lambda: len(done.keys() | receiver.answered) == total)
            again = worker.get("/metrics")[1]
            code, _ = await asyncio.to_thread(worker.stop)
        repeated = [done[one.number] for one in receiver.deliveries if one.number in done]
        ledger = {
            "sent": total,
            "lost": total - len(done.keys() | receiver.answered),
            "answered before the kill": len(done),
            "in flight": len(first) - len(done),
            "repeated of what was answered": len(repeated),
            "oldest of these, seconds before the kill": round(
                max((killed - answered for answered in repeated), default=0.0), 2
            ),
        }
    tell(ledger)
    assert code == 0
    assert ledger["lost"] == 0
    assert ledger["in flight"] == IN_FLIGHT
    assert not done.keys() & set(heads), "the heads are to be open all the time"
    assert all(killed - each < COMMIT_SECONDS + SLACK_SECONDS for each in repeated)
    spared = re.search(r"^worker_records_complete_before_total (\S+)$", again, re.MULTILINE)
    assert spared
    assert float(spared[1]) >= len(done) - len(repeated)


async def test_a_stop_under_load_loses_and_repeats_nothing(
    scene: Scene, tmp_path: Path, tell: Tell
) -> None:
    total = 4_000
    async with LineReceiver(lambda number: 2.0 if number % 50 == 0 else 0.05) as receiver:
        await scene.produce(total)
        environ = scene.environ(receiver)
        codes = []
        for enough in (500, 1_500, total):
            with running(tmp_path, program=PROGRAM, **environ) as worker:
                await until(worker, partial(has_answered, receiver, enough))
                code, _ = await asyncio.to_thread(worker.stop)
                codes.append(code)
        counts = Counter(each.number for each in receiver.deliveries)
        ledger = {
            "sent": total,
            "lost": total - len(receiver.answered),
            "repeated": counts.total() - len(counts),
            "exit codes": codes,
        }
    tell(ledger)
    assert ledger == {"sent": total, "lost": 0, "repeated": 0, "exit codes": [0, 0, 0]}


async def test_what_is_revoked_in_the_midst_of_slow_work_is_neither_lost_nor_repeated(
    scene: Scene, tmp_path: Path, tell: Tell
) -> None:
    total = 2_000
    async with LineReceiver(lambda number: 1.5 if number % 40 == 0 else 0.05) as receiver:
        await scene.produce(total)
        environ = scene.environ(receiver)
        revoked = f'worker_rebalances_total{{event="revoked",group="{scene.topic}"}} 1.0'
        with running(tmp_path, program=PROGRAM, **environ) as first:
            await until(first, partial(has_answered, receiver, 300))
            with running(tmp_path, program=PROGRAM, **environ) as second:
                await until(second, lambda: revoked in first.get("/metrics")[1])
                in_work = receiver.in_hand
                await until(second, partial(has_answered, receiver, 1_500))
                codes = [(await asyncio.to_thread(second.stop))[0]]
            await until(first, partial(has_answered, receiver, total))
            codes.append((await asyncio.to_thread(first.stop))[0])
        counts = Counter(each.number for each in receiver.deliveries)
        ledger = {
            "sent": total,
            "lost": total - len(receiver.answered),
            "repeated": counts.total() - len(counts),
            "exit codes": codes,
        }
    tell(ledger | {"in work when some were revoked": in_work})
    assert in_work > 0
    assert ledger == {"sent": total, "lost": 0, "repeated": 0, "exit codes": [0, 0]}
