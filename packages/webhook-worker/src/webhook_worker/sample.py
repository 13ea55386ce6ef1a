"""Makes sample events and produces them, to try the way from the topic to an endpoint."""

import asyncio
import json
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka.structs import RecordMetadata

from kafka_utils import ProducerConfig, create_producer
from webhook_worker.event import parse_event

MOST_UNANSWERED = 500
"""Records on their way to the brokers at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What to send: one event, or several alike."""

    customer_id: str
    type: str
    data: str
    """JSON; it travels exactly as written."""
    event_id: str | None = None
    """None: a new one for each event."""
    count: int = 1
    per_second: float | None = None
    """None: as fast as the brokers take them."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An event that the brokers acknowledged."""

    event_id: str
    partition: int
    offset: int


def sample_value(sample: Sample, event_id: str, now: datetime) -> bytes:
    """The record's value."""
    members = {
        "id": event_id,
        "type": sample.type,
        "customer_id": sample.customer_id,
        "timestamp": now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }
    start = json.dumps(members, ensure_ascii=False)
    return f'{start[:-1]}, "data": {sample.data}}}'.encode()


def check_sample(sample: Sample, max_bytes: int) -> None:
    """Raise BadEventError if the worker would take the sample for no event."""
    event_id = next(_event_ids(sample))
    parse_event(sample_value(sample, event_id, datetime.now(UTC)), max_bytes)


async def send(sample: Sample, topic: str, config: ProducerConfig) -> AsyncGenerator[Stored, None]:
    """Produce the events in order, keyed by customer; yields each when it is acknowledged.

    Raises aiokafka's KafkaError, and what ``create_producer`` raises.
    """
    producer = create_producer(config)
    loop = asyncio.get_running_loop()
    key = sample.customer_id.encode()
    unanswered: deque[tuple[str, Awaitable[RecordMetadata]]] = deque()
    try:
        await producer.start()
        began = loop.time()
        for number, event_id in enumerate(_event_ids(sample)):
            if sample.per_second is not None:
                await asyncio.sleep(began + number / sample.per_second - loop.time())
            if len(unanswered) >= MOST_UNANSWERED:
                yield await _answer(*unanswered.popleft())
            value = sample_value(sample, event_id, datetime.now(UTC))
            unanswered.append((event_id, await producer.send(topic, value, key=key)))
        while unanswered:
            yield await _answer(*unanswered.popleft())
    finally:
        await producer.stop()


async def _answer(event_id: str, acknowledged: Awaitable[RecordMetadata]) -> Stored:
    metadata = await acknowledged
    return Stored(event_id, metadata.partition, metadata.offset)


def _event_ids(sample: Sample) -> Iterator[str]:
    for _ in range(sample.count):
        yield f"evt_{uuid.uuid4().hex}" if sample.event_id is None else sample.event_id
