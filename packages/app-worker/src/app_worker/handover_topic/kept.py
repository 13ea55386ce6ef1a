"""Keeps what controllers need of the hand-over topic, and tells whether it can be used."""

import asyncio
import dataclasses
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from app_worker.backoff import Backoff
from app_worker.clients import stop_client
from app_worker.handover.needs import Mode, WhyNot, Words
from app_worker.handover.timing import LONGEST_ATTEMPT_SECONDS
from app_worker.handover.words import handover_topic
from app_worker.handover_topic.probe import Probe, Verdict
from app_worker.handover_topic.reader import Consumer, WordReader
from app_worker.handover_topic.writer import WordWriter
from app_worker.observability.metrics import WorkerMetrics
from app_worker.renewable_producer import RenewableProducer
from app_worker.settings import KafkaSettings, WorkerSettings
from kafka_utils import create_place_reader, create_producer

CURABLE = frozenset(
    {
        WhyNot.TOPIC_MISSING,
        WhyNot.TOPIC_MISCONFIGURED,
        WhyNot.REFUSED,
        WhyNot.PROBE_FAILED,
    }
)
"""What somebody may put right while this process runs."""
BACKOFF = Backoff(first=2.0, longest=300.0)
"""Until it is tried again."""
WRITE_MS = 5_000
READ_MS = 10_000
"""How long requests about words may take at most; holds and obligations last for seconds."""
FETCH_WAIT_MS = 100
"""A place that is new waits for the fetch before it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whose records are handed over, by whom."""

    topic: str
    create_command: str
    kafka: KafkaSettings
    worker: WorkerSettings


@asynccontextmanager
async def kept_words(asked: Asked, metrics: WorkerMetrics) -> AsyncIterator[Words]:
    """Within the block words can be written and read; whether they are to be was found out."""
    kafka, index = asked.kafka, asked.worker.process_index
    topic = handover_topic(asked.topic)
    to_write = dataclasses.replace(
        kafka.producer_config(index), request_timeout_ms=min(WRITE_MS, kafka.request_timeout_ms)
    )
    to_read = dataclasses.replace(
        kafka.consumer_config(process_index=index, revoke_timeout_ms=1),
        request_timeout_ms=min(READ_MS, kafka.request_timeout_ms),
        fetch_max_wait_ms=FETCH_WAIT_MS,
        # Where a foreign transaction is open, words end where they end.
        isolation_level="read_uncommitted",
    )

    def consumer() -> Consumer:
        return create_place_reader(to_read)

    producer = RenewableProducer(lambda: create_producer(to_write, may_create_topics=False))
    writer = WordWriter(topic, producer, metrics.word_failures)
    words = Words(Mode(), writer, lambda deliver: WordReader(topic, consumer, deliver, metrics))
    probe = Probe(
        topic=topic,
        create_command=asked.create_command,
        group=kafka.group_id,
        of_topic=asked.topic,
        admin=partial(kafka.admin, index),
        writer=writer,
        create_consumer=consumer,
    )
    looking = await _looked(words, asked, probe, metrics)
    try:
        yield words
    finally:
        looking.cancel()
        await asyncio.wait([looking])
        await stop_client(producer)


async def _looked(
    words: Words, asked: Asked, probe: Probe, metrics: WorkerMetrics
) -> asyncio.Task[None]:
    """Settle the mode; return what goes on looking until nothing is in the way any more."""
    verdict = beforehand(asked.worker) or await probe.verdict()
    _settle(words, verdict, asked, metrics)

    async def look_again() -> None:
        tries = 0
        while words.mode.why_not in CURABLE:
            tries += 1
            await asyncio.sleep(BACKOFF.seconds(tries, random.random()))
            verdict = await probe.verdict()
            if verdict.why_not is not words.mode.why_not:
                _settle(words, verdict, asked, metrics)

    return asyncio.create_task(look_again())


def beforehand(worker: WorkerSettings) -> Verdict | None:
    """What needs no question to the brokers; None if nothing is in the way so far."""
    if worker.handover == "off":
        return Verdict(WhyNot.SETTING, "WORKER_HANDOVER is off")
    if worker.handler_timeout_seconds > LONGEST_ATTEMPT_SECONDS:
        seconds = f"{worker.handler_timeout_seconds:g}"
        return Verdict(
            WhyNot.NO_DEADLINE,
            f"WORKER_HANDLER_TIMEOUT_SECONDS is {seconds}, but {LONGEST_ATTEMPT_SECONDS:g} at most "
            "can be waited for elsewhere",
        )
    return None


def _settle(words: Words, verdict: Verdict, asked: Asked, metrics: WorkerMetrics) -> None:
    why_not, sentence = verdict.why_not, verdict.sentence
    if why_not is None and asked.kafka.group_instance_id is not None:
        why_not = WhyNot.STATIC_MEMBER
        sentence = "nobody else takes over when a static member ends"
    words.mode = mode = Mode(why_not)
    detail = mode_state(mode)
    metrics.handover_mode.clear()
    metrics.handover_mode.labels(detail["mode"], why_not or "").set(1)
    if why_not is None:
        _log.info("partitions are handed over with what is in flight", extra=detail)
    else:
        when = "at the end" if mode.on_revoke else "when they go"
        wrong = why_not in CURABLE and why_not is not WhyNot.TOPIC_MISSING  # It may not be wanted.
        level = logging.WARNING if wrong else logging.INFO
        _log.log(level, "partitions are drained %s: %s", when, sentence, extra=detail)


def mode_state(mode: Mode) -> dict[str, str | None]:
    """A mode in words, for the log, metrics and /debug/state."""
    name = "on" if mode.at_end else "revoke_only" if mode.on_revoke else "off"
    return {"mode": name, "reason": mode.why_not}
