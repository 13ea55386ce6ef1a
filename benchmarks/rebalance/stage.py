"""What one client's run needs: topic, group, traffic, pods, and in the end the account."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rebalance.account import Account, Window
from benchmarks.rebalance.arguments import Arguments
from benchmarks.rebalance.clients import Tools, command_of
from benchmarks.rebalance.fleet import ROOT, Fleet
from benchmarks.rebalance.notes import NotesTail
from benchmarks.rebalance.ownership import Group
from benchmarks.rebalance.shape import Shape
from benchmarks.rebalance.watching import Watcher
from deploy.local.guard import Guard

CATCH_UP_SECONDS = 90.0
PRODUCER_STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Site:
    """Where the stages are: brokers, a guard over all processes, a directory for this command."""

    servers: str
    guard: Guard
    directory: Path
    tools: Tools


class Stage:
    """One group of one client on its own topic."""

    def __init__(
        self, site: Site, shape: Shape, fleet: Fleet, watcher: Watcher, topic: str, directory: Path
    ) -> None:
        self._site = site
        self._topic = topic
        self._directory = directory
        self._producer: subprocess.Popen[bytes] | None = None
        self.shape = shape
        self.fleet = fleet
        self.watcher = watcher

    def start_traffic(self, *, tail: bool) -> None:
        """Produce from now on, records with work or without."""
        shape = self.shape
        words = (
            self._site.servers,
            self._topic,
            str(self._directory / f"traffic{NotesTail.SUFFIX}"),
            str(shape.partitions),
            str(shape.per_second * shape.partitions),
            "tail" if tail else "none",
        )
        command = [sys.executable, "-m", "benchmarks.rebalance.traffic", *words]
        with (self._directory / "traffic.log").open("ab") as log:
            self._producer = self._site.guard.spawn(command, output=log, cwd=ROOT)

    async def start_pods(self) -> Group:
        """Start all pods; returns when they share everything."""
        for number in range(self.shape.pods):
            self.fleet.start(self.shape.pod(number))
        return await self.balanced()

    async def balanced(self) -> Group:
        """The group, once the running pods share everything."""
        members = len(self.fleet.pods) * self.shape.members
        return await self.watcher.until(
            lambda group: group.is_balanced(members, self.shape.partitions),
            f"{members} members share {self.shape.partitions} partitions",
            self.fleet.check,
        )

    async def joined(self, pod: str) -> None:
        """Returns when all consumers of this pod are members of a stable group."""
        wanted = self.shape.client_ids(pod)
        await self.watcher.until(
            lambda group: group.state == "Stable" and wanted <= set(group.members),
            f"{pod} has joined",
            self.fleet.check,
        )

    async def finish(self) -> Account:
        """Stop the traffic, let the pods catch up, end them, and draw up the account."""
        await self._stop_traffic()
        account, tail = Account([]), NotesTail(self._directory)
        give_up = time.monotonic() + CATCH_UP_SECONDS
        account.add(tail.read_new())
        while account.missing and time.monotonic() < give_up:
            self.fleet.check()
            await asyncio.sleep(0.5)
            account.add(tail.read_new())
        await self.fleet.close()
        account.add(tail.read_new())
        return account

    async def _stop_traffic(self) -> None:
        producer = self._producer
        if producer is None:
            return
        producer.terminate()
        await asyncio.to_thread(producer.wait, PRODUCER_STOP_SECONDS)
        self._site.guard.release(producer.pid)
        self._producer = None
        if producer.returncode != 0:
            said = (self._directory / "traffic.log").read_text(errors="replace")
            raise RuntimeError(f"the traffic ended with {producer.returncode}: {said[-1500:]}")

    async def close(self) -> None:
        """End what still runs, at once."""
        if self._producer is not None:
            self._producer.kill()
            await asyncio.to_thread(self._producer.wait)
        for pod in self.fleet.pods:
            await self.fleet.kill(pod)


@asynccontextmanager
async def stage(site: Site, client: str, shape: Shape, name: str) -> AsyncIterator[Stage]:
    """A stage with a topic and without processes; raises ClientUnavailableError."""
    command = command_of(client, site.tools)
    directory = site.directory / f"{client}-{name}"
    directory.mkdir()
    topic = f"{client}.{name}"
    arguments = Arguments(
        client=client,
        servers=site.servers,
        group=topic,
        topic=topic,
        notes="",
        pod="",
        members=shape.members,
        slots=shape.slots,
        session_ms=shape.session_ms,
        heartbeat_ms=shape.heartbeat_ms,
        rebalance_ms=shape.rebalance_ms,
        commit_ms=shape.commit_ms,
    )
    fleet = Fleet(site.guard, command, arguments, directory)
    async with Watcher(site.servers, topic, topic) as watcher:
        await watcher.prepare(shape.partitions)
        made = Stage(site, shape, fleet, watcher, topic, directory)
        try:
            yield made
        finally:
            await made.close()
            await watcher.remove_topic()


def window_since(start_ns: int) -> Window:
    """From then until now."""
    return Window(start_ns, time.monotonic_ns())
