"""Produces events at an even rate to every partition, as a process of its own until SIGTERM."""

import asyncio
import signal
import sys
import time
from functools import partial

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from benchmarks.handover.shape import event
from benchmarks.rebalance.notes import Kind, Note, Notebook

TICK_SECONDS = 0.005


def _acknowledged(
    notebook: Notebook,
    partition: int,
    number: int,
    produced_ns: int,
    future: asyncio.Future[RecordMetadata],
) -> None:
    if future.exception() is None:
        now = time.monotonic_ns()
        notebook.note(Note(Kind.PRODUCED, 0, partition, number, produced_ns, now))


async def produce(servers: str, topic: str, notes: str, partitions: int, rate: float) -> None:
    """Produce; ``rate`` is of all partitions together, which take turns."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    notebook = Notebook(notes)
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all") as producer:
        began = time.monotonic()
        sent = 0
        while not stopping.is_set():
            due = int((time.monotonic() - began) * rate)
            for which in range(sent, due):
                partition, number = which % partitions, which // partitions
                now = time.monotonic_ns()
                value = event(partition, number, now)
                future = await producer.send(topic, value, partition=partition)
                future.add_done_callback(partial(_acknowledged, notebook, partition, number, now))
            sent = due
            await asyncio.sleep(TICK_SECONDS)


if __name__ == "__main__":
    servers, topic, notes, partitions, rate = sys.argv[1:]
    asyncio.run(produce(servers, topic, notes, int(partitions), float(rate)))
