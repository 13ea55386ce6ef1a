"""`make drill`: what a fleet goes through in its life, on real brokers, with a ledger.

It leaves nothing running; the picture and, if a promise did not hold, the logs are kept.
"""

import asyncio
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiokafka.errors import KafkaError

from app_worker.environment import load
from app_worker.settings import KafkaSettings
from deploy.demo.observe import ClusterView
from deploy.demo.pods import Pod, PodError
from deploy.demo.stage import PARTITIONS, StageError, create_topics
from deploy.drill.account import Account, Figures
from deploy.drill.fleet import Fleet, FleetError
from deploy.drill.notes import NoteTail
from deploy.drill.report import broken_promises, table
from deploy.drill.settings import DrillSettings, DrillSettingsError
from deploy.drill.stage import (
    CUSTOMERS,
    TOPIC,
    bad_release_of,
    place_pods,
    start_customers,
    workers_environment,
    write_endpoints,
)
from deploy.drill.steps import OLD, Played, Scene, play
from deploy.drill.timeline import drawn
from deploy.drill.traffic import Traffic
from deploy.local.brokers import DEFAULT_VERSION, BrokersUnavailable, Cluster
from deploy.local.guard import Guard, kill_sessions
from deploy.local.scratch import roomy_memory
from kafka_utils import create_producer

LONG_SECONDS = 8.0
SETTLE_SECONDS = 120.0
"""The most that the last events may take to arrive."""


def main() -> int:
    """Play the drill; 0: every promise held, 1: one did not, 2: wrong settings."""
    try:
        settings = DrillSettings.from_environment(os.environ)
    except DrillSettingsError as error:
        print(error, file=sys.stderr)
        return 2
    kept = Path(tempfile.mkdtemp(prefix="webhook-drill-"))
    logging.basicConfig(filename=kept / "drill.log", level=logging.WARNING)
    with Guard() as guard:
        directory = Path(tempfile.mkdtemp(prefix="webhook-drill-", dir=roomy_memory()))
        guard.remove(directory)
        try:
            return _drill(settings, guard, directory, kept)
        except (BrokersUnavailable, StageError, FleetError, PodError, KafkaError) as error:
            shutil.copytree(directory / "logs", kept, dirs_exist_ok=True)
            print(f"The drill could not be played to its end: {error}\nThe logs are in {kept}")
            return 1


def _drill(settings: DrillSettings, guard: Guard, directory: Path, kept: Path) -> int:
    logs = directory / "logs"
    logs.mkdir()
    cluster = Cluster(
        settings.kafka_version or DEFAULT_VERSION,
        directory=directory / "brokers",
        # Kafka's own defaults, because rebalances are judged.
        offsets_partitions=50,
        rebalance_delay_ms=3_000,
        guard=guard,
    )
    with cluster:
        environment = workers_environment(cluster.bootstrap_servers, directory)
        ledger = directory / "ledger"
        write_endpoints(directory, start_customers(guard, logs, ledger, LONG_SECONDS))
        create_topics(environment, ["--partitions", str(PARTITIONS)])
        pods = place_pods(settings, guard, logs, environment)
        print(
            f"Kafka {cluster.version}, {settings.pods} pods x {settings.processes} workers, "
            f"{'static' if settings.static else 'dynamic'} members, {settings.rate} events/s, "
            f"1 % of which take {LONG_SECONDS:g} s"
        )
        stage = _Stage(settings, guard, logs, environment, cluster, pods)
        try:
            rows, lost = asyncio.run(_play(stage, ledger, kept))
        finally:
            kill_sessions([pod.session for pod in pods if pod.running])
    broken = broken_promises(rows, lost)
    print("\n".join(["", *table(rows), ""]))
    print("\n".join(broken) if broken else "Every promise held.")
    if broken:
        shutil.copytree(logs, kept, dirs_exist_ok=True)
    print(f"The picture is {kept / 'timeline.svg'}")
    return 1 if broken else 0


@dataclass(frozen=True, slots=True)
class _Stage:
    """What the play acts upon, before there is an event loop."""

    settings: DrillSettings
    guard: Guard
    logs: Path
    environment: dict[str, str]
    cluster: Cluster
    pods: list[Pod]

    @property
    def kafka(self) -> KafkaSettings:
        """As the workers read them."""
        return load(KafkaSettings, self.environment)

    def scene(self) -> Scene:
        """What the steps act upon."""
        settings = self.settings
        view = ClusterView(self.kafka, TOPIC)
        return Scene(
            settings=settings,
            fleet=Fleet(self.pods, settings.processes, view, TOPIC, PARTITIONS),
            cluster=self.cluster,
            admin=self.kafka.admin,
            group_id=self.kafka.group_id,
            say=_Telling(),
            broken_pod=lambda pod: bad_release_of(
                pod, settings, self.guard, self.logs, self.environment
            ),
        )


async def _play(
    stage: _Stage, ledger: Path, kept: Path
) -> tuple[list[tuple[Played, Figures]], int]:
    scene = stage.scene()
    fleet, tail = scene.fleet, NoteTail(ledger)
    async with fleet.view:
        producer = create_producer(stage.kafka.producer_config())
        await producer.start()
        watching = asyncio.create_task(fleet.watch())
        traffic = Traffic(producer, TOPIC, PARTITIONS, CUSTOMERS)
        played: list[Played] = []
        try:
            for part in _parts(scene.settings.steps):
                assignor = {"KAFKA_ASSIGNOR": OLD} if part == ("assignor",) else {}
                scene.say(f"all workers are ready after {await fleet.start(**assignor):.1f} s")
                played += await _under_load(part, scene, traffic)
                await _until_arrived(traffic, tail)
                await fleet.stop()
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await producer.stop()
    account = Account(traffic.sent, tail.seen)
    picture = drawn(fleet.owned, account.deliveries_by_second(), scene.marks, PARTITIONS)
    (kept / "timeline.svg").write_text(picture)
    if traffic.refused:
        scene.say(f"{traffic.refused} events were not acknowledged; nothing was promised for them")
    rows = [
        (each, account.figures(each.window, each.untouched, each.crashes_ns)) for each in played
    ]
    return rows, account.lost


def _parts(steps: Sequence[str]) -> list[tuple[str, ...]]:
    """Steps that one fleet goes through: the switch of assignors begins with another one."""
    usual = tuple(step for step in steps if step != "assignor")
    return [part for part in (usual, ("assignor",) if "assignor" in steps else ()) if part]


async def _under_load(part: Sequence[str], scene: Scene, traffic: Traffic) -> list[Played]:
    enough = asyncio.Event()
    sending = asyncio.create_task(traffic.run(scene.settings.rate, enough))
    try:
        return [await play(name, scene) for name in part]
    finally:
        enough.set()
        await sending


async def _until_arrived(traffic: Traffic, tail: NoteTail) -> None:
    """Wait for what was sent, but not for ever: what is missing is lost."""
    give_up = time.monotonic() + SETTLE_SECONDS
    wanted = {each.number for each in traffic.sent}
    while time.monotonic() < give_up:
        tail.read_new()
        if wanted <= {note.number for note in tail.seen}:
            return
        await asyncio.sleep(1)


class _Telling:
    """Prints a line with its time."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
