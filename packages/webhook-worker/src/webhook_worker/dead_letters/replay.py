"""Sends dead letters on their way again, each once, however often it is interrupted.

A delivery goes into the first delay topic, and which letter it was into an audit topic, in one
Kafka transaction (KIP-98). Who begins ends what another run has left open, then reads the audit.
"""

import asyncio
import dataclasses
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import NoReturn

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced

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


class _NotStoredError(Exception):
    """The brokers did not take something of a letter; nothing of its transaction is valid."""

    def __init__(self, topic: str, letter: StoredLetter, error: BaseException) -> None:
        super().__init__(
            f"{topic} did not take the letter at {letter.place} ({letter.record.size} bytes): "
            f"{type(error).__name__}: {error}"
        )


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
    stopped: str | None = None
    """Why it has come no further, in a sentence."""

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

    It stops at what the brokers do not take: what ``Progress`` counts until then is replayed.
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
            try:
                await _send(producer, topics, group, round(now() * 1000))
            except _NotStoredError as error:
                # Nothing more can be sent by this producer: its sequence has a hole.
                progress.stopped = str(error)
                break
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
    """The identities of all letters that were replayed, by the audit."""
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
        elif letter.identity in done:
            progress.already += 1
        elif (why := obstacle(letter)) is not None:
            progress.left[why] += 1
        else:
            yield letter


async def _send(
    producer: AIOKafkaProducer, topics: Topics, letters: list[StoredLetter], now_ms: int
) -> None:
    delay = topics.schedule.delays[0]
    first = topics.schedule.topic_for(delay)
    async with producer.transaction():
        sent = []
        for letter in letters:
            value, key = letter.record.value, letter.record.key
            headers = replayed_headers(letter, delay, now_ms)
            sent.append(
                (letter, first, await _sent(producer.send(first, value, key, headers=headers)))
            )
            said = json.dumps({"at": now_ms, "delivery": letter.record.delivery}).encode()
            audited = producer.send(topics.audit, said, letter.identity.encode())
            sent.append((letter, topics.audit, await _sent(audited)))
        # A commit succeeds although a record of it was refused: what is not stored aborts it.
        results = await asyncio.gather(*(stored for *_, stored in sent), return_exceptions=True)
        failed = [
            (error, topic, letter)
            for error, (letter, topic, _) in zip(results, sent, strict=True)
            if isinstance(error, BaseException)
        ]
        if failed:
            _raise_what_is_to_blame(failed)


def _raise_what_is_to_blame(failed: list[tuple[BaseException, str, StoredLetter]]) -> NoReturn:
    """What failed first, and the largest of its kind: the brokers judge whole batches."""
    first, _, _ = failed[0]
    if isinstance(first, ProducerFenced) or not isinstance(first, Exception):
        raise first
    alike = [each for each in failed if type(each[0]) is type(first)]
    error, topic, letter = max(alike, key=lambda each: each[2].record.size)
    raise _NotStoredError(topic, letter, error)


async def _sent(sending: Awaitable[asyncio.Future[object]]) -> asyncio.Future[object]:
    """What is refused before it is sent is like what is refused by the brokers."""
    try:
        return await sending
    except KafkaError as error:
        refused: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        refused.set_exception(error)
        return refused


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
