"""Plays the steps that were asked for under load, and draws up the account of what was played."""

import asyncio
import signal
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
from deploy.demo.stage import PARTITIONS
from deploy.drill.account import Account, Figures
from deploy.drill.fleet import Fleet, FleetError
from deploy.drill.notes import NoteTail
from deploy.drill.settings import DrillSettings
from deploy.drill.stage import CUSTOMERS, TOPIC, bad_release_of, place_pods
from deploy.drill.steps import OLD, Played, Scene, play
from deploy.drill.timeline import drawn
from deploy.drill.traffic import Traffic
from deploy.local.brokers import Cluster
from deploy.local.guard import Guard, kill_sessions
from kafka_utils import create_producer

SETTLE_SECONDS = 120.0
"""The most that the last events may take to arrive."""


@dataclass(frozen=True, slots=True)
class Ground:
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


@dataclass(frozen=True, slots=True)
class Told:
    """What came of it."""

    rows: list[tuple[Played, Figures]]
    lost: int
    cut_short: str
    """Why the rest was not played; empty if all was."""
    signal: int
    """Which signal asked for the end; 0 if none did. What is in flight then counts as lost."""
    picture: str


async def played_through(ground: Ground) -> Told:
    """Play all steps, or as many as can be, or until SIGINT or SIGTERM."""
    task, asked = asyncio.current_task(), list[int]()
    assert task is not None  # noqa: S101 - a coroutine is run by one

    def interrupt(number: int) -> None:
        asked.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt, number)
    tail, say = NoteTail(ground.ledger), _Telling()
    played: list[Played] = []
    owned: list[tuple[int, Mapping[int, str]]] = []
    marks: list[tuple[int, str]] = []
    cut_short = ""
    producer = create_producer(ground.kafka.producer_config())
    async with ClusterView(ground.kafka, TOPIC) as view:
        await producer.start()
        traffic = Traffic(producer, TOPIC, PARTITIONS, CUSTOMERS)
        try:
            for membership in ground.settings.memberships:
                fleet = _fleet(ground, membership, view, owned)
                scene = _scene(ground, fleet, marks, say, partial(_until_arrived, traffic, tail))
                scene.mark(f"a fleet of {membership} members")
                async with _watched(fleet):
                    await _go_through(scene, traffic, tail, membership, played)
        except (FleetError, PodError, KafkaError) as error:
            cut_short = str(error) or repr(error)
        except asyncio.CancelledError:
            if not asked:
                raise
            task.uncancel()
            cut_short = f"stopped by {signal.Signals(asked[0]).name}"
        finally:
            await producer.stop()
    tail.read_new()
    account = Account(traffic.sent, tail.seen)
    if traffic.refused:
        say(f"{traffic.refused} events were not acknowledged; nothing was promised for them")
    crashes = {
        membership: [c for each in played if each.membership == membership for c in each.crashes]
        for membership in ground.settings.memberships
    }
    rows = [
        (
            each,
            account.figures(
                each.window, each.untouched, crashes[each.membership], each.led_anew_ns
            ),
        )
        for each in played
    ]
    picture = drawn(owned, account.deliveries_by_second(), marks, PARTITIONS)
    return Told(rows, account.lost, cut_short, asked[0] if asked else 0, picture)


async def _go_through(
    scene: Scene, traffic: Traffic, tail: NoteTail, membership: str, played: list[Played]
) -> None:
    for part in _parts(scene.settings.steps):
        try:
            await _play_part(part, scene, traffic, membership, played)
        except (FleetError, PodError, KafkaError):
            # The account of what was played is drawn up all the same.
            await _until_answered(traffic, tail)
            raise
        await _until_answered(traffic, tail)
        await scene.fleet.stop()
        await scene.fleet.until_gone()


def _fleet(
    ground: Ground,
    membership: str,
    view: ClusterView,
    owned: list[tuple[int, Mapping[int, str]]],
) -> Fleet:
    pods = place_pods(ground.settings, membership, ground.guard, ground.logs, ground.environment)
    return Fleet(pods, ground.settings.processes, view, TOPIC, PARTITIONS, owned)


def _scene(
    ground: Ground,
    fleet: Fleet,
    marks: list[tuple[int, str]],
    say: Callable[[str], object],
    caught_up: Callable[[], Awaitable[None]],
) -> Scene:
    return Scene(
        settings=ground.settings,
        fleet=fleet,
        cluster=ground.cluster,
        admin=ground.kafka.admin,
        group_id=ground.kafka.group_id,
        say=say,
        broken_pod=lambda pod: bad_release_of(
            pod, ground.settings, ground.guard, ground.logs, ground.environment
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
