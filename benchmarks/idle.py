"""What a process costs that has nothing to do: start, memory, CPU and wake-ups, beside a peer.

``python -m benchmarks.idle --processes 4 --seconds 60 --workers ours,careful``; beside what was
here before, in turns: ``--workers ours,before --before CHECKOUT --repeat 5``
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median

from benchmarks.controller.ground import brokers
from deploy.demo.stage import PARTITIONS, ROOT, create_topics
from deploy.drill.stage import TOPIC, workers_environment, write_endpoints
from kafka_utils import Admin

SETTLE_SECONDS = 15.0
"""After the group is there: the last assignment and the first empty fetches are over."""
LOOK_SECONDS = 0.1
READY_SECONDS = 120.0
GROUPS = {"ours": "webhook-workers", "before": "webhook-workers", "careful": "careful"}
NOBODYS_PORT = 9
"""No event comes, so nothing is sent there."""
CAREFUL = (str(NOBODYS_PORT), TOPIC, "127.0.0.1")


@dataclass(frozen=True, slots=True)
class Figures:
    """What one process came to; of memory all at the same moment."""

    start_cpu_seconds: float
    """From its beginning until the group had settled."""
    resident_mb: float
    proportional_mb: float
    """What several share counts for each in part."""
    own_mb: float
    """What it shares with nobody."""
    idle_percent: float
    """Of one core."""
    wakes: float
    """A second, of all its threads: how often it gave up the processor to wait."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a process has used so far, as the operating system counts it."""

    cpu_seconds: float
    waits: int


def used(pid: int) -> Used:
    """Of all its threads, in nanoseconds' grain."""
    tasks = [*Path(f"/proc/{pid}/task").iterdir()]
    ran = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
    waits = [_field(task / "status", "voluntary_ctxt_switches") for task in tasks]
    return Used(ran / 1e9, sum(waits))


def _field(file: Path, *names: str) -> int:
    lines = (line.partition(":") for line in file.read_text().splitlines())
    return sum(int(text.split()[0]) for name, _, text in lines if name in names)


@contextmanager
def processes(kind: str, count: int, environ: Mapping[str, str], log: Path) -> Iterator[list[int]]:
    """So many of them, each with its index; their ids."""
    words = {
        "ours": ["webhook-worker", "run"],
        "before": ["webhook-worker", "run"],
        "careful": [sys.executable, "-m", "benchmarks.isolation.careful", *CAREFUL],
    }[kind]
    with log.open("wb") as output:
        begun = [
            subprocess.Popen(  # noqa: S603
                words,
                env={**environ, "WORKER_PROCESS_INDEX": str(number)},
                stdout=output,
                stderr=output,
                cwd=ROOT,
            )
            for number in range(count)
        ]
    try:
        yield [each.pid for each in begun]
        if any(each.poll() is not None for each in begun):
            raise RuntimeError(log.read_text()[-2_000:])
    finally:
        for each in begun:
            each.kill()
            each.wait()


async def joined(servers: str, group: str, members: int) -> None:
    """Return when the group has so many members and they own every partition."""
    async with Admin(tuple(servers.split(","))) as admin, asyncio.timeout(READY_SECONDS):
        while True:
            described = await admin.describe_group(group)
            owned = {here for member in described.members for here in member.partitions}
            if len(described.members) == members and len(owned) == PARTITIONS:
                return
            await asyncio.sleep(LOOK_SECONDS)


def run(kind: str, count: int, servers: str, environ: Mapping[str, str], seconds: float) -> Figures:
    """One kind of process, several of it, on topics without records; medians over them."""
    with (
        tempfile.TemporaryDirectory() as name,
        processes(kind, count, environ, Path(name) / "log") as pids,
    ):
        asyncio.run(joined(servers, GROUPS[kind], count))
        time.sleep(SETTLE_SECONDS)
        before = [used(pid) for pid in pids]
        time.sleep(seconds)
        after = [used(pid) for pid in pids]
        memory = [_memory(pid) for pid in pids]
        pairs = [*zip(before, after, strict=True)]
        resident, proportional, own = map(median, zip(*memory, strict=True))
        return Figures(
            median(each.cpu_seconds for each in before),
            resident,
            proportional,
            own,
            median(100 * (now.cpu_seconds - then.cpu_seconds) / seconds for then, now in pairs),
            median((now.waits - then.waits) / seconds for then, now in pairs),
        )


def _memory(pid: int) -> Sequence[float]:
    """Resident, proportional, own: MB."""
    file = Path(f"/proc/{pid}/smaps_rollup")
    return [
        _field(file, *names) * 1024 / 1e6
        for names in (("Rss",), ("Pss",), ("Private_Clean", "Private_Dirty"))
    ]


def sources(checkout: Path) -> str:
    """What puts the packages of another checkout before those that are installed; compiles them."""
    found = sorted(checkout.glob("packages/*/src"))
    if not found:
        raise SystemExit(f"{checkout} has no packages/*/src")
    subprocess.run([sys.executable, "-m", "compileall", "-q", *found], check=True)  # noqa: S603
    return os.pathsep.join(map(str, [*found, ROOT]))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--workers", default="ours,careful", help="of ours, before, careful")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="that of worker before")
    options = parser.parse_args()
    kinds = options.workers.split(",")
    if "before" in kinds and options.before is None:
        parser.error("the worker before needs --before")
    print(
        f"{options.processes} processes, {PARTITIONS} partitions, {os.cpu_count()} cores, "
        f"{options.seconds:.0f} s idle, medians of {options.repeat}\n"
    )
    print("| worker | CPU until settled | MB resident | shared in part | own | idle | wake-ups/s |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, brokers() as servers:
        directory = Path(name)
        environ = workers_environment(servers, directory) | {
            "WORKER_METRICS_PORT": "0",
            "WORKER_LOG_LEVEL": "warning",
        }
        # An image has its modules compiled; without this each process compiles ours anew.
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        create_topics(environ, ["--partitions", str(PARTITIONS)])
        write_endpoints(directory, NOBODYS_PORT)
        environs = dict.fromkeys(kinds, environ)
        if options.before is not None:
            environs["before"] = environ | {"PYTHONPATH": sources(options.before.resolve())}
        runs: dict[str, list[Figures]] = {kind: [] for kind in kinds}
        for _ in range(options.repeat):
            for kind in kinds:
                of_kind = environs[kind]
                runs[kind].append(run(kind, options.processes, servers, of_kind, options.seconds))
        for kind in kinds:
            middle = Figures(
                *(median(each) for each in zip(*map(astuple, runs[kind]), strict=True))
            )
            print(
                f"| {kind} | {middle.start_cpu_seconds:.2f} s | {middle.resident_mb:.1f} "
                f"| {middle.proportional_mb:.1f} | {middle.own_mb:.1f} "
                f"| {middle.idle_percent:.2f} % | {middle.wakes:.1f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
