"""A group of simulated members on real brokers: what joining, staying and a change cost.

Real are the protocol, the brokers and the plans; simulated is that many members share a process,
and that none of them fetches or delivers.
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks import assignor
from benchmarks.fleet.connections import Counting, Totals, Traffic
from benchmarks.fleet.ground import Ground, until
from benchmarks.fleet.launcher import Launched, Program
from benchmarks.processes import cpu_seconds
from benchmarks.rebalance.ownership import Group
from benchmarks.rebalance.table import Column, Figures
from kafka_utils import Admin, TopicSpec

MEMBERS_EACH = 50
"""In one process. A leader that thinks for long holds up those who share its process."""
PARTITIONS_EACH = 2
WHOLE_SECONDS = 300.0
SETTLE_SECONDS = 5.0
FEW = 100
"""Members, up to which the group may be looked at often."""
POD_SHARE = 25
"""One pod of so many comes and goes."""

COLUMNS = (
    Column("joined", " s", 1),
    Column("join: requests", "", 0),
    Column("join: the others'", "", 0),
    Column("join: KB", "", 0),
    Column("join: the others' KB", "", 0),
    Column("idle: requests/s", "", 0),
    Column("idle: the others'", "", 0),
    Column("idle: CPU of it", " %", 1),
    Column("idle: CPU of the others", " %", 1),
    Column("a pod more", " s", 1),
    Column("its requests", "", 0),
    Column("its KB", "", 0),
    Column("a pod less", " s", 1),
    Column("longest rebalance", " s", 2),
    Column("plan", " ms", 1),
)


def measure(ground: Ground, kind: str, members: int, idle_seconds: float) -> Figures:
    """Raises FleetError."""
    name = f"simulated-{kind}-{members}"
    partitions = PARTITIONS_EACH * members
    asyncio.run(_create(ground.servers, name, partitions))
    directory = ground.directory / name
    directory.mkdir()
    group = _Group(ground, kind, name, directory, partitions)
    try:
        return group.measure(members, idle_seconds)
    finally:
        group.close()
        ground.remove(name)


async def _create(servers: str, topic: str, partitions: int) -> None:
    async with Admin(tuple(servers.split(","))) as admin:
        await admin.create([TopicSpec(name=topic, partitions=partitions, replication=1)])


class _Group:
    def __init__(
        self, ground: Ground, kind: str, name: str, directory: Path, partitions: int
    ) -> None:
        self._ground = ground
        self._kind = kind
        self._name = name
        self._directory = directory
        self._partitions = partitions
        self._counting = Counting(list(ground.brokers))
        self._running: dict[str, Launched] = {}

    def measure(self, members: int, idle_seconds: float) -> dict[str, float | None]:
        shares = _shares(members, -(-members // MEMBERS_EACH))
        joined = self._begin("first", shares)
        joined_in = self._until_whole(members, joined)
        generation = max((line["generation"] for line in self._notes()), default=0)
        coordinator = self._ground.coordinator(self._name)
        join = self._since(Totals({}), coordinator)
        time.sleep(SETTLE_SECONDS)
        looked, cpu = self._look(), self._broker_cpu()
        time.sleep(idle_seconds)
        idle = self._since(looked, coordinator)
        used = {port: now - cpu[port] for port, now in self._broker_cpu().items()}
        it = used.pop(coordinator)
        more = max(1, members // POD_SHARE)
        looked = self._look()
        more_in = self._until_whole(members + more, self._begin("more", [more]))
        change = self._since(looked, coordinator)
        left = time.monotonic()
        self._running.pop("more").stop()
        less_in = self._until_whole(members, left)
        return {
            "joined": joined_in,
            **_told("join: requests", "join: the others'", join, 0, 1.0),
            **_told("join: KB", "join: the others' KB", join, 1, 1e3),
            **_told("idle: requests/s", "idle: the others'", idle, 0, idle_seconds),
            "idle: CPU of it": 100 * it / idle_seconds,
            "idle: CPU of the others": 100 * sum(used.values()) / len(used) / idle_seconds,
            "a pod more": more_in,
            **_told("its requests", None, change, 0, 1.0),
            **_told("its KB", None, change, 1, 1e3),
            "a pod less": less_in,
            "longest rebalance": max(
                (each["took"] for each in self._notes() if each["generation"] > generation),
                default=None,
            ),
            "plan": plan_ms(self._kind, members, self._partitions),
        }

    def close(self) -> None:
        for launched in self._running.values():
            launched.kill()

    def _begin(self, name: str, shares: list[int]) -> float:
        programs = [
            Program(
                [
                    sys.executable,
                    "-m",
                    "benchmarks.growth.members",
                    self._kind,
                    self._ground.servers,
                    self._name,
                    self._name,
                    f"{name}-{number}",
                    str(count),
                    str(self._directory / f"{name}-{number}.notes"),
                ],
                {},
            )
            for number, count in enumerate(shares)
        ]
        began = time.monotonic()
        place = self._directory / name
        self._running[name] = Launched.start(
            self._ground.guard, place, programs, self._ground.environ()
        )
        return began

    def _until_whole(self, members: int, began: float) -> float:
        def whole(group: Group) -> bool:
            owned = len(group.owners)
            stable = group.state == "Stable"
            return stable and len(group.members) == members and owned == self._partitions

        def check() -> None:
            for launched in self._running.values():
                launched.check()

        asyncio.run(
            until(
                self._ground.servers,
                self._name,
                self._name,
                whole,
                check,
                seconds=WHOLE_SECONDS,
                look_seconds=0.1 if members <= FEW else 1.0,
            )
        )
        return time.monotonic() - began

    def _look(self) -> Totals:
        if not self._counting.possible:
            return Totals({})
        return self._counting.look([p for each in self._running.values() for p in each.pids])

    def _since(self, earlier: Totals, coordinator: int) -> tuple[Traffic, list[Traffic]] | None:
        if not self._counting.possible:
            return None
        each = self._look().since(earlier, self._ground.brokers)
        return each.pop(coordinator), list(each.values())

    def _broker_cpu(self) -> Mapping[int, float]:
        return {port: cpu_seconds([pid]) for port, pid in self._ground.brokers.items()}

    def _notes(self) -> list[dict[str, float]]:
        return [
            json.loads(line)
            for file in self._directory.glob("*.notes")
            for line in file.read_text().splitlines()
        ]


def _shares(members: int, processes: int) -> list[int]:
    share, more = divmod(members, processes)
    return [share + (number < more) for number in range(processes)]


def _told(
    name: str,
    others_name: str | None,
    exchanged: tuple[Traffic, list[Traffic]] | None,
    what: int,
    unit: float,
) -> dict[str, float | None]:
    """``what``: 0 for requests, 1 for bytes."""
    if exchanged is None:
        return {}

    def of(traffic: Traffic) -> float:
        return (traffic.sent + traffic.received if what else traffic.requests) / unit

    it, others = exchanged
    told: dict[str, float | None] = {name: of(it)}
    if others_name:
        told[others_name] = sum(map(of, others)) / len(others)
    return told


def plan_ms(kind: str, members: int, partitions: int) -> float | None:
    """CPU of the leader's plan when one member joins; None for assignors that are not measured."""
    if kind not in ("ours", "stock-sticky"):
        return None
    group = assignor.group(members, equal=True)
    [case] = [each for each in assignor.cases(group) if each.event == "one joins"]
    counts = {f"topic-{n}": max(1, partitions // assignor.TOPICS) for n in range(assignor.TOPICS)}
    ours, sticky, _ = assignor.measure(case, counts, 1)
    return ours if kind == "ours" else sticky
