"""One fleet goes through the plan: traffic, a pod that dies, a pod that is slow."""

import asyncio
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka.errors import KafkaError

from app_worker.environment import load
from app_worker.settings import KafkaSettings
from benchmarks.fleet.ground import Ground, until
from benchmarks.fleet.launcher import Launched
from benchmarks.processes import ended
from benchmarks.rebalance.fleet import FleetError
from benchmarks.rebalance.ownership import Group
from benchmarks.story.account import Parts, figures
from benchmarks.story.fleets import Cast, Start
from benchmarks.story.picture import Timeline
from benchmarks.story.plan import LONG_SECONDS, PARTITIONS, Plan
from benchmarks.tables import say
from deploy.demo.observe import ClusterView, Ownership
from deploy.drill.notes import NoteTail
from deploy.drill.stage import CUSTOMERS, start_customers, write_endpoints
from deploy.drill.traffic import Traffic
from kafka_utils import create_producer

WHOLE_SECONDS = 150.0
"""How long a fleet may take to come together; one that does not is played all the same."""
WATCH_SECONDS = 0.5


class Pods:
    """The processes of a fleet, by the pod that they die with."""

    def __init__(self, ground: Ground, directory: Path, cast: Cast, start: Start) -> None:
        self._ground = ground
        self._directory = directory
        self._cast = cast
        self._start = start
        self._running: dict[str, Launched] = {}
        self._starts = 0
        self.names = [f"pod-{number:02}" for number in range(cast.plan.pods)]

    def start(self, name: str) -> None:
        """All its processes. Raises FleetError."""
        self._starts += 1
        plan = self._cast.plan
        programs = [self._start(self._cast, name, number) for number in range(plan.processes)]
        environ = self._ground.environ() | {"WEBHOOK_ENDPOINTS": str(self._directory / ENDPOINTS)}
        place = self._directory / f"{name}-{self._starts}"
        self._running[name] = Launched.start(self._ground.guard, place, programs, environ)

    def start_all(self) -> None:
        """One after the other, at once."""
        for name in self.names:
            self.start(name)

    def kill(self, name: str) -> None:
        """As a node dies."""
        self._running.pop(name).kill()

    def signal(self, name: str, number: signal.Signals) -> None:
        """To all its processes."""
        self._running[name].signal(number)

    def check(self) -> None:
        """Raises FleetError if a process has ended by itself."""
        for launched in self._running.values():
            launched.check()

    @property
    def died(self) -> int:
        """Processes that have ended by themselves."""
        return sum(len(ended(launched.pids)) for launched in self._running.values())

    def close(self) -> None:
        """End what runs, at once."""
        for name in list(self._running):
            self.kill(name)


ENDPOINTS = "endpoints.json"


@dataclass(slots=True)
class Watched:
    """What was seen of the group meanwhile."""

    eager: bool
    owned: list[tuple[int, Mapping[int, str]]] = field(default_factory=list)
    unstable_seconds: float = 0.0

    async def watch(self, view: ClusterView, names: list[str]) -> None:
        """Note it, until cancelled."""
        last = Ownership("", frozenset(), {})
        while True:
            with suppress(KafkaError):
                now = await view.ownership()
                if now.state != "Stable":
                    self.unstable_seconds += WATCH_SECONDS
                    # Eager members give up everything before a plan is made.
                    now = now if self.eager else now.or_last_known(last)
                owners = {p: name for name in names for p in now.of_pod(name)}
                self.owned.append((time.time_ns(), owners))
                last = now
            await asyncio.sleep(WATCH_SECONDS)


@dataclass(frozen=True, slots=True)
class Told:
    """Of one fleet."""

    figures: Mapping[str, float | None]
    timeline: Timeline


