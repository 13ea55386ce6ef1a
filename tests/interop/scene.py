"""A topic with a steady trickle of records, one group, and its members of every make."""

import asyncio
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer

from kafka_utils import Admin, TopicSpec
from tests.harness.group_account import Line, balanced, missing, owners_at, ownerships, repeated
from tests.harness.group_process import GroupProcess
from tests.interop.foreign_process import AiokafkaProcess, RdkafkaProcess
from tests.interop.java_member import JavaProcess

PARTITIONS = 12
PATIENCE_SECONDS = 45
PRODUCE_SECONDS = 0.2
SESSION_MS = 6_000
HEARTBEAT_MS = 500
POLL_SECONDS = 0.05
MOVES = ("assigned", "revoked", "lost")


class Brokers(Protocol):
    """What is needed of a cluster."""

    @property
    def bootstrap_servers(self) -> str: ...


class Scene:
    """One group and its topic; members have the names of their processes and a 0."""

    def __init__(self, brokers: Brokers, directory: Path, partitions: int = PARTITIONS) -> None:
        self.topic = f"interop.{uuid.uuid4().hex[:8]}"
        self.group = f"{self.topic}.readers"
        self.partitions = partitions
        self.processes: list[GroupProcess] = []
        self.ends: dict[str, float] = {}
        """When members were killed."""
        self.servers = tuple(brokers.bootstrap_servers.split(","))
        self._directory = directory
        self._producer = AIOKafkaProducer(bootstrap_servers=list(self.servers))
        self._producing: asyncio.Task[None] | None = None
        self._log_ends: dict[int, int] = {}

    async def open(self) -> None:
        """Create the topic and begin to write to it."""
        async with Admin(self.servers) as admin:
            spec = TopicSpec(name=self.topic, partitions=self.partitions, replication=3)
            await admin.create([spec])
        await self._producer.start()
        await self._produce()
        self._producing = asyncio.create_task(self._trickle())

    async def close(self) -> None:
        """End everything."""
        for process in self.processes:
            process.kill()
        await asyncio.gather(*(each.end() for each in self.processes))
        if self._producing:
            self._producing.cancel()
        await self._producer.stop()

    async def ours(self, name: str, **options: Any) -> GroupProcess:
        """Start a member of ours."""
        return await self._start(GroupProcess(name, 1), **options)

    async def java(self, name: str, version: str = "4.1.0", **options: Any) -> GroupProcess:
        """Start a member of that release of the Java client."""
        return await self._start(JavaProcess(name, version, self._directory), **options)

    async def rdkafka(self, name: str, **options: Any) -> GroupProcess:
        """Start a member of librdkafka."""
        return await self._start(RdkafkaProcess(name), **options)

    async def stock(self, name: str, python: str = sys.executable, **options: Any) -> GroupProcess:
        """Start a member of aiokafka as it is."""
        return await self._start(AiokafkaProcess(name, python), **options)

    async def _start(self, process: GroupProcess, **options: Any) -> GroupProcess:
        self.processes.append(process)
        given = {"session_ms": SESSION_MS, "heartbeat_ms": HEARTBEAT_MS, **options}
        servers = ",".join(self.servers)
        await process.start(servers=servers, group=self.group, topics=self.topic, **given)
        return process

    @property
    def lines(self) -> list[Line]:
        """Everything that every member wrote."""
        return [line for process in self.processes for line in process.lines]

    def owners(self) -> dict[int, str]:
        """Return who owns each partition now."""
        # Most lines are of records, and this is asked often.
        moves = [line for line in self.lines if line["what"] in MOVES]
        return owners_at(ownerships(moves, self.ends), time.monotonic())

    def owned_by(self, member: str) -> set[int]:
        """Return what a member owns now."""
        return {part for part, owner in self.owners().items() if owner == member}

    def changed(self, since: float) -> list[Line]:
        """Return what changed in the group: any plan that ours learned of, any move."""
        changes = (*MOVES, "rebalanced", "evicted")
        return [line for line in self.lines if line["what"] in changes and line["at"] > since]

    def given_up(self, since: float, *, by: str | None = None, but: Iterable[str] = ()) -> set[int]:
        """Return what one member gave up, or all members other than ``but``."""
        return {
            part
            for line in self.lines
            if line["what"] in ("revoked", "lost") and line["at"] > since
            if line["member"] == by or (by is None and line["member"] not in but)
            for part in line["partitions"]
        }

    async def settled(self, *members: str) -> None:
        """Wait until these own everything, evenly."""

        def done() -> bool:
            owners = self.owners()
            return (
                len(owners) == self.partitions
                and set(owners.values()) <= {*members}
                and balanced(owners, members)
            )

        await self.until(done, f"{members} own everything")

    async def until(self, done: Callable[[], bool], what: str) -> None:
        """Wait until it is so."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not done():  # noqa: ASYNC110 - processes have no event to wait for
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            errors = "\n".join(f"{each.name}: {each.errors[-2000:]}" for each in self.processes)
            raise AssertionError(f"not {what}: {self.owners()}\n{errors}") from None

    async def moves(self, joining: GroupProcess, *members: str) -> set[int]:
        """Wait until a new member has its share beside these; return what has changed hands."""
        before, since = self.owners(), time.monotonic()
        await self.settled(*members, *joining.members)
        now = self.owners()
        moved = {part for part, owner in now.items() if before[part] != owner}
        assert self.given_up(since) <= moved
        return moved

    def repeated_by(self) -> set[str]:
        """Return who read records first that were read again."""
        again = repeated(self.lines)
        first: dict[tuple[int, int], str] = {}
        for line in sorted(self.lines, key=lambda each: each["at"]):
            if line["what"] == "read":
                for offset in range(line["first"], line["last"] + 1):
                    first.setdefault((line["partitions"][0], offset), line["member"])
        return {first[place] for place in again}

    async def at_rest(self, seconds: float) -> None:
        """Wait until nothing has changed in the group for so long."""

        def done() -> bool:
            return not self.changed(time.monotonic() - seconds)

        await self.until(done, f"at rest for {seconds} s")

    @staticmethod
    def clock() -> float:
        """The time as the members tell it."""
        return time.monotonic()

    def kill(self, process: GroupProcess) -> float:
        """End it with SIGKILL; return when."""
        process.kill()
        now = time.monotonic()
        self.ends |= dict.fromkeys(process.members, now)
        return now

    async def read_to_the_end(self) -> None:
        """Stop producing, and wait until everything was read."""
        assert self._producing
        self._producing.cancel()
        await asyncio.wait({self._producing})
        ends = dict(self._log_ends)
        await self.until(lambda: not missing(self.lines, ends), "read to the end")

    async def _trickle(self) -> None:
        while True:
            await asyncio.sleep(PRODUCE_SECONDS)
            await self._produce()

    async def _produce(self) -> None:
        sending = (
            self._producer.send_and_wait(self.topic, b"x", partition=partition)
            for partition in range(self.partitions)
        )
        for sent in await asyncio.gather(*sending):
            self._log_ends[sent.partition] = sent.offset + 1
