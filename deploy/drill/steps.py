"""What is done to the fleet, step by step, while events flow."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiokafka.errors import KafkaError

from deploy.demo.pods import Pod
from deploy.drill.account import Crash, Window
from deploy.drill.fleet import Fleet, FleetError
from deploy.drill.settings import DrillSettings
from deploy.local.brokers import Cluster
from deploy.local.guard import kill_sessions
from kafka_utils import Admin

FROZEN_SECONDS = 15.0
"""Longer than the session, so that the others take over."""
BROKER_AWAY_SECONDS = 10.0
LEAD_SECONDS = 10.0
"""Longer than the longest answer takes."""
LOOK_SECONDS = 0.1
BOUNCED_AT_ONCE = 5
"""Pods of a bounce that are restarted together: in an eager group each restart stops all twice."""
OLD = "roundrobin"
BOTH = "cooperative-sticky,roundrobin"
NEW = "cooperative-sticky"


@dataclass(slots=True)
class Scene:
    """What the steps act upon."""

    settings: DrillSettings
    fleet: Fleet
    cluster: Cluster
    admin: Callable[[], Admin]
    group_id: str
    say: Callable[[str], object]
    broken_pod: Callable[[Pod], Pod]
    """The same pod as a bad release of it would be."""
    caught_up: Callable[[], Awaitable[None]]
    """Waits until all that was sent so far has arrived; raises FleetError when it takes long."""
    crashes: list[Crash] = field(default_factory=list)
    led_anew_ns: dict[int, int] = field(default_factory=dict)
    """When another leader of a partition was seen, in a step that took one away."""
    marks: list[tuple[int, str]] = field(default_factory=list)
    """What was done when: unix nanoseconds and a few words."""

    def mark(self, what: str) -> None:
        """Note it, and say it."""
        self.marks.append((time.time_ns(), what))
        self.say(what)


@dataclass(frozen=True, slots=True)
class Spared:
    """What a step does nothing to."""

    partitions: frozenset[int] = frozenset()
    may_move: int = 0
    """So many of them may move all the same, to balance what was done to the others."""


@dataclass(frozen=True, slots=True)
class Played:
    """A step that was played."""

    name: str
    graceful: bool
    window: Window
    untouched: frozenset[int]
    """Partitions that stayed with a pod, or (in broker steps) with a leader, which nothing was done
    to."""
    crashes: tuple[Crash, ...] = ()
    led_anew_ns: Mapping[int, int] = field(default_factory=dict)
    moved_beyond: int = 0
    """Partitions that moved though nothing was done to them, beyond those that have to."""
    membership: str = "dynamic"
    settings: DrillSettings = field(default_factory=DrillSettings)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a fleet goes through."""

    act: Callable[[Scene], Awaitable[Spared]]
    """Do it; return what it must not have touched."""
    graceful: bool
    """Whether nothing may be repeated."""
    lead_seconds: float = LEAD_SECONDS
    """How long nothing is done first."""


async def play(name: str, scene: Scene, membership: str = "dynamic") -> Played:
    """Play one step, until the fleet is whole again. Raises FleetError and PodError."""
    step = ALL_STEPS[name]
    scene.crashes.clear()
    scene.led_anew_ns.clear()
    scene.say(f"--- {name}")
    began_ns = time.time_ns()
    # What was produced before is answered by then, so that nothing of it counts for another step;
    # and what is in flight when the step is played was produced in its time.
    await asyncio.sleep(step.lead_seconds)
    spared = await step.act(scene)
    await scene.fleet.until_whole()
    window = Window(began_ns, time.time_ns())
    if not any(at_ns in window for at_ns, _ in scene.fleet.owned):
        raise FleetError(f"nobody told who owned what during {name}")
    # A pod that comes back gets partitions of others; what moves waits for its own drain.
    gone = spared.partitions & moved(scene.fleet.owned, window)
    return Played(
        name,
        step.graceful,
        window,
        spared.partitions - gone,
        tuple(scene.crashes),
        dict(scene.led_anew_ns),
        max(0, len(gone) - spared.may_move),
        membership,
        scene.settings,
    )


