"""Resident memory under an endless backlog of large records, early and late."""

import asyncio
import os
import time
from collections.abc import Sequence

from app_worker.admission import Admission
from app_worker.handler import Outcome
from app_worker.record import Record
from benchmarks.controller.ground import DONE, fill, working
from benchmarks.processes import resident_mb

BYTES = 100_000
IN_FLIGHT = 100
WORK_SECONDS = 2.0
EARLY_SECONDS = 10.0


class Slow:
    """A handler that takes its time."""

    async def handle(self, _: Record) -> Sequence[Outcome]:
        """Wait."""
        await asyncio.sleep(WORK_SECONDS)
        return DONE


async def measure(servers: str, seconds: float) -> None:
    """Print memory after 10 s, and after so many."""
    per_second = IN_FLIGHT / WORK_SECONDS
    await fill(servers, "memory", round(per_second * (seconds + 60)), BYTES)

    limits = Admission(IN_FLIGHT, 32 * 1024 * 1024)
    async with working(servers, "memory", "memory", Slow(), limits) as registry:
        began = time.monotonic()
        await asyncio.sleep(EARLY_SECONDS)
        early = resident_mb([os.getpid()])
        await asyncio.sleep(seconds - EARLY_SECONDS)
        late, took = resident_mb([os.getpid()]), time.monotonic() - began
        handled = registry.get_sample_value("worker_records_total", {"source": "fresh"}) or 0
    print(f"{handled:.0f} records of {BYTES} bytes begun in {took:.0f} s, {IN_FLIGHT} in flight")
    print(f"resident: {early:.1f} MB after {EARLY_SECONDS:.0f} s, {late:.1f} MB at the end")
