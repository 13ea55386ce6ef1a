"""Writes a backlog of events of 1 KB, as fast as it can be written, evenly over all partitions."""

import asyncio
import json
import sys

from aiokafka import AIOKafkaProducer

from deploy.drill.stage import CUSTOMERS

BYTES = 1_000


def event(number: int) -> bytes:
    """As customers are sent them."""
    whole = {
        "id": f"evt_{number}",
        "type": "order.paid",
        "customer_id": str(number % CUSTOMERS),
        "timestamp": "2026-01-01T00:00:00Z",
        "data": {"number": number, "filling": "x" * (BYTES - 150)},
    }
    return json.dumps(whole).encode()


async def fill(servers: str, topic: str, partitions: int, count: int) -> None:
    """Return when all are acknowledged."""
    async with AIOKafkaProducer(
        bootstrap_servers=servers, max_batch_size=1_000_000, linger_ms=5
    ) as producer:
        for number in range(count):
            # Customers and partitions take turns, and are not in step.
            partition = (number + number // partitions) % partitions
            await producer.send(topic, event(number), partition=partition)


if __name__ == "__main__":
    servers, topic, partitions, count = sys.argv[1:]
    asyncio.run(fill(servers, topic, int(partitions), int(count)))
