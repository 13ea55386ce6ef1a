"""Topics full of events for so many endpoints, and what a group has committed of them."""

import asyncio
import json
import uuid

from aiokafka import AIOKafkaProducer, TopicPartition

from benchmarks.delivery.sink import address
from kafka_utils import Admin, TopicSpec

PARTITIONS = 12
BYTES = 1_000
LOOK_SECONDS = 0.2


def events(endpoints: int, count: int) -> list[bytes]:
    """For the endpoints in turn, whose customers are called by the address of their host."""
    return [_event(address(number % endpoints)) for number in range(count)]


def _event(customer: str) -> bytes:
    event = {
        "id": f"evt_{uuid.uuid4().hex}",
        "type": "order.paid",
        "customer_id": customer,
        "timestamp": "2026-01-01T00:00:00Z",
        "data": {"order": uuid.uuid4().hex, "lines": [{"sku": "a-1", "count": 2, "price": 9.5}]},
    }
    event["data"] |= {"note": "x" * (BYTES - len(json.dumps(event)) - len(', "note": ""'))}  # type: ignore[operator]
    return json.dumps(event).encode()


async def fill(servers: str, topic: str, endpoints: int, count: int) -> None:
    """Make the topic, and put so many events into it."""
    async with Admin(tuple(servers.split(","))) as admin:
        await admin.create([TopicSpec(name=topic, partitions=PARTITIONS, replication=1)])
    async with AIOKafkaProducer(
        bootstrap_servers=servers, max_batch_size=1_000_000, linger_ms=5
    ) as producer:
        # Neither in step with the endpoints nor with the partitions.
        for number, event in enumerate(events(endpoints, count)):
            await producer.send(topic, event, partition=number * 7 // 3 % PARTITIONS)


async def committed(servers: str, topic: str, group: str, count: int) -> None:
    """Return when the group has committed so many records of the topic."""
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    async with Admin(tuple(servers.split(","))) as admin:
        while True:
            offsets = await admin.committed_offsets(group, partitions)
            if sum(offset or 0 for offset in offsets.values()) >= count:
                return
            await asyncio.sleep(LOOK_SECONDS)
