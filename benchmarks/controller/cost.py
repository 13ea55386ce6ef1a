"""CPU for each record, from the consumer to the commit, above a bare loop over `getmany`."""

import asyncio
import time
from collections.abc import Sequence
from statistics import median

from aiokafka.errors import NoOffsetForPartitionError

from app_worker.admission import Admission
from app_worker.handler import Outcome
from app_worker.handover.needs import Words
from app_worker.record import Record
from benchmarks.controller.ground import DONE, consumer, fill, working

RECORDS = 100_000
BYTES = 1_000
IN_FLIGHT = (1, 16, 100, 1_000)
PATIENCE_SECONDS = 120


class Counting:
    """An empty handler that says when it has seen enough."""

    def __init__(self, enough: int) -> None:
        self._left = enough
        self.enough = asyncio.Event()

    async def handle(self, _: Record) -> Sequence[Outcome]:
        """Nothing is to be done."""
        self._left -= 1
        if not self._left:
            self.enough.set()
        return DONE


async def bare(servers: str, topic: str, group: str) -> float:
    """Microseconds of CPU for each record of a loop that only counts."""
    async with consumer(servers, group) as source:
        source.subscribe([topic])
        left = RECORDS
        began = time.process_time()
        while left > 0:
            try:
                fetched = await source.getmany(timeout_ms=500, max_records=500)
            except NoOffsetForPartitionError as error:
                await source.seek_to_beginning(error.args[0])
            else:
                left -= sum(map(len, fetched.values()))
        return (time.process_time() - began) / RECORDS * 1e6


async def controlled(
    servers: str, topic: str, group: str, in_flight: int, words: Words | None = None
) -> float:
    """The same for a controller with an empty handler."""
    counting = Counting(RECORDS)
    limits = Admission(in_flight, 1_000_000_000)
    async with working(servers, topic, group, counting, limits, words):
        began = time.process_time()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await counting.enough.wait()
        return (time.process_time() - began) / RECORDS * 1e6


async def measure(servers: str, repeat: int) -> None:
    """Print the table."""
    topic = "cost"
    await fill(servers, topic, RECORDS, BYTES)
    loops = [await bare(servers, topic, f"bare-{number}") for number in range(repeat)]
    floor = median(loops)
    print(f"{RECORDS} records of {BYTES} bytes, us of CPU for each, medians of {repeat}\n")
    print("| in flight | us | above a bare loop | x of that with 16 |\n|---|---|---|---|")
    print(f"| bare `getmany` | {floor:.1f} | | |")
    found = {
        limit: median(
            [await controlled(servers, topic, f"c-{limit}-{n}", limit) for n in range(repeat)]
        )
        for limit in IN_FLIGHT
    }
    for limit, us in found.items():
        ratio = (us - floor) / (found[16] - floor)
        print(f"| {limit} | {us:.1f} | {us - floor:.1f} | {ratio:.2f} |")
