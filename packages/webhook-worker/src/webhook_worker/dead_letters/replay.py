"""Sends dead letters on their way again, each once, however often it is interrupted.

A delivery goes into the first delay topic, and where its letter lies into an audit topic, in one
Kafka transaction (KIP-98). Who begins ends what another run has left open, then reads the audit.
"""

import asyncio
import dataclasses
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer

from app_worker.dead_letters import StoredLetter, read_letter, replayed_headers
from app_worker.delays import DelaySchedule
from app_worker.parked_headers import NotParkedError
from kafka_utils import ConsumerConfig, ProducerConfig, create_producer
from webhook_worker.dead_letters.reading import everything_in
from webhook_worker.dead_letters.selection import Selection, obstacle

MOST_IN_TRANSACTION = 100
"""Letters; the broker writes a marker for each transaction into each partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """Where letters lie, where deliveries begin again, and where it is kept which did."""

    dead_letters: str
    audit: str
    schedule: DelaySchedule


@dataclass(slots=True)
class Progress:
    """How far it has come."""

    replayed: int = 0
    already: int = 0
    """Letters that an earlier run has replayed."""
    left: Counter[str] = field(default_factory=Counter)
    """Letters that were meant and cannot be replayed, by the reason why."""
    other: int = 0
    """Letters that were not meant."""

    @property
    def seen(self) -> int:
        """Records that were looked at."""
        return self.replayed + self.already + self.left.total() + self.other


async def replay(
    topics: Topics,
    selection: Selection,
    reading: ConsumerConfig,
    writing: ProducerConfig,
    *,
    rate: float | None,
    tell: Callable[[Progress], object],
    now: Callable[[], float] = time.time,
) -> Progress:
    """Replay the letters meant, at most ``rate`` a second; ``tell`` is called as it goes on.

    Raises ProducerFenced when another replay of these letters has begun.
    """
    config = dataclasses.replace(writing, transactional_id=f"{topics.dead_letters}.replay")
    producer = create_producer(config)
    await producer.start()
    try:
        progress = Progress()
        done = await replayed_before(reading, topics.audit)
        letters = replayable(reading, topics.dead_letters, selection, done, progress)
        pace = _Pace(rate)
        async for group in _groups(letters, pace.most_at_once):
            await pace.wait_for(len(group))
            await _send(producer, topics, group, round(now() * 1000))
            progress.replayed += len(group)
            tell(progress)
        tell(progress)
        return progress
    finally:
        await producer.stop()


async def rehearse(topics: Topics, selection: Selection, reading: ConsumerConfig) -> Progress:
    """Say what ``replay`` would do, and do nothing."""
    progress = Progress()
    done = await replayed_before(reading, topics.audit)
    async for _ in replayable(reading, topics.dead_letters, selection, done, progress):
        progress.replayed += 1
    return progress


async def replayed_before(reading: ConsumerConfig, audit: str) -> set[str]:
    """The places of all letters that were replayed, by the audit."""
    return {(record.key or b"").decode() async for record in everything_in(reading, audit)}


async def replayable(
    reading: ConsumerConfig, topic: str, selection: Selection, done: set[str], progress: Progress
) -> AsyncIterator[StoredLetter]:
    """The letters that are to be replayed; the others are counted in ``progress``."""
    async for record in everything_in(reading, topic):
        try:
            letter = read_letter(record)
        except NotParkedError:
            progress.other += 1
            continue
        if not selection.has(letter):
            progress.other += 1
        elif letter.place in done:
            progress.already += 1
        elif (why := obstacle(letter)) is not None:
            progress.left[why] += 1
        else:
            yield letter


async def _send(
    producer: AIOKafkaProducer, topics: Topics, letters: list[StoredLetter], now_ms: int
) -> None:
    delay = topics.schedule.delays[0]
    async with producer.transaction():
        for letter in letters:
            await producer.send(
                topics.schedule.topic_for(delay),
                letter.record.value,
                letter.record.key,
                headers=replayed_headers(letter, delay, now_ms),
            )
            said = json.dumps({"at": now_ms, "delivery": letter.record.delivery})
            await producer.send(topics.audit, said.encode(), letter.place.encode())


async def _groups(
    letters: AsyncIterator[StoredLetter], most: int
) -> AsyncIterator[list[StoredLetter]]:
    group: list[StoredLetter] = []
    async for letter in letters:
        group.append(letter)
        if len(group) == most:
            yield group
            group = []
    if group:
        yield group


class _Pace:
    """Lets no more go than a rate allows."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._next = 0.0
        # Two a second would otherwise wait for fifty seconds, and then come all at once.
        self.most_at_once = max(1, int(min(MOST_IN_TRANSACTION, rate or MOST_IN_TRANSACTION)))

    async def wait_for(self, count: int) -> None:
        """Return when so many more may go."""
        if self._rate is None:
            return
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(max(0.0, self._next - clock()))
        self._next = max(self._next, clock()) + count / self._rate
