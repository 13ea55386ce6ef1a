"""One fleet on common ground: started, left idle, given a backlog, stopped; what it came to."""

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fleet import coordinator
from benchmarks.fleet.connections import Counting, Totals
from benchmarks.fleet.coordinator import AT_WORK, IDLE, START, beside
from benchmarks.fleet.filler import fill_beside
from benchmarks.fleet.ground import Ground, until
from benchmarks.fleet.launcher import Launched
from benchmarks.fleet.pace import Look, Pace, pace, unevenness
from benchmarks.fleet.workers import Start, Work
from benchmarks.processes import (
    cpu_seconds,
    proportional_mb,
    resident_mb,
    times_woken,
    waited_seconds,
)
from benchmarks.rebalance.ownership import Group
from benchmarks.rebalance.table import Column, Figures

READY_SECONDS = 240.0
SETTLE_SECONDS = 5.0
WORK_SECONDS = 300.0
LOOK_SECONDS = 0.25
QUIET_SECONDS = 20.0
"""Without an arrival for so long, what is missing is not coming."""

COLUMNS = (
    Column("all ready", " s", 1),
    Column("CPU until then, each", " s", 2),
    Column("MB", "", 1),
    Column("MB, shared once", "", 1),
    Column("idle", " %", 2),
    Column("deliveries/s", "", 0),
    Column("CPU each", " us", 0),
    Column("in all", " us", 0),
    Column("per CPU second", "", 0, ratio=False),
    Column("max/mean", "", 2, ratio=False),
    Column("parked", "", 0, ratio=False),
    Column("missing", "", 0, ratio=False),
    Column("stopped", " s", 1),
    Column("badly", "", 0, ratio=False),
)
AROUND_COLUMNS = (
    Column("brokers' CPU each", " us", 0),
    Column("customers' CPU each", " us", 0),
    Column("customers waited", " %", 0, ratio=False),
    Column("connections each", "", 3),
    Column("pieces each", "", 2),
    Column("bytes each", "", 0),
    Column("customers woken each", "", 3),
    Column("workers woken each", "", 3),
)
TABLES: Mapping[str, Sequence[Column]] = {
    "The fleet": COLUMNS,
    "What stood around it": AROUND_COLUMNS,
    "The coordinator, beside the mean of the two other brokers": coordinator.COLUMNS,
}


@dataclass(frozen=True, slots=True)
class Size:
    """Of a fleet and of what it is given."""

    processes: int
    partitions: int
    events: int
    idle_seconds: float


def measure(ground: Ground, start: Start, size: Size, name: str) -> Figures:
    """Raises FleetError, StageError."""
    ground.prepare(name, size.partitions)
    directory = ground.directory / name
    directory.mkdir()
    work = Work(directory, ground.servers, name, f"{name}-group", ground.customers.port)
    programs = [start(work, number) for number in range(size.processes)]
    began = time.monotonic()
    fleet = Launched.start(ground.guard, directory / "processes", programs, ground.environ())
    try:
        files = [program.ready for program in programs if program.ready]
        figures = _Measuring(ground, fleet, work, size).all(began, files)
        end = fleet.stop()
    except BaseException:
        fleet.kill()
        raise
    ground.remove(name)
    return {**figures, "stopped": end.seconds, "badly": end.disorderly}


