"""Receives what workers deliver, answers when it is told to, and keeps the ledger."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.harness.worker_process import program_of

_DELIVER = """
async def deliver(number):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["TEST_PORT"]))
    try:
        writer.write(b"%d\\n" % number)
        if await reader.readline() != b"ok\\n":
            raise ConnectionError("not answered")
    finally:
        writer.close()
"""

PROGRAM = program_of(
    _DELIVER
    + """
async def handle(record):
    await deliver(int(record.value))
    return [Done()]
"""
)
"""A worker that delivers the number in each record, as a line, to the port TEST_PORT."""

AGAIN = 1_000_000

PARKING_PROGRAM = program_of(
    _DELIVER
    + """
async def handle(record):
    number = int(record.value)
    await deliver(number + 1_000_000 * record.attempts)
    return [Done() if record.attempts or number % 4 > 1 else Park("d", 1, "1s", "why_not")]
"""
)
"""The same, but it parks some numbers, and delivers them once more with AGAIN added."""


def is_parked(number: int) -> bool:
    """Whether PARKING_PROGRAM parks it: some in each of any two or three partitions."""
    return number % 4 <= 1


@dataclass
class Delivery:
    """One attempt, as the receiver saw it; times are of its monotonic clock."""

    number: int
    began: float
    answered: float | None = None


@dataclass
class LineReceiver:
    """Listens on a free port; an async context manager."""

    hold: Callable[[int], float | None] = lambda _: 0.0
    """How many seconds after it came a line is answered; None is never."""
    gates: dict[int, asyncio.Event] = field(default_factory=dict)
    """A line with one is answered, after that time, when it is set."""
    deliveries: list[Delivery] = field(default_factory=list)
    port: int = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._receive, "127.0.0.1", 0, backlog=1_000)
        self.port = self._server.sockets[0].getsockname()[1]
        self._open: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)
        await self._server.wait_closed()

    @property
    def answered(self) -> set[int]:
        """Everything that was answered at least once."""
        return {each.number for each in self.deliveries if each.answered is not None}

    @property
    def in_hand(self) -> int:
        """How many deliveries wait for their answer, those of dead workers among them."""
        return sum(each.answered is None for each in self.deliveries)

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._serve(reader, writer)
        except OSError:
            pass  # The worker died meanwhile: the delivery stays without an answer.
        finally:
            self._open.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if not line:
            return
        delivery = Delivery(int(line), time.monotonic())
        self.deliveries.append(delivery)
        seconds = self.hold(delivery.number)
        await asyncio.sleep(3_600 if seconds is None else seconds)
        if gate := self.gates.get(delivery.number):
            await gate.wait()
        writer.write(b"ok\n")
        await writer.drain()
        delivery.answered = time.monotonic()
