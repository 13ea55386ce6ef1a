"""A worker outlives its brokers and its session, and goes on by itself; the receiver's ledger.

WITHOUT_BROKERS_SECONDS is how long there is no broker at all. For more than a minute of it:
`WITHOUT_BROKERS_SECONDS=65 make test ARGS=tests/faults/test_worker_recovers.py`.
"""

import asyncio
import os
import re
import signal
from functools import partial
from pathlib import Path

from deploy.local.brokers import Cluster
from tests.conftest import ExistingCluster, Tell
from tests.harness.line_receiver import PROGRAM
from tests.harness.worker_process import Worker, running
from tests.harness.worker_scene import fault, until

WITHOUT_BROKERS_SECONDS = float(os.environ.get("WITHOUT_BROKERS_SECONDS", "5"))
FROZEN_SECONDS = 8.0
"""Longer than the session of 6 s."""


async def test_brokers_that_go_and_come_back_cost_neither_a_record_nor_a_repeat(
    own_cluster: Cluster, tmp_path: Path, tell: Tell
) -> None:
    async with fault(own_cluster.bootstrap_servers) as made:
        receiver = made.receiver
        with running(tmp_path, program=PROGRAM, **made.scene.environ(receiver)) as worker:
            for gone in ([0], [0, 1, 2]):
                await made.send(1_000)
                await until(worker, lambda: receiver.in_hand > 0)
                for number in gone:
                    own_cluster.kill(number)
                await asyncio.sleep(1 if len(gone) == 1 else WITHOUT_BROKERS_SECONDS)
                await asyncio.gather(
                    *(asyncio.to_thread(own_cluster.start_broker, number) for number in gone)
                )
                await made.send(500)
                await made.all_answered(worker)
            code, _ = await asyncio.to_thread(worker.stop)
        ledger = made.ledger()
    tell(ledger)
    assert code == 0
    assert ledger == {"sent": 3_000, "lost": 0, "repeated": 0}


async def test_one_that_was_frozen_past_its_session_comes_back_and_works_again(
    cluster: Cluster | ExistingCluster, tmp_path: Path, tell: Tell
) -> None:
    async with fault(cluster.bootstrap_servers) as made:
        receiver, environ = made.receiver, made.scene.environ(made.receiver)
        owned = rf'worker_owned_partitions{{group="{made.scene.topic}"}} [12]\.0'

        def has_its_share(worker: Worker) -> bool:
            return re.search(owned, worker.get("/metrics")[1]) is not None

        with (
            running(tmp_path, program=PROGRAM, **environ) as frozen,
            running(tmp_path, program=PROGRAM, **environ) as other,
        ):
            for worker in (frozen, other):
                await until(worker, partial(has_its_share, worker))
            await made.send(2_000)
            await until(frozen, lambda: len(receiver.answered) > 500)
            frozen.process.send_signal(signal.SIGSTOP)
            in_hand = receiver.in_hand
            await asyncio.sleep(FROZEN_SECONDS)
            await made.all_answered(other)
            frozen.process.send_signal(signal.SIGCONT)
            await until(frozen, partial(has_its_share, frozen))
            before = len(receiver.deliveries)
            await made.send(200)
            await made.all_answered(other)
            codes = [(await asyncio.to_thread(worker.stop))[0] for worker in (frozen, other)]
        ledger = made.ledger()
    tell(ledger | {"in hand when it froze": in_hand})
    assert codes == [0, 0]
    assert ledger["lost"] == 0
    assert len(receiver.deliveries) - before <= 200 + in_hand