def moved(owned: Sequence[tuple[int, Mapping[int, str]]], window: Window) -> frozenset[int]:
    """The partitions that were seen to have more than one owner, or none, in the window."""
    looks = [owners for at_ns, owners in owned if at_ns in window]
    partitions = frozenset().union(*looks)
    return frozenset(
        partition
        for partition in partitions
        if len({owners.get(partition) for owners in looks}) > 1
    )


async def _cold_start(scene: Scene) -> Spared:
    """All pods at once, while events flow already."""
    scene.mark("all pods start")
    scene.say(f"all workers are ready after {await scene.fleet.start():.1f} s")
    await scene.caught_up()
    scene.mark("all that waited was delivered")
    return Spared()


async def _quiet(scene: Scene) -> Spared:
    _, everything = await _split(scene)
    await asyncio.sleep(scene.settings.quiet_seconds)
    return everything


async def _kill(scene: Scene) -> Spared:
    pod = scene.fleet.pods[0]
    own, others = await _split(scene, pod)
    began_ns = time.time_ns()
    scene.mark(f"{pod.name} killed")
    await pod.kill()
    scene.crashes.append(Crash(began_ns, time.time_ns(), own))
    await scene.fleet.ownership_when(
        lambda now: scene.fleet.owns_all(now) and not now.of_pod(pod.name),
        f"the other pods own the partitions of {pod.name}",
    )
    scene.mark(f"{pod.name} started")
    pod.start()
    return others


async def _rolling(scene: Scene) -> Spared:
    await _roll(scene, at_once=1)
    return Spared()


async def _roll(scene: Scene, at_once: int, **environment: str) -> None:
    for pods in _batches(scene.fleet.pods, at_once):
        names = ", ".join(pod.name for pod in pods)
        scene.mark(f"{names} restart{'s' if len(pods) == 1 else ''}")
        await asyncio.gather(*(scene.fleet.restart(pod, **environment) for pod in pods))


def _batches(pods: Sequence[Pod], size: int) -> Iterator[Sequence[Pod]]:
    return (pods[first : first + size] for first in range(0, len(pods), size))


async def _freeze(scene: Scene) -> Spared:
    pod = scene.fleet.pods[0]
    own, others = await _split(scene, pod)
    began_ns = time.time_ns()
    scene.mark(f"{pod.name} frozen")
    kill_sessions([pod.session], signal.SIGSTOP)
    scene.crashes.append(Crash(began_ns, time.time_ns(), own))
    await asyncio.sleep(FROZEN_SECONDS)
    scene.mark(f"{pod.name} goes on")
    kill_sessions([pod.session], signal.SIGCONT)
    return others


async def _bad_release(scene: Scene) -> Spared:
    """A new version that cannot start takes the place of one pod, and is taken back."""
    pod = scene.fleet.pods[0]
    _, others = await _split(scene, pod)
    scene.mark(f"{pod.name} gets a bad release")
    await pod.stop()
    bad = scene.broken_pod(pod)
    bad.start()
    give_up = time.monotonic() + 60
    while bad.running:
        if time.monotonic() > give_up:
            raise FleetError("a release that cannot work did not end by itself")
        await asyncio.sleep(0.1)
    scene.say(f"it ended with {bad.exit_code}: {bad.log_tail()}")
    scene.mark(f"{pod.name} is rolled back")
    pod.start()
    return others


async def _broker_restart(scene: Scene) -> Spared:
    coordinator = await _coordinator(scene)
    number = next(each for each in range(3) if each != coordinator)
    async with _leaders_watched(scene, number) as led_elsewhere:
        scene.mark(f"broker {number} stops")
        await asyncio.to_thread(scene.cluster.stop_broker, number)
        await asyncio.sleep(BROKER_AWAY_SECONDS)
    await _brought_back(scene, number)
    return Spared(led_elsewhere)


