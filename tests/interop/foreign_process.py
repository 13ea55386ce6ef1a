"""A process with one member of another make, whose words become the lines of ours."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.harness.group_account import Line
from tests.harness.group_process import GroupProcess

HERE = Path(__file__).parent


class ForeignProcess(GroupProcess):
    """One member, named ``<name>0``; it leaves in order at SIGTERM."""

    leads_by: str
    """What this client logs when it makes a plan for the group."""

    def __init__(self, name: str) -> None:
        super().__init__(name, 1)

    @property
    def led(self) -> bool:
        """Whether it has ever made a plan."""
        return self.leads_by in self.errors

    def translate(self, said: dict[str, Any]) -> list[Line]:
        """Return what it said in the form of ``group_member``."""
        return [said]

    async def run(self, command: Sequence[str | Path]) -> None:
        """Start the command."""
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=2**20,
        )
        self._reading = [
            asyncio.create_task(self._collect()),
            asyncio.create_task(self._collect_errors()),
        ]

    async def _collect(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines += self.translate(json.loads(line))


class RdkafkaProcess(ForeignProcess):
    """librdkafka's consumer, by confluent-kafka."""

    leads_by = "(me)"

    async def start(self, **options: Any) -> None:
        """Start it; the options are those of ``rdkafka_member``."""
        given = arguments({"name": self.members[0], **options})
        await self.run([sys.executable, HERE / "rdkafka_member.py", *given])


class AiokafkaProcess(ForeignProcess):
    """aiokafka's own consumer, of the release that is installed for ``python``."""

    def __init__(self, name: str, python: str = sys.executable) -> None:
        super().__init__(name)
        self._python = python

    async def start(self, **options: Any) -> None:
        """Start it; the options are those of ``aiokafka_member``."""
        given = arguments({"name": self.members[0], **options})
        await self.run([self._python, HERE / "aiokafka_member.py", *given])


def arguments(options: dict[str, Any]) -> list[str]:
    """Return options as a command line has them."""
    return [
        word
        for option, value in options.items()
        for word in (f"--{option.replace('_', '-')}", str(value))
    ]
