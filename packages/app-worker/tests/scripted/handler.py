"""A producer and a handler that do what the test says."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from app_worker.handler import Done, Outcome
from app_worker.record import Record


class ScriptedProducer:
    """Stores what it is sent, unless it is told to refuse."""

    def __init__(self) -> None:
        self.refuse: Exception | None = None
        self.stored: list[tuple[str, dict[str, bytes | None]]] = []
        self.seconds: Callable[[bytes | None], float] = lambda _: 0.001

    async def send_and_wait(
        self,
        topic: str,
        *,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
    ) -> None:
        await asyncio.sleep(self.seconds(value))
        if self.refuse:
            raise self.refuse
        self.stored.append((topic, dict(headers)))

    send_alone = send_and_wait


class ScriptedHandler:
    """Does for each record what the test says, and remembers what it began and finished."""

    def __init__(self) -> None:
        self.began: list[tuple[int, int]] = []
        self.finished: list[tuple[int, int]] = []
        self.times: dict[tuple[int, int], float] = {}
        self.held: dict[tuple[int, int], asyncio.Event] = {}
        self.outcomes: Callable[[Record], Any] = lambda _: [Done()]
        self.seconds: Callable[[Record], float] = lambda _: 0.0
        self.running = self.most_running = 0

    def hold(self, partition: int, *offsets: int) -> None:
        for offset in offsets:
            self.held[partition, offset] = asyncio.Event()

    def let_go(self, partition: int, *offsets: int) -> None:
        for offset in offsets:
            self.held[partition, offset].set()

    async def handle(self, record: Record) -> Sequence[Outcome]:
        place = (record.partition, record.offset)
        self.began.append(place)
        self.times[place] = asyncio.get_running_loop().time()
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            if held := self.held.get(place):
                await held.wait()
            await asyncio.sleep(self.seconds(record))
        finally:
            self.running -= 1
        self.finished.append(place)
        return self.outcomes(record)  # type: ignore[no-any-return]
