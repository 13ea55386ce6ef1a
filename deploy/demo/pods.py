"""A pod: one supervisord and its workers, started, stopped or killed as one."""

import asyncio
import os
import random
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from deploy.local.guard import Guard, kill_sessions, living
from deploy.local.ports import CANDIDATES, claim

SUPERVISORD_CONF = Path(__file__).parents[1] / "image" / "supervisord.conf"
# The pod's own grace, above supervisord's stopwaitsecs.
GRACE_SECONDS = 45.0
TAIL_LINES = 10


class PodError(Exception):
    """A pod did not do what it was told; the message says which, and what."""


class Pod:
    """Runs ``processes`` workers under supervisord, in a session of its own."""

    def __init__(
        self,
        name: str,
        *,
        guard: Guard,
        directory: Path,
        base_port: int,
        processes: int,
        environment: Mapping[str, str],
        command: Sequence[str | Path] = ("supervisord", "-c", SUPERVISORD_CONF),
    ) -> None:
        """``directory`` is the pod's alone; ``environment`` is all that its workers see.

        ``command`` is supervisord, or what becomes it.
        """
        self.name = name
        self.ports = range(base_port, base_port + processes)
        self._guard = guard
        self._directory = directory
        self._command = command
        self._environment = {
            **environment,
            "KAFKA_CLIENT_ID": name,
            "WORKER_METRICS_PORT": str(base_port),
            "POD_PROCESSES": str(processes),
            "POD_DIRECTORY": str(directory),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What supervisord and all its workers print, as a container's log would have it."""
        return self._directory / "output.log"

    def log_tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])

    @property
    def running(self) -> bool:
        """Whether supervisord runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def session(self) -> int:
        """The session that all its processes belong to; raises PodError before the first start."""
        return self._started().pid

    def start(self, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        """Start supervisord, which starts the workers; returns at once.

        ``environment`` goes before that of the pod.
        """
        if self.running:
            raise PodError(f"{self.name} runs already")
        self._directory.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = self._guard.spawn(
                self._command,
                output=output,
                cwd=self._directory,
                env={**self._environment, **environment},
            )

    @property
    def exit_code(self) -> int | None:
        """Of supervisord; None while it runs, or before its first start."""
        return None if self._process is None else self._process.poll()

    async def kill(self) -> None:
        """SIGKILL to supervisord and every worker; returns when all are gone."""
        process = self._started()
        while process.poll() is None or living([process.pid]):
            kill_sessions([process.pid])
            await asyncio.sleep(0.01)
        self._guard.release(process.pid)

    async def stop(self) -> int:
        """SIGTERM, then wait until all are gone; returns supervisord's exit code.

        Raises PodError when it takes longer than the pod's grace; it is killed then.
        """
        process = self._started()
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
        give_up = time.monotonic() + GRACE_SECONDS
        while process.poll() is None:
            if time.monotonic() > give_up:
                await self.kill()
                raise PodError(f"{self.name} had not stopped {GRACE_SECONDS:.0f} s after SIGTERM")
            await asyncio.sleep(0.02)
        self._guard.release(process.pid)
        return process.returncode

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise PodError(f"{self.name} was never started")
        return self._process


def free_port_ranges(count: int, length: int) -> list[int]:
    """The first ports of ``count`` ranges, each of ``length`` consecutive free loopback ports."""
    starts = list(range(CANDIDATES.start, CANDIDATES.stop - length, length))
    random.shuffle(starts)
    found: list[int] = []
    for start in starts:
        if len(found) == count:
            break
        if all(claim(port) for port in range(start, start + length)):
            found.append(start)
    if len(found) < count:
        raise OSError(f"only {len(found)} of {count} ranges of {length} loopback ports are free")
    return found
