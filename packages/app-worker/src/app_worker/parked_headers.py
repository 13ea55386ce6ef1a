"""What travels in the headers of parked records and dead letters, written and read."""

import json
from collections.abc import Callable
from typing import Any

from aiokafka import ConsumerRecord

from app_worker.delays import parse_duration
from app_worker.handler import DeadLetter, Enqueue, Park
from app_worker.record import Origin, Record

PREFIX = "worker-"
DELIVERY = "worker-delivery"
ATTEMPTS = "worker-attempts"
POSTPONED = "worker-postponed"
"""Only where a delivery was parked without an attempt: how often in a row."""
NOT_BEFORE = "worker-not-before"
"""Unix milliseconds."""
ORIGIN = "worker-origin"
"""``topic:partition:offset``; Kafka allows no colon in a topic's name."""
ORIGIN_TIMESTAMP = "worker-origin-timestamp"
REASON = "worker-reason"
DETAIL = "worker-detail"
QUEUED = "worker-queued"
"""Unix milliseconds of when it was put into the ordered topic."""
ENQUEUED = "worker-enqueued"
"""Only where the handler failed on what is left of a record: a JSON list of the deliveries that
stand in the ordered topic already."""
DEAD_AT = "worker-dead-at"
"""Unix milliseconds."""
VALUE_BYTES = "worker-value-bytes"
"""How long the value was that did not travel; -1, as in Kafka's own format, for null."""

NULL_LENGTH = -1
QUEUED_REASON = "ordered"
LATEST_NOT_BEFORE = 2**53
DELAY_GRACE = 1.2
"""How much longer than its topic's delay a record may wait: the clocks of machines differ."""
LONGEST_DELAY_SECONDS = 30 * 86_400.0
"""What no record waits longer than, where the topic's name does not say its delay."""

MAX_DETAIL = 1_000
"""Characters of a detail that are kept."""

KafkaRecord = ConsumerRecord[bytes, bytes]
OwnHeaders = list[tuple[str, bytes | None]]


class NotParkedError(ValueError):
    """A record in a delay topic that parking did not write: the sentence says what is wrong."""


def fresh(message: KafkaRecord) -> Record:
    """A record as its producer wrote it, without headers of our prefix: nobody forges them."""
    headers = message.headers
    if headers:
        headers = tuple(header for header in headers if not header[0].startswith(PREFIX))
    return Record(
        message.topic,
        message.partition,
        message.offset,
        message.key,
        message.value,
        headers,
        message.timestamp,
        Origin(message.topic, message.partition, message.offset),
    )


def unpark(message: KafkaRecord) -> Record:
    """A record that parking wrote, with what its headers say. Raises NotParkedError."""
    record, ours = read_stored(message)
    not_before = min(_read(ours, NOT_BEFORE, _moment), _latest(message))
    return record._replace(not_before_ms=not_before)


def unqueue(message: KafkaRecord) -> Record:
    """A record of the ordered topic, as parking wrote it. Raises NotParkedError."""
    record, ours = read_stored(message)
    if record.delivery is None:
        raise NotParkedError(f"header {DELIVERY} is missing")
    return record._replace(queued_ms=_read(ours, QUEUED, _moment))


def read_stored(message: KafkaRecord) -> tuple[Record, dict[str, str]]:
    """What parking wrote into either kind of topic: the record, and all of our own headers.

    Raises NotParkedError.
    """
    ours: dict[str, str] = {}
    theirs: OwnHeaders = []
    for name, value in message.headers:
        if not name.startswith(PREFIX):
            theirs.append((name, value))
        elif name in ours:
            raise NotParkedError(f"header {name} occurs twice")
        else:
            ours[name] = _text(name, value)
    value_is_null = _read(ours, VALUE_BYTES, int, "0") == NULL_LENGTH
    record = Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=None if value_is_null else message.value,
        headers=tuple(theirs),
        timestamp_ms=_read(ours, ORIGIN_TIMESTAMP, int),
        origin=_read(ours, ORIGIN, _origin),
        delivery=ours.get(DELIVERY),
        attempts=_read(ours, ATTEMPTS, _count),
        postponed=_read(ours, POSTPONED, _count, "0"),
        enqueued=_read(ours, ENQUEUED, _names, "[]"),
    )
    return record, ours


