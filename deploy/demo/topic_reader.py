"""Reads the deliveries that stand in delay topics and in the dead-letter topic."""

import json
from collections.abc import AsyncIterator, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from app_worker.parked_headers import DELIVERY, REASON
from deploy.demo.ledger import Stored


class UnreadableRecordError(Exception):
    """A stored record is not an event with its headers; the message says which one and why."""


async def stored_deliveries(
    consumer: AIOKafkaConsumer, begins: Mapping[TopicPartition, int]
) -> list[Stored]:
    """Every delivery in these partitions, from the offsets given to the present ends.

    The consumer is started and has no group; its assignment is replaced.
    """
    return [stored_delivery(record) async for record in _records(consumer, begins)]


def stored_delivery(record: ConsumerRecord[bytes, bytes]) -> Stored:
    """The delivery that a parked record or a dead letter is about.

    Raises UnreadableRecordError.
    """
    headers = {name: value.decode() for name, value in record.headers}
    try:
        event = json.loads(record.value or b"")
        return Stored(event["id"], headers.get(DELIVERY), headers[REASON])
    except (ValueError, KeyError, TypeError) as error:
        where = f"{record.topic}:{record.partition}:{record.offset}"
        raise UnreadableRecordError(f"{where} is not a stored delivery: {error!r}") from error


async def _records(
    consumer: AIOKafkaConsumer, begins: Mapping[TopicPartition, int]
) -> AsyncIterator[ConsumerRecord[bytes, bytes]]:
    ends = await consumer.end_offsets(list(begins))
    unread = {partition for partition, begin in begins.items() if begin < ends[partition]}
    if not unread:
        return
    consumer.assign(list(unread))
    for partition in unread:
        consumer.seek(partition, begins[partition])
    while unread:
        for batch in (await consumer.getmany(timeout_ms=200)).values():
            for record in batch:
                yield record
        unread = {p for p in unread if await consumer.position(p) < ends[p]}
    consumer.unsubscribe()
