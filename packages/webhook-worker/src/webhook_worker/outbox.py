"""Writes to Kafka what no outcome depends on, behind the work: bounded, tried again, counted."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Protocol

from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from app_worker.backoff import Backoff
from webhook_worker.metrics import WebhookMetrics

MOST_WAITING = 10_000
"""Records; what comes while there are more is dropped, and counted."""
MOST_AT_ONCE = 500
CLOSE_SECONDS = 2.0
"""The most that the end waits for what is not written yet."""
BACKOFF = Backoff(first=0.1, longest=5.0)

_log = logging.getLogger(__name__)


class Send(Protocol):
    """Sends one record; RenewableProducer.send_and_wait is one."""

    def __call__(
        self,
        topic: str,
        *,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
    ) -> Coroutine[Any, Any, None]:
        """Return when the brokers have acknowledged the record. Raises KafkaError and OSError."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A record to be written."""

    topic: str
    key: bytes
    value: bytes | None


class Outbox:
    """Records on their way to Kafka; ``opened`` writes them as long as its block lasts."""

    def __init__(
        self,
        send: Send,
        metrics: WebhookMetrics,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._send = send
        self._metrics = metrics
        self._jitter = jitter
        self._waiting: dict[object, Letter] = {}
        self._numbers = count()
        self._something = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._in_work = 0
        metrics.outbox_waiting.set_function(lambda: len(self._waiting) + self._in_work)

    def add(self, letter: Letter) -> None:
        """Write it soon, in any order; or drop it if too many wait."""
        if len(self._waiting) >= MOST_WAITING:
            self._metrics.outbox_dropped.labels(letter.topic).inc()
            return
        self._put(next(self._numbers), letter)

    def replace(self, letter: Letter) -> None:
        """Write it in place of what still waits with the same topic and key, and after what was."""
        self._put((letter.topic, letter.key), letter)

    def _put(self, slot: object, letter: Letter) -> None:
        self._waiting[slot] = letter
        self._something.set()
        self._empty.clear()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Write what comes; at the end wait for the rest, but not for long."""
        writing = asyncio.create_task(self._write())
        try:
            yield
        finally:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._empty.wait()
            except TimeoutError:
                _log.error(
                    "records were not written",
                    extra={"records": len(self._waiting) + self._in_work},
                )
            writing.cancel()
            await asyncio.wait([writing])

    async def _write(self) -> None:
        failures = 0
        while True:
            await self._something.wait()
            batch = dict(islice(self._waiting.items(), MOST_AT_ONCE))
            for slot in batch:
                del self._waiting[slot]
            self._in_work = len(batch)
            failed = await self._sent(batch)
            # What came meanwhile for the same key is newer.
            self._waiting = failed | self._waiting
            self._in_work = 0
            if not self._waiting:
                self._something.clear()
                self._empty.set()
            failures = failures + 1 if failed else 0
            if failed:
                await asyncio.sleep(BACKOFF.seconds(failures, self._jitter()))

    async def _sent(self, batch: dict[object, Letter]) -> dict[object, Letter]:
        """Return those that were not stored and are to be tried again."""
        answers = await asyncio.gather(
            *(
                self._send(each.topic, value=each.value, key=each.key, headers=())
                for each in batch.values()
            ),
            return_exceptions=True,
        )
        failed: dict[object, Letter] = {}
        error = ""
        for (slot, letter), answer in zip(batch.items(), answers, strict=True):
            if isinstance(answer, MessageSizeTooLargeError | RecordListTooLargeError):
                self._metrics.outbox_dropped.labels(letter.topic).inc()
            elif isinstance(answer, Exception):
                failed[slot] = letter
                error = type(answer).__name__
            elif answer is not None:
                raise answer
        if failed:
            self._metrics.outbox_failures.inc()
            _log.error(
                "records are not written yet", extra={"records": len(failed), "error": error}
            )
        return failed