def perform(ground: Ground, name: str, start: Start, plan: Plan, *, eager: bool) -> Told:
    """Raises FleetError, StageError."""
    directory = ground.directory / name
    directory.mkdir()
    ledger = directory / "ledger"
    long_seconds = plan.seconds(LONG_SECONDS)
    port = start_customers(ground.guard, directory, ledger, long_seconds)
    write_endpoints(directory, port)
    ground.prepare(name, PARTITIONS)
    cast = Cast(ground.servers, name, f"{name}-group", port, plan)
    pods = Pods(ground, directory, cast, start)
    try:
        return asyncio.run(_play(ground, cast, pods, NoteTail(ledger), Watched(eager)))
    finally:
        pods.close()
        ground.remove(name)


async def _play(ground: Ground, cast: Cast, pods: Pods, tail: NoteTail, watched: Watched) -> Told:
    environ = ground.environ() | {"KAFKA_GROUP_ID": cast.group}
    kafka = load(KafkaSettings, environ)
    took = await _come_together(cast, pods)
    producer = create_producer(kafka.producer_config())
    await producer.start()
    traffic = Traffic(producer, cast.topic, PARTITIONS, CUSTOMERS)
    enough = asyncio.Event()
    async with ClusterView(kafka, cast.topic) as view:
        watching = asyncio.create_task(watched.watch(view, pods.names))
        sending = asyncio.create_task(traffic.run(cast.plan.rate, enough))
        try:
            marks, parts = await _disturb(cast.plan, pods)
            enough.set()
            await sending
            unstable = watched.unstable_seconds
            await _until_answered(traffic, tail, cast.plan.rest)
        finally:
            enough.set()
            watching.cancel()
            await asyncio.wait([watching, sending])
            await producer.stop()
    tail.read_new()
    found = figures(traffic.sent, tail.seen, parts, cast.plan.rate)
    arrivals: dict[int, int] = {}
    for note in tail.seen:
        if not note.answered:
            second = note.at_ns // 1_000_000_000
            arrivals[second] = arrivals.get(second, 0) + 1
    return Told(
        {**found, "no stable group": unstable, "whole after": took, "died": pods.died},
        Timeline(watched.owned, arrivals, marks),
    )


async def _come_together(cast: Cast, pods: Pods) -> float | None:
    """How long it took; None if the group was not whole in time."""
    began = time.monotonic()
    await asyncio.to_thread(pods.start_all)

    def whole(group: Group) -> bool:
        members, owned = len(group.members), len(group.owners)
        return group.state == "Stable" and members == cast.plan.workers and owned == PARTITIONS

    try:
        where = (cast.servers, cast.group, cast.topic)
        await until(*where, whole, pods.check, seconds=WHOLE_SECONDS)
    except FleetError as error:
        pods.check()
        say(f"{cast.topic} is played all the same: {error}")
        return None
    return time.monotonic() - began


async def _disturb(plan: Plan, pods: Pods) -> tuple[list[tuple[int, str]], Parts]:
    marks: list[tuple[int, str]] = []

    def mark(what: str) -> int:
        say(what)
        marks.append((time.time_ns(), what))
        return marks[-1][0] // 1_000_000_000

    dying, slow = pods.names[0], pods.names[-1]
    began = mark("traffic begins")
    await asyncio.sleep(plan.quiet)
    death = mark(f"{dying} dies")
    await asyncio.to_thread(pods.kill, dying)
    await asyncio.sleep(plan.away)
    mark(f"{dying} starts")
    await asyncio.to_thread(pods.start, dying)
    await asyncio.sleep(plan.after_death)
    frost = mark(f"{slow} is stuck")
    pods.signal(slow, signal.SIGSTOP)
    await asyncio.sleep(plan.frozen)
    mark(f"{slow} goes on")
    pods.signal(slow, signal.SIGCONT)
    await asyncio.sleep(plan.after_frost)
    return marks, Parts(began, death, frost, mark("traffic ends"))


async def _until_answered(traffic: Traffic, tail: NoteTail, seconds: float) -> None:
    give_up = time.monotonic() + seconds
    wanted = {each.number for each in traffic.sent}
    while time.monotonic() < give_up:
        tail.read_new()
        if wanted <= {note.number for note in tail.seen if note.answered}:
            return
        await asyncio.sleep(1)
