"""The pods of one client: started, stopped in order, killed; one must not end by itself."""

import asyncio
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.rebalance.arguments import Arguments
from benchmarks.rebalance.notes import NotesTail
from deploy.local.guard import Guard

ROOT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.05
STOP_SECONDS = 45.0
BYSTANDER = "bystander"
TAIL_CHARACTERS = 1_500
ORDERLY = (0, 128 + signal.SIGTERM)
"""Exit statuses; Java has the second, however well it ended."""


class FleetError(Exception):
    """The fleet did not do what was asked of it; the message says what."""


class Fleet:
    """Pods by name. `arguments` are those of all; name and notes are each pod's own."""

    def __init__(
        self, guard: Guard, command: Sequence[str | Path], arguments: Arguments, directory: Path
    ) -> None:
        self._guard = guard
        self._command = command
        self._arguments = arguments
        self._directory = directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._starts = 0

    @property
    def pids(self) -> list[int]:
        """The processes that run."""
        return [process.pid for process in self._running.values()]

    @property
    def pods(self) -> list[str]:
        """The names of the pods that run."""
        return list(self._running)

    def start(self, pod: str, *, idle: bool = False) -> None:
        """Start a pod; an idle one only connects."""
        self._starts += 1
        notes = self._directory / f"{pod}.{self._starts}{NotesTail.SUFFIX}"
        words = replace(self._arguments, pod=pod, notes=str(notes), idle=int(idle)).words()
        with (self._directory / f"{pod}.log").open("ab") as log:
            self._running[pod] = self._guard.spawn([*self._command, *words], output=log, cwd=ROOT)

    def ask_to_stop(self, pod: str) -> None:
        """SIGTERM."""
        self._running[pod].send_signal(signal.SIGTERM)

    async def stop(self, pod: str) -> None:
        """SIGTERM; returns when the pod has ended in order, and raises FleetError if not so."""
        self.ask_to_stop(pod)
        status = await self.ended(pod)
        if status not in ORDERLY:
            raise FleetError(f"{pod} ended with {status} after SIGTERM: {self._last_words(pod)}")

    async def kill(self, pod: str) -> None:
        """SIGKILL; returns when the process is gone."""
        self._running[pod].kill()
        await self.ended(pod)

    async def ended(self, pod: str) -> int:
        """The pod's exit status, when it has ended; raises FleetError if it takes too long."""
        process = self._running[pod]
        give_up = asyncio.get_running_loop().time() + STOP_SECONDS
        while process.poll() is None:
            if asyncio.get_running_loop().time() > give_up:
                raise FleetError(f"{pod} has not ended within {STOP_SECONDS:g} s of SIGTERM")
            await asyncio.sleep(POLL_SECONDS)
        del self._running[pod]
        self._guard.release(process.pid)
        return process.returncode

    def check(self) -> None:
        """Raises FleetError if a pod has ended by itself."""
        for pod, process in self._running.items():
            if process.poll() is not None:
                raise FleetError(
                    f"{pod} ended by itself ({process.returncode}): {self._last_words(pod)}"
                )

    def _last_words(self, pod: str) -> str:
        said = (self._directory / f"{pod}.log").read_text(errors="replace")
        return said[-TAIL_CHARACTERS:]

    async def close(self) -> None:
        """End all that run: in order as far as they do it in time, then by force."""
        for pod in self.pods:
            self.ask_to_stop(pod)
        for pod in self.pods:
            try:
                await self.ended(pod)
            except FleetError:
                await self.kill(pod)