async def _coordinator_kill(scene: Scene) -> Spared:
    coordinator = await _coordinator(scene)
    async with _leaders_watched(scene, coordinator) as led_elsewhere:
        scene.mark(f"broker {coordinator}, the coordinator, killed")
        await asyncio.to_thread(scene.cluster.kill, coordinator)
        await asyncio.sleep(BROKER_AWAY_SECONDS)
    await _brought_back(scene, coordinator)
    return Spared(led_elsewhere)


async def _assignor(scene: Scene) -> Spared:
    """From the story's round-robin, in two bounces."""
    await _roll(scene, BOUNCED_AT_ONCE, KAFKA_ASSIGNOR=BOTH)
    scene.mark("every pod knows both assignors")
    await _roll(scene, BOUNCED_AT_ONCE, KAFKA_ASSIGNOR=NEW)
    scene.mark("every pod is cooperative")
    return Spared()


ALL_STEPS: Mapping[str, Step] = {
    "cold-start": Step(_cold_start, graceful=True, lead_seconds=0),
    "quiet": Step(_quiet, graceful=True),
    "kill": Step(_kill, graceful=False),
    "rolling": Step(_rolling, graceful=True),
    "freeze": Step(_freeze, graceful=False),
    "bad-release": Step(_bad_release, graceful=True),
    "broker-restart": Step(_broker_restart, graceful=True),
    "coordinator-kill": Step(_coordinator_kill, graceful=True),
    "assignor": Step(_assignor, graceful=True),
}


async def _split(scene: Scene, *touched: Pod) -> tuple[frozenset[int], Spared]:
    """What pods own to which something will be done, and what the others do."""
    now = await scene.fleet.ownership_when(scene.fleet.owns_all, "all partitions are owned")
    own = scene.fleet.partitions_of(touched, now)
    others = [pod for pod in scene.fleet.pods if pod not in touched]
    # What comes back gets as many as it had, or one more each where they do not divide.
    more = len(own) + len(touched) * scene.settings.processes if touched else 0
    return own, Spared(scene.fleet.partitions_of(others, now), more)


async def _coordinator(scene: Scene) -> int:
    async with scene.admin() as admin:
        return (await admin.describe_group(scene.group_id)).coordinator.node_id


@asynccontextmanager
async def _leaders_watched(scene: Scene, broker: int) -> AsyncIterator[frozenset[int]]:
    """Partitions that others lead; meanwhile it is noted when those of this broker are led anew."""
    async with scene.admin() as admin:
        leaders = await _leaders(admin, scene.fleet.topic)
    waiting = {partition for partition, leader in leaders.items() if leader == broker}

    async def watch() -> None:
        async with scene.admin() as admin:
            while waiting:
                now = await _leaders(admin, scene.fleet.topic)
                anew = {each for each in waiting if now[each] not in (None, broker)}
                scene.led_anew_ns.update(dict.fromkeys(anew, time.time_ns()))
                waiting.difference_update(anew)
                await asyncio.sleep(LOOK_SECONDS)

    watching = asyncio.create_task(watch())
    try:
        yield frozenset(leaders) - waiting
        if watching.done():
            watching.result()
        else:
            raise FleetError(f"nobody leads {len(waiting)} partitions that broker {broker} led")
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _leaders(admin: Admin, topic: str) -> dict[int, int | None]:
    leaders = (await admin.describe_topics([topic])).leader_of_each()
    return {here.partition: leader for here, leader in leaders.items()}


async def _brought_back(scene: Scene, broker: int) -> None:
    scene.mark(f"broker {broker} starts")
    await asyncio.to_thread(scene.cluster.start_broker, broker)
    give_up = time.monotonic() + 120
    while True:
        with suppress(KafkaError):
            async with scene.admin() as admin:
                if not (await admin.describe_topics()).under_replicated:
                    return
        if time.monotonic() > give_up:
            raise FleetError("a broker that came back did not catch up")
        await asyncio.sleep(1)