class _Measuring:
    """What is looked at while one fleet runs."""

    def __init__(self, ground: Ground, fleet: Launched, work: Work, size: Size) -> None:
        self._ground = ground
        self._fleet = fleet
        self._pids = fleet.pids
        self._work = work
        self._size = size
        self._counting = Counting(list(ground.brokers))

    def all(self, began: float, ready_files: Sequence[Path]) -> dict[str, float | None]:
        """One phase after the other."""
        asyncio.run(self._ready(ready_files))
        ready = {
            "all ready": time.monotonic() - began,
            "CPU until then, each": cpu_seconds(self._pids) / len(self._pids),
        }
        started = self._look()
        time.sleep(SETTLE_SECONDS)
        leading = self._ground.coordinator(self._work.group)
        return {
            **ready,
            **beside(started, Totals({}), self._ground.brokers, leading, START),
            **self._idle(leading),
            **self._at_work(leading),
        }

    async def _ready(self, files: Sequence[Path]) -> None:
        wanted = self._size

        def whole(group: Group) -> bool:
            members, owned = len(group.members), len(group.owners)
            stable = group.state == "Stable"
            whole_group = members == wanted.processes and owned == wanted.partitions
            return stable and whole_group and all(file.exists() for file in files)

        where = (self._work.servers, self._work.group, self._work.topic)
        await until(*where, whole, self._fleet.check, seconds=READY_SECONDS)

    def _idle(self, leading: int) -> dict[str, float | None]:
        brokers = self._ground.brokers
        seconds = self._size.idle_seconds
        cpu, each = cpu_seconds(self._pids), {p: cpu_seconds([b]) for p, b in brokers.items()}
        looked = self._look()
        time.sleep(seconds)
        used = {p: 100 * (cpu_seconds([b]) - each[p]) / seconds for p, b in brokers.items()}
        idle = 100 * (cpu_seconds(self._pids) - cpu) / seconds / len(self._pids)
        others = [used[port] for port in used if port != leading]
        return {
            "idle": idle,
            "idle: its CPU": used[leading],
            "idle: the others' CPU": sum(others) / len(others),
            **beside(self._look(), looked, brokers, leading, IDLE, seconds),
        }

    def _at_work(self, leading: int) -> dict[str, float | None]:
        before = self._ground.customers.counts()
        looked = self._look()
        found = self._deliver(sum(before))
        counts = [
            now - earlier
            for now, earlier in zip(self._ground.customers.counts(), before, strict=True)
        ][: len(self._pids)]
        return {
            "MB": resident_mb(self._pids) / len(self._pids),
            "MB, shared once": proportional_mb(self._pids) / len(self._pids),
            "max/mean": unevenness(counts),
            "parked": self._ground.parked(self._work.topic),
            "missing": max(0, self._size.events - sum(counts)),
            **_shown(found),
            **beside(self._look(), looked, self._ground.brokers, leading, AT_WORK),
        }

    def _look(self) -> Totals | None:
        return self._counting.look(self._pids) if self._counting.possible else None

    def _deliver(self, before: int) -> Pace | None:
        events = self._size.events
        told = (self._work.servers, self._work.topic, self._size.partitions, events)
        # The whole backlog is there before the first event is taken, for slow fleets and fast ones.
        self._fleet.signal(signal.SIGSTOP)
        try:
            fill_beside(self._ground.guard, *told)
        finally:
            self._fleet.signal(signal.SIGCONT)
        looks: list[Look] = []
        last_news = time.monotonic()
        give_up = last_news + WORK_SECONDS
        while not looks or looks[-1].arrived < events:
            self._fleet.check()
            look = self._looked(before)
            if not looks or look.arrived > looks[-1].arrived:
                last_news = look.at
            looks.append(look)
            if look.at > min(give_up, last_news + QUIET_SECONDS):
                break
            time.sleep(LOOK_SECONDS)
        return pace(looks, events, len(self._ground.customers.pids))

    def _looked(self, before: int) -> Look:
        customers = self._ground.customers
        return Look(
            at=time.monotonic(),
            arrived=sum(customers.counts()) - before,
            workers_cpu=cpu_seconds(self._pids),
            brokers_cpu=cpu_seconds(self._ground.brokers.values()),
            customers_cpu=cpu_seconds(customers.pids),
            customers_waited=waited_seconds(customers.pids),
            workers_woken=times_woken(self._pids),
            customers_woken=times_woken(customers.pids),
            taken=customers.taken(),
        )


def _shown(found: Pace | None) -> dict[str, float | None]:
    if found is None:
        return {}
    return {
        "deliveries/s": found.per_second,
        "CPU each": found.worker_us,
        "in all": found.worker_us_in_all,
        "per CPU second": 1e6 / found.worker_us,
        "brokers' CPU each": found.broker_us,
        "customers' CPU each": found.customer_us,
        "customers waited": 100 * found.customers_waited_share,
        "connections each": found.connections,
        "pieces each": found.pieces,
        "bytes each": found.size,
        "customers woken each": found.customer_woken,
        "workers woken each": found.worker_woken,
    }
