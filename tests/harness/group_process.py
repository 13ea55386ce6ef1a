"""Starts members of a group as a process, and collects what it writes."""

import asyncio
import json
import signal
import sys
from typing import Any

from tests.harness.group_account import Line


class GroupProcess:
    """One process with members named ``<name>0``, ``<name>1``, ..."""

    def __init__(self, name: str, members: int) -> None:
        self.name = name
        self.members = [f"{name}{number}" for number in range(members)]
        self.lines: list[Line] = []
        self._process: asyncio.subprocess.Process | None = None
        self._reading: list[asyncio.Task[None]] = []
        self._errors: list[str] = []

    async def start(self, **options: Any) -> None:
        """Start it; the options are those of ``group_member``."""
        arguments = ["--name", self.name, "--members", str(len(self.members))]
        for option, value in options.items():
            arguments += [f"--{option.replace('_', '-')}", str(value)]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.harness.group_member",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=2**20,
        )
        self._reading = [
            asyncio.create_task(self._collect()),
            asyncio.create_task(self._collect_errors()),
        ]

    @property
    def errors(self) -> str:
        """What it logged."""
        return "".join(self._errors)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = 30.0) -> int:
        """Send a signal that ends it, wait until it has ended; return its exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self.send(number)
        try:
            async with asyncio.timeout(seconds):
                code = await self._process.wait()
        except TimeoutError:
            self.kill()
            raise AssertionError(f"{self.name} has not ended: {self.errors[-3000:]}") from None
        await asyncio.wait(self._reading)
        return code

    def kill(self) -> None:
        """End it with SIGKILL, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def close(self) -> None:
        """End it with SIGKILL, if it runs, and wait for its last words."""
        self.kill()
        if self._process is not None:
            await self._process.wait()
            await asyncio.wait(self._reading)

    def said(self, what: str, member: str | None = None) -> list[Line]:
        """What its members (or one of them) wrote of that kind."""
        return [
            line for line in self.lines if line["what"] == what and member in (None, line["member"])
        ]

    async def _collect(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(json.loads(line))

    async def _collect_errors(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self._errors.append(line.decode())
