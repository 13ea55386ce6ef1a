"""What is done to the fleet, step by step, while events flow."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from deploy.demo.pods import Pod
from deploy.drill.account import Window
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
    crashes_ns: list[int] = field(default_factory=list)
    marks: list[tuple[int, str]] = field(default_factory=list)
    """What was done when: unix nanoseconds and a few words."""

    def mark(self, what: str) -> None:
        """Note it, and say it."""
        self.marks.append((time.time_ns(), what))
        self.say(what)


@dataclass(frozen=True, slots=True)
class Played:
    """A step that was played."""

    name: str
    graceful: bool
    window: Window
    untouched: frozenset[int]
    """Partitions that stayed with a pod, or (in broker steps) with a leader, which nothing was done
    to."""
    crashes_ns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a fleet goes through."""

    act: Callable[[Scene], Awaitable[frozenset[int]]]
    """Do it; return the partitions that it must not have touched."""
    graceful: bool
    """Whether nothing may be repeated."""


async def play(name: str, scene: Scene) -> Played:
    """Play one step, until the fleet is whole again. Raises FleetError and PodError."""
    step = ALL_STEPS[name]
    scene.crashes_ns.clear()
    scene.say(f"--- {name}")
    began_ns = time.time_ns()
    # What was produced before is answered by then, so that nothing of it counts for another step;
    # and what is in flight when the step is played was produced in its time.
    await asyncio.sleep(LEAD_SECONDS)
    untouched = await step.act(scene)
    await scene.fleet.until_whole()
    window = Window(began_ns, time.time_ns())
    # A pod that comes back gets partitions of others; what moves waits for its own drain.
    untouched -= moved(scene.fleet.owned, window)
    return Played(name, step.graceful, window, untouched, tuple(scene.crashes_ns))


def moved(owned: Sequence[tuple[int, Mapping[int, str]]], window: Window) -> frozenset[int]:
    """The partitions that were seen to have more than one owner, or none, in the window."""
    looks = [owners for at_ns, owners in owned if at_ns in window]
    partitions = frozenset().union(*looks)
    return frozenset(
        partition
        for partition in partitions
        if len({owners.get(partition) for owners in looks}) > 1
    )


async def _quiet(scene: Scene) -> frozenset[int]:
    everything = await _owned_by_others(scene)
    await asyncio.sleep(scene.settings.quiet_seconds)
    return everything


async def _kill(scene: Scene) -> frozenset[int]:
    pod = scene.fleet.pods[0]
    others = await _owned_by_others(scene, pod)
    scene.crashes_ns.append(time.time_ns())
    scene.mark(f"{pod.name} killed")
    await pod.kill()
    await scene.fleet.ownership_when(
        lambda now: scene.fleet.owns_all(now) and not now.of_pod(pod.name),
        f"the other pods own the partitions of {pod.name}",
    )
    scene.mark(f"{pod.name} started")
    pod.start()
    return others


async def _rolling(scene: Scene) -> frozenset[int]:
    await _roll(scene)
    return frozenset()


async def _roll(scene: Scene, **environment: str) -> None:
    for pod in scene.fleet.pods:
        scene.mark(f"{pod.name} restarts")
        await scene.fleet.restart(pod, **environment)


async def _freeze(scene: Scene) -> frozenset[int]:
    pod = scene.fleet.pods[0]
    others = await _owned_by_others(scene, pod)
    scene.crashes_ns.append(time.time_ns())
    scene.mark(f"{pod.name} frozen")
    kill_sessions([pod.session], signal.SIGSTOP)
    await asyncio.sleep(FROZEN_SECONDS)
    scene.mark(f"{pod.name} goes on")
    kill_sessions([pod.session], signal.SIGCONT)
    return others


async def _bad_release(scene: Scene) -> frozenset[int]:
    """A new version that cannot start takes the place of one pod, and is taken back."""
    pod = scene.fleet.pods[0]
    others = await _owned_by_others(scene, pod)
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


async def _broker_restart(scene: Scene) -> frozenset[int]:
    coordinator = await _coordinator(scene)
    number = next(each for each in range(3) if each != coordinator)
    led_elsewhere = await _led_by_others(scene, number)
    scene.mark(f"broker {number} stops")
    await asyncio.to_thread(scene.cluster.stop_broker, number)
    await asyncio.sleep(BROKER_AWAY_SECONDS)
    scene.mark(f"broker {number} starts")
    await asyncio.to_thread(scene.cluster.start_broker, number)
    await _until_replicated(scene)
    return led_elsewhere


async def _coordinator_kill(scene: Scene) -> frozenset[int]:
    coordinator = await _coordinator(scene)
    led_elsewhere = await _led_by_others(scene, coordinator)
    scene.mark(f"broker {coordinator}, the coordinator, killed")
    await asyncio.to_thread(scene.cluster.kill, coordinator)
    await asyncio.sleep(BROKER_AWAY_SECONDS)
    scene.mark(f"broker {coordinator} starts")
    await asyncio.to_thread(scene.cluster.start_broker, coordinator)
    await _until_replicated(scene)
    return led_elsewhere


async def _assignor(scene: Scene) -> frozenset[int]:
    """From the story's round-robin, in two bounces."""
    await _roll(scene, KAFKA_ASSIGNOR=BOTH)
    scene.mark("every pod knows both assignors")
    await _roll(scene, KAFKA_ASSIGNOR=NEW)
    scene.mark("every pod is cooperative")
    return frozenset()


ALL_STEPS: Mapping[str, Step] = {
    "quiet": Step(_quiet, graceful=True),
    "kill": Step(_kill, graceful=False),
    "rolling": Step(_rolling, graceful=True),
    "freeze": Step(_freeze, graceful=False),
    "bad-release": Step(_bad_release, graceful=True),
    "broker-restart": Step(_broker_restart, graceful=True),
    "coordinator-kill": Step(_coordinator_kill, graceful=True),
    "assignor": Step(_assignor, graceful=True),
}


async def _owned_by_others(scene: Scene, *touched: Pod) -> frozenset[int]:
    now = await scene.fleet.ownership_when(scene.fleet.owns_all, "all partitions are owned")
    others = [pod for pod in scene.fleet.pods if pod not in touched]
    return scene.fleet.partitions_of(others, now)


async def _coordinator(scene: Scene) -> int:
    async with scene.admin() as admin:
        return (await admin.describe_group(scene.group_id)).coordinator.node_id


async def _led_by_others(scene: Scene, broker: int) -> frozenset[int]:
    topic = scene.fleet.topic
    async with scene.admin() as admin:
        leaders = (await admin.describe_topics([topic])).leader_of_each()
    return frozenset(here.partition for here, leader in leaders.items() if leader != broker)


async def _until_replicated(scene: Scene) -> None:
    give_up = time.monotonic() + 120
    while True:
        async with scene.admin() as admin:
            if not (await admin.describe_topics()).under_replicated:
                return
        if time.monotonic() > give_up:
            raise FleetError("a broker that came back did not catch up")
        await asyncio.sleep(1)