def longest_wait_seconds(topic: str) -> float:
    """How long a record of this delay topic waits at most, whatever its header says."""
    _, _, delay = topic.rpartition(".retry.")
    try:
        return parse_duration(delay) * DELAY_GRACE
    except ValueError:
        return LONGEST_DELAY_SECONDS


def parked_headers(record: Record, park: Park, now_ms: int, delay_seconds: float) -> OwnHeaders:
    """The headers of ``record`` in the delay topic, to come back ``delay_seconds`` after now."""
    not_before = now_ms + round(delay_seconds * 1000)
    headers = [*record.headers, *_ours(record, park), (NOT_BEFORE, _number(not_before))]
    if park.postponed:
        headers.append((POSTPONED, _number(park.postponed)))
    return headers


def queued_headers(record: Record, enqueue: Enqueue, now_ms: int) -> OwnHeaders:
    """The headers of ``record`` in the ordered topic, for one of its deliveries."""
    as_parked = Park(enqueue.delivery, record.attempts, "", QUEUED_REASON)
    return [*record.headers, *_ours(record, as_parked), (QUEUED, _number(now_ms))]


def dead_letter_headers(record: Record, dead: DeadLetter, now_ms: int) -> OwnHeaders:
    """The headers of ``record`` in the dead-letter topic."""
    return [*record.headers, *_ours(record, dead), (DEAD_AT, _number(now_ms))]


def _ours(record: Record, outcome: Park | DeadLetter) -> OwnHeaders:
    origin = record.origin
    headers: OwnHeaders = [
        (ATTEMPTS, _number(outcome.attempts)),
        (ORIGIN, f"{origin.topic}:{origin.partition}:{origin.offset}".encode()),
        (ORIGIN_TIMESTAMP, _number(record.timestamp_ms)),
        (REASON, outcome.reason.encode()),
    ]
    if outcome.delivery is not None:
        headers.append((DELIVERY, outcome.delivery.encode()))
    elif record.enqueued:
        headers.append((ENQUEUED, json.dumps(sorted(record.enqueued)).encode()))
    if outcome.detail:
        headers.append((DETAIL, outcome.detail[:MAX_DETAIL].encode(errors="replace")))
    return headers


def _number(value: int) -> bytes:
    return b"%d" % value


def _text(name: str, value: bytes | None) -> str:
    try:
        return (value or b"").decode()
    except UnicodeDecodeError:
        raise NotParkedError(f"header {name} is not UTF-8") from None


def _read(
    headers: dict[str, str], name: str, parse: Callable[[str], Any], default: str | None = None
) -> Any:
    text = headers.get(name, default)
    if text is None:
        raise NotParkedError(f"header {name} is missing")
    try:
        return parse(text)
    except ValueError:
        raise NotParkedError(f"header {name} cannot be read") from None


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise ValueError
    return count


def _names(text: str) -> frozenset[str]:
    try:
        names = json.loads(text)
    except RecursionError:
        raise ValueError from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError
    return frozenset(names)


def _moment(text: str) -> int:
    moment = _count(text)
    if moment > LATEST_NOT_BEFORE:
        raise ValueError
    return moment


def _latest(message: KafkaRecord) -> int:
    """Unix milliseconds by which the record's delay is over."""
    return message.timestamp + round(longest_wait_seconds(message.topic) * 1000)


def _origin(text: str) -> Origin:
    topic, partition, offset = text.split(":")
    if not topic:
        raise ValueError
    return Origin(topic, _count(partition), _count(offset))
