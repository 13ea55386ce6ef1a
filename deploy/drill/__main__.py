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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aiokafka.errors import KafkaError

from app_worker.environment import load
from app_worker.settings import KafkaSettings
from deploy.demo.observe import ClusterView
from deploy.demo.pods import PodError
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
        except (BrokersUnavailable, StageError, KafkaError) as error:
            shutil.copytree(directory / "logs", kept, dirs_exist_ok=True)
            print(f"The drill could not be begun: {error}\nThe logs are in {kept}")
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
        print(
            f"Kafka {cluster.version}, {settings.pods} pods x {settings.processes} workers, "
            f"{' and '.join(settings.memberships)} members, {settings.rate} events/s, "
            f"1 % of which take {LONG_SECONDS:g} s"
        )
        stage = _Stage(settings, guard, logs, environment, cluster, ledger)
        told = asyncio.run(_play(stage, kept))
    broken = broken_promises(told.rows, told.lost)
    print("\n".join(["", *table(told.rows), ""]))
    if told.cut_short:
        broken.append(f"The drill could not be played to its end: {told.cut_short}")
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
    ledger: Path

    @property
    def kafka(self) -> KafkaSettings:
        """As the workers read them."""
        return load(KafkaSettings, self.environment)


@dataclass(slots=True)
class _Told:
    """What came of it."""

    rows: list[tuple[Played, Figures]]
    lost: int
    cut_short: str
    """Why the rest was not played; empty if all was."""


async def _play(stage: _Stage, kept: Path) -> _Told:
    kafka, tail, say = stage.kafka, NoteTail(stage.ledger), _Telling()
    played: list[Played] = []
    owned: list[tuple[int, Mapping[int, str]]] = []
    marks: list[tuple[int, str]] = []
    cut_short = ""
    producer = create_producer(kafka.producer_config())
    async with ClusterView(kafka, TOPIC) as view:
        await producer.start()
        traffic = Traffic(producer, TOPIC, PARTITIONS, CUSTOMERS)
        try:
            for membership in stage.settings.memberships:
                pods = place_pods(
                    stage.settings, membership, stage.guard, stage.logs, stage.environment
                )
                fleet = Fleet(pods, stage.settings.processes, view, TOPIC, PARTITIONS, owned)
                scene = _scene(stage, fleet, marks, say, partial(_until_arrived, traffic, tail))
                async with _watched(fleet):
                    for part in _parts(stage.settings.steps):
                        try:
                            await _play_part(part, scene, traffic, membership, played)
                        except (FleetError, PodError, KafkaError):
                            # The account of what was played is drawn up all the same.
                            await _until_answered(traffic, tail)
                            raise
                        await _until_answered(traffic, tail)
                        await fleet.stop()
                        await fleet.until_gone()
        except (FleetError, PodError, KafkaError) as error:
            cut_short = str(error) or repr(error)
        finally:
            await producer.stop()
    tail.read_new()
    account = Account(traffic.sent, tail.seen)
    picture = drawn(owned, account.deliveries_by_second(), marks, PARTITIONS)
    (kept / "timeline.svg").write_text(picture)
    if traffic.refused:
        say(f"{traffic.refused} events were not acknowledged; nothing was promised for them")
    rows = [
        (each, account.figures(each.window, each.untouched, each.crashes, each.led_anew_ns))
        for each in played
    ]
    return _Told(rows, account.lost, cut_short)


def _scene(
    stage: _Stage,
    fleet: Fleet,
    marks: list[tuple[int, str]],
    say: Callable[[str], object],
    caught_up: Callable[[], Awaitable[None]],
) -> Scene:
    return Scene(
        settings=stage.settings,
        fleet=fleet,
        cluster=stage.cluster,
        admin=stage.kafka.admin,
        group_id=stage.kafka.group_id,
        say=say,
        broken_pod=lambda pod: bad_release_of(
            pod, stage.settings, stage.guard, stage.logs, stage.environment
        ),
        caught_up=caught_up,
        marks=marks,
    )


@asynccontextmanager
async def _watched(fleet: Fleet) -> AsyncIterator[None]:
    """Who owns what is noted meanwhile; whatever happens, no pod of the fleet runs on."""
    watching = asyncio.create_task(fleet.watch())
    try:
        yield
    finally:
        watching.cancel()
        kill_sessions([pod.session for pod in fleet.pods if pod.running])
        with suppress(asyncio.CancelledError):
            await watching


def _parts(steps: Sequence[str]) -> list[tuple[str, ...]]:
    """Steps that one fleet goes through: the switch of assignors begins with another one."""
    usual = tuple(step for step in steps if step != "assignor")
    return [part for part in (usual, ("assignor",) if "assignor" in steps else ()) if part]


async def _play_part(
    part: Sequence[str], scene: Scene, traffic: Traffic, membership: str, played: list[Played]
) -> None:
    """Add what was played, so that it counts even if the rest cannot be."""
    if "cold-start" not in part:
        assignor = {"KAFKA_ASSIGNOR": OLD} if part == ("assignor",) else {}
        scene.say(f"all workers are ready after {await scene.fleet.start(**assignor):.1f} s")
    enough = asyncio.Event()
    sending = asyncio.create_task(traffic.run(scene.settings.rate, enough))
    try:
        for name in part:
            played.append(await play(name, scene, membership))
    finally:
        enough.set()
        await sending


async def _until_answered(traffic: Traffic, tail: NoteTail) -> None:
    """Wait for what was sent, but not for ever: what is missing is lost."""
    give_up = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < give_up:
        tail.read_new()
        if tail.answered.issuperset(each.number for each in traffic.sent):
            return
        await asyncio.sleep(1)


async def _until_arrived(traffic: Traffic, tail: NoteTail) -> None:
    """Wait until all that is sent by now has arrived at least. Raises FleetError."""
    give_up = time.monotonic() + SETTLE_SECONDS
    due = [each.number for each in traffic.sent]
    while not tail.arrived.issuperset(due):
        if time.monotonic() > give_up:
            raise FleetError(f"a backlog was not delivered within {SETTLE_SECONDS:.0f} s")
        await asyncio.sleep(0.5)
        tail.read_new()


class _Telling:
    """Prints a line with its time."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
