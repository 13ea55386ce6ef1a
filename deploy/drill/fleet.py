"""The fleet under drill: pods of real workers, what they own, and when they are ready."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from aiokafka.errors import KafkaError

from deploy.demo.observe import ClusterView, Ownership, ready_workers
from deploy.demo.pods import Pod

POLL_SECONDS = 0.5
START_SECONDS = 60.0
SECONDS_A_WORKER = 3.0
"""What a worker's start may take on a machine that starts all of them at once."""


UNANSWERED = (KafkaError, OSError, TimeoutError)
"""While brokers come and go nobody may be there to tell."""


class FleetError(Exception):
    """The fleet did not come to the state that the drill needs; the message says which."""


class Fleet:
    """All pods, and who owns what."""

    def __init__(
        self,
        pods: Sequence[Pod],
        processes: int,
        view: ClusterView,
        topic: str,
        partitions: int,
        owned: list[tuple[int, Mapping[int, str]]],
    ) -> None:
        self.pods = pods
        self.topic = topic
        self.owned = owned
        """The owners of all partitions over time: unix nanoseconds, and pods by partition."""
        self._processes = processes
        self.view = view
        self._partitions = partitions

    async def start(self, **environment: str) -> float:
        """Start all at once; return after how many seconds all are ready and own everything."""
        began = time.monotonic()
        for pod in self.pods:
            pod.start(environment)
        await self.until_whole()
        return time.monotonic() - began

    async def stop(self) -> None:
        """Stop all at once, in order. Raises PodError."""
        await asyncio.gather(*(pod.stop() for pod in self.pods if pod.running))

    async def until_gone(self) -> None:
        """Wait until the group has no member left: static ones stay in it for their session."""
        await self.ownership_when(lambda now: not now.members, "no member is left in the group")

    async def restart(self, pod: Pod, **environment: str) -> None:
        """Stop it in order, start it, and wait until it is ready, as Kubernetes does."""
        await pod.stop()
        pod.start(environment)
        await self.until_ready([pod])

    async def until_ready(self, pods: Sequence[Pod]) -> None:
        """Wait until all workers of these pods say that they are. Raises FleetError."""
        ports = [port for pod in pods for port in pod.ports]
        give_up = time.monotonic() + START_SECONDS + SECONDS_A_WORKER * len(ports)
        while (ready := await ready_workers(ports)) < len(ports):
            for pod in pods:
                if not pod.running:
                    said = pod.log_tail()
                    raise FleetError(f"{pod.name} ended by itself; its last words:\n{said}")
            if time.monotonic() > give_up:
                raise FleetError(f"only {ready} of {len(ports)} workers became ready")
            await asyncio.sleep(POLL_SECONDS)

    async def until_whole(self) -> None:
        """Wait until all workers are ready, and members that own everything. Raises FleetError."""
        await self.until_ready(self.pods)
        workers = len(self.pods) * self._processes
        await self.ownership_when(
            lambda now: self.owns_all(now) and len(now.members) == workers,
            "the workers own all partitions",
        )

    async def ownership_when(self, fulfilled: Callable[[Ownership], bool], what: str) -> Ownership:
        """Who owns what, as soon as it is as it should be. Raises FleetError."""
        give_up = time.monotonic() + START_SECONDS + len(self.pods) * self._processes
        while time.monotonic() < give_up:
            with suppress(*UNANSWERED):
                now = await self.view.ownership()
                if fulfilled(now):
                    return now
            await asyncio.sleep(POLL_SECONDS)
        raise FleetError(f"waited in vain until {what}")

    def owns_all(self, now: Ownership) -> bool:
        """Whether every partition has an owner."""
        return now.state == "Stable" and len(now.owners) == self._partitions

    def partitions_of(self, pods: Sequence[Pod], now: Ownership) -> frozenset[int]:
        """What these pods own."""
        return frozenset().union(*(now.of_pod(pod.name) for pod in pods))

    async def watch(self) -> None:
        """Note who owns what, until cancelled."""
        while True:
            with suppress(*UNANSWERED):
                now = await self.view.ownership()
                if now.state == "Stable":
                    owners = {
                        partition: pod.name
                        for pod in self.pods
                        for partition in now.of_pod(pod.name)
                    }
                    self.owned.append((time.time_ns(), owners))
            await asyncio.sleep(POLL_SECONDS)
