"""Writes to Kafka what no outcome depends on, behind the work: bounded, tried again, counted.

Each topic by itself: one that is missing, or may not be written, costs no other anything.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from itertools import count, islice
from typing import Any, NamedTuple, Protocol

from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from app_worker.backoff import Backoff
from webhook_worker.metrics import WebhookMetrics

MOST_WAITING = 10_000
"""Records of one topic; what comes while there are more is dropped, and counted."""
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


class Letter(NamedTuple):
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
        self._numbers = count()
        self._topics: dict[str, _OneTopic] = {}
        self._writing: list[asyncio.Task[None]] = []
        metrics.outbox_waiting.set_function(self._unwritten)

    def add(self, letter: Letter) -> None:
        """Write it soon, in any order; or drop it if too many of its topic wait."""
        topic = self._of(letter.topic)
        if len(topic.waiting) >= MOST_WAITING:
            self._metrics.outbox_dropped.labels(letter.topic).inc()
            return
        topic.put(next(self._numbers), letter)

    def replace(self, letter: Letter) -> None:
        """Write it in place of what still waits with the same topic and key, and after what was."""
        self._of(letter.topic).put(letter.key, letter)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Write what comes; at the end wait for the rest, but not for long."""
        try:
            yield
        finally:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    for topic in list(self._topics.values()):
                        await topic.empty.wait()
            except TimeoutError:
                _log.error("records were not written", extra={"records": self._unwritten()})
            finally:
                for writing in self._writing:
                    writing.cancel()
            await asyncio.gather(*self._writing, return_exceptions=True)

    def _of(self, name: str) -> "_OneTopic":
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = _OneTopic(name, self._send, self._metrics, self._jitter)
            self._writing.append(asyncio.create_task(topic.write()))
        return topic

    def _unwritten(self) -> int:
        return sum(topic.unwritten for topic in self._topics.values())


class _OneTopic:
    """What is on its way to one topic."""

    def __init__(
        self, name: str, send: Send, metrics: WebhookMetrics, jitter: Callable[[], float]
    ) -> None:
        self._name = name
        self._send = send
        self._metrics = metrics
        self._jitter = jitter
        self.waiting: dict[object, Letter] = {}
        self.empty = asyncio.Event()
        """Set while all that came has been written."""
        self._something = asyncio.Event()
        self._in_work = 0

    @property
    def unwritten(self) -> int:
        """Records that the brokers have not acknowledged yet."""
        return len(self.waiting) + self._in_work

    def put(self, slot: object, letter: Letter) -> None:
        """Write it in place of what waits in the same slot."""
        self.waiting[slot] = letter
        self._something.set()
        self.empty.clear()

    async def write(self) -> None:
        """Write what comes until cancelled."""
        failures = 0
        while True:
            await self._something.wait()
            batch = dict(islice(self.waiting.items(), MOST_AT_ONCE))
            for slot in batch:
                del self.waiting[slot]
            self._in_work = len(batch)
            failed = await self._sent(batch)
            # What came meanwhile for the same key is newer.
            self.waiting = failed | self.waiting
            self._in_work = 0
            if not self.waiting:
                self._something.clear()
                self.empty.set()
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
            elif answer is not None:
                # Also a cancellation: it is not ours, it is that of a client that ends.
                failed[slot] = letter
                error = type(answer).__name__
        if failed:
            self._metrics.outbox_failures.inc()
            _log.error(
                "records are not written yet",
                extra={"topic": self._name, "records": len(failed), "error": error},
            )
        return failed
