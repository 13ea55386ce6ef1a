"""Produces records at an even rate to every partition, as a process of its own until SIGTERM."""

import asyncio
import signal
import sys
import time
from functools import partial

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from benchmarks.rebalance.notes import Kind, Note, Notebook
from benchmarks.rebalance.work import PAYLOAD, tail_work_us

TICK_SECONDS = 0.005


def _acknowledged(
    notebook: Notebook, partition: int, produced_ns: int, future: asyncio.Future[RecordMetadata]
) -> None:
    offset = future.result().offset
    notebook.note(Note(Kind.PRODUCED, 0, partition, offset, produced_ns, time.monotonic_ns()))


async def produce(
    servers: str, topic: str, notes: str, partitions: int, per_second: float, tail: bool
) -> None:
    """Produce; `per_second` is of all partitions together, which take turns.

    With `tail` the records have work to be done, else none. A record that the brokers do not
    acknowledge is no part of the account.
    """
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    notebook = Notebook(notes)
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all") as producer:
        began = time.monotonic()
        sent = 0
        while not stopping.is_set():
            due = int((time.monotonic() - began) * per_second)
            for number in range(sent, due):
                partition = number % partitions
                work_us = tail_work_us(partition, number // partitions) if tail else 0
                produced_ns = time.monotonic_ns()
                future = await producer.send(
                    topic, PAYLOAD.pack(produced_ns, work_us), partition=partition
                )
                future.add_done_callback(partial(_acknowledged, notebook, partition, produced_ns))
            sent = due
            await asyncio.sleep(TICK_SECONDS)


if __name__ == "__main__":
    servers, topic, notes, partitions, per_second, tail = sys.argv[1:]
    asyncio.run(produce(servers, topic, notes, int(partitions), float(per_second), tail == "tail"))
