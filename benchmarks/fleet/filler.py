"""Writes a backlog of events of 1 KB, as fast as it can be written, evenly over all partitions."""

import asyncio
import json
import subprocess
import sys
import time

from aiokafka import AIOKafkaProducer

from benchmarks.rebalance.fleet import ROOT, FleetError
from benchmarks.tables import say
from deploy.drill.stage import CUSTOMERS
from deploy.local.guard import Guard

BYTES = 1_000
BATCH_BYTES = 900_000
"""Whole batches are made here: the fleet stands still meanwhile, and its sessions go on."""
FILL_SECONDS = 60.0
SHORTEST_SESSION_SECONDS = 9.0
"""Less than aiokafka's default, which the peers have."""


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
    async with AIOKafkaProducer(bootstrap_servers=servers, max_batch_size=BATCH_BYTES) as producer:
        batches = {partition: producer.create_batch() for partition in range(partitions)}
        answers = []
        for number in range(count):
            # Customers and partitions take turns, and are not in step.
            partition = (number + number // partitions) % partitions
            value = event(number)
            if batches[partition].append(key=None, value=value, timestamp=None) is None:
                full = batches[partition]
                answers.append(await producer.send_batch(full, topic, partition=partition))
                batches[partition] = producer.create_batch()
                batches[partition].append(key=None, value=value, timestamp=None)
        for partition, batch in batches.items():
            if batch.record_count():
                answers.append(await producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*answers)


def fill_beside(guard: Guard, servers: str, topic: str, partitions: int, count: int) -> None:
    """The same in a process of its own, within a time. Raises FleetError."""
    told = [servers, topic, str(partitions), str(count)]
    words = [sys.executable, "-m", __name__, *told]
    began = time.monotonic()
    filling = guard.spawn(words, output=subprocess.DEVNULL, cwd=ROOT)
    try:
        status = filling.wait(FILL_SECONDS)
    except subprocess.TimeoutExpired:
        status = None
    finally:
        filling.kill()
        filling.wait()
        guard.release(filling.pid)
    if status != 0:
        raise FleetError("the backlog could not be written")
    took = time.monotonic() - began
    if took > SHORTEST_SESSION_SECONDS:
        say(f"the backlog took {took:.1f} s: members that stood still so long were given up")


if __name__ == "__main__":
    servers, topic, partitions, count = sys.argv[1:]
    asyncio.run(fill(servers, topic, int(partitions), int(count)))
