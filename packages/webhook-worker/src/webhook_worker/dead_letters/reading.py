"""Reads a whole topic, from its beginning to where it ended when that was asked."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError

from app_worker.clients import stop_client
from kafka_utils import ConsumerConfig, create_reader, has_reached

PATIENCE = (0.2, 0.5, 1.0)
"""Seconds between tries: a broker hears of a new topic later than the one that has created it."""
MOST_RECORDS = 500
POLL_MS = 1_000

KafkaRecord = ConsumerRecord[bytes, bytes]


@asynccontextmanager
async def _reader(config: ConsumerConfig, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    reader = await _started(dataclasses.replace(config, isolation_level="read_committed"), topic)
    try:
        yield reader
    finally:
        await stop_client(reader)


async def _started(config: ConsumerConfig, topic: str) -> AIOKafkaConsumer:
    pauses = iter(PATIENCE)
    while True:
        reader = create_reader(config, topic)
        try:
            await reader.start()
        except BaseException as error:
            await stop_client(reader)
            seconds = next(pauses, None)
            if seconds is None or not isinstance(error, UnknownTopicOrPartitionError):
                raise
            await asyncio.sleep(seconds)
        else:
            return reader


async def everything_in(config: ConsumerConfig, topic: str) -> AsyncIterator[KafkaRecord]:
    """The committed records of a topic. Raises KafkaError; the memory that it takes is constant."""
    async with _reader(config, topic) as reader:
        ends = await reader.end_offsets(list(reader.assignment()))
        while not await has_reached(reader, ends):
            fetched = await reader.getmany(timeout_ms=POLL_MS, max_records=MOST_RECORDS)
            for here, records in fetched.items():
                for record in records:
                    if record.offset < ends[here]:
                        yield record


async def record_at(
    config: ConsumerConfig, topic: str, partition: int, offset: int
) -> KafkaRecord | None:
    """The record at this very place; None if there is none (any more)."""
    here = TopicPartition(topic, partition)
    async with _reader(config, topic) as reader:
        if here not in reader.assignment():
            return None
        begin, end = await reader.beginning_offsets([here]), await reader.end_offsets([here])
        if not begin[here] <= offset < end[here]:
            return None
        reader.seek(here, offset)
        while not await has_reached(reader, end):
            fetched = await reader.getmany(here, timeout_ms=POLL_MS, max_records=1)
            for record in fetched.get(here, ()):
                return record if record.offset == offset else None
        return None
