"""Stores deliveries in delay, ordered and dead-letter topics, until the brokers have them."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from app_worker.backoff import Backoff
from app_worker.delays import DelaySchedule, spread
from app_worker.handler import DeadLetter, Enqueue, Park
from app_worker.observability.metrics import WorkerMetrics
from app_worker.parked_headers import (
    NULL_LENGTH,
    VALUE_BYTES,
    OwnHeaders,
    dead_letter_headers,
    parked_headers,
    queued_headers,
)
from app_worker.record import Record

BACKOFF = Backoff(first=0.1, longest=5.0)

STALLED_SECONDS = 10.0
"""A write without an answer counts as a failure each time that so long has passed."""

TOO_LARGE = "too_large"
TOO_LARGE_ERRORS = (MessageSizeTooLargeError, RecordListTooLargeError)

_log = logging.getLogger(__name__)


class Send(Protocol):
    """Sends one record."""

    def __call__(
        self,
        topic: str,
        *,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
    ) -> Coroutine[Any, Any, None]:
        """Return when the brokers have acknowledged the record."""


class RecordProducer(Protocol):
    """What parking needs of a producer."""

    @property
    def send_and_wait(self) -> Send:
        """Sends a record in one batch with others."""

    @property
    def send_alone(self) -> Send:
        """Sends a record in a batch of its own."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What is written to Kafka."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: OwnHeaders

    def sendable(self) -> "Letter":
        """The same in a form that aiokafka takes: it refuses a null value without a key."""
        if self.key is not None or self.value is not None:
            return self
        return Letter(self.topic, None, b"", [*self.headers, _value_bytes(None)])

    def without_value(self) -> "Letter":
        """The same, saying only how long the value was."""
        return Letter(self.topic, self.key, b"", [*self.headers, _value_bytes(self.value)])


class Parking:
    """The only way to a delay topic, to the ordered topic and to the dead-letter topic."""

    def __init__(
        self,
        producer: RecordProducer,
        schedule: DelaySchedule,
        dead_letter_topic: str,
        metrics: WorkerMetrics,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        *,
        ordered_topic: str | None = None,
    ) -> None:
        self.schedule = schedule
        self._producer = producer
        self._dead_letter_topic = dead_letter_topic
        self._ordered_topic = ordered_topic
        self._metrics = metrics
        self._now = now
        self._jitter = jitter

    @property
    def orders(self) -> bool:
        """Whether there is an ordered topic."""
        return self._ordered_topic is not None

    async def store(self, record: Record, outcome: Park | DeadLetter) -> None:
        """Return when the brokers have acknowledged the delivery; try again until then.

        What is too large for its delay topic becomes a dead letter; a dead letter that is too large
        goes without its value, then also without key and the producer's headers.
        """
        if isinstance(outcome, Park):
            if await self._stored(partial(self._parked, record, outcome)):
                self._metrics.parked.labels(outcome.delay).inc()
                self._metrics.outcomes.labels("parked").inc()
                return
            detail = f"too large for {self.schedule.topic_for(outcome.delay)}: {outcome.reason}"
            outcome = DeadLetter(outcome.delivery, outcome.attempts, TOO_LARGE, detail)
        await self._bury(record, outcome)
        self._metrics.dead_letters.labels(outcome.reason).inc()
        self._metrics.outcomes.labels("dead_letter").inc()

    async def enqueue(self, record: Record, enqueue: Enqueue) -> None:
        """Return when the brokers have acknowledged the delivery in the ordered topic.

        It is tried again until then. It keeps its key, and so its place behind the earlier ones.
        What is too large becomes a dead letter.
        """
        if self._ordered_topic is None:
            raise ValueError("there is no ordered topic")
        headers = queued_headers(record, enqueue, self._now_ms())
        letter = Letter(self._ordered_topic, record.key, record.value, headers)
        if await self._stored(lambda: letter):
            self._metrics.outcomes.labels("enqueued").inc()
            return
        detail = f"too large for {self._ordered_topic}"
        await self.store(record, DeadLetter(enqueue.delivery, record.attempts, TOO_LARGE, detail))

    async def _bury(self, record: Record, dead: DeadLetter) -> None:
        headers = dead_letter_headers(record, dead, self._now_ms())
        whole = Letter(self._dead_letter_topic, record.key, record.value, headers)
        if await self._stored(lambda: whole) or await self._stored(whole.without_value):
            return
        least = Letter(whole.topic, None, record.value, headers[len(record.headers) :])
        await self._stored(least.without_value, least=True)

    async def _stored(self, letter: Callable[[], Letter], *, least: bool = False) -> bool:
        """Whether it was stored; False if it is too large and not the least there is to store."""
        failures = 0
        send = self._producer.send_and_wait
        while True:
            current = letter().sendable()
            try:
                await self._acknowledged(send, current)
            except Exception as error:
                if isinstance(error, TOO_LARGE_ERRORS):
                    if send == self._producer.send_and_wait:
                        # The brokers judge whole batches: another record in it may be to blame.
                        send = self._producer.send_alone
                        continue
                    if not least:
                        return False
                failures += 1
                self._failed(current.topic, f"{type(error).__name__}: {error}")
                await asyncio.sleep(BACKOFF.seconds(failures, self._jitter()))
            else:
                return True

    async def _acknowledged(self, send: Send, letter: Letter) -> None:
        sending = asyncio.ensure_future(
            send(letter.topic, value=letter.value, key=letter.key, headers=letter.headers)
        )
        try:
            while not (await asyncio.wait({sending}, timeout=STALLED_SECONDS))[0]:
                # It is idempotent and goes on by itself; sent again, it could be stored twice.
                self._failed(letter.topic, f"not acknowledged in {STALLED_SECONDS:g} s")
            sending.result()
        finally:
            sending.cancel()

    def _failed(self, topic: str, error: str) -> None:
        self._metrics.parking_failures.inc()
        _log.error(
            "a delivery is not stored yet; its record stays open",
            extra={"topic": topic, "error": error},
        )

    def _parked(self, record: Record, park: Park) -> Letter:
        seconds = spread(self.schedule.seconds(park.delay), self._jitter())
        headers = parked_headers(record, park, self._now_ms(), seconds)
        topic = self.schedule.topic_for(park.delay)
        return Letter(topic, record.key, record.value, headers)

    def _now_ms(self) -> int:
        return round(self._now() * 1000)


def _value_bytes(value: bytes | None) -> tuple[str, bytes]:
    return VALUE_BYTES, b"%d" % (NULL_LENGTH if value is None else len(value))
