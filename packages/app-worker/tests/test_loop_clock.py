"""The event loop's clock, virtual or not."""

import asyncio
import time

import pytest

from app_worker.loop_clock import loop_clock


@pytest.mark.looptime
async def test_a_loop_with_a_time_of_its_own_is_asked_itself() -> None:
    clock, began = loop_clock(), time.monotonic()
    before = clock()
    await asyncio.sleep(1_000)
    assert clock() - before == pytest.approx(1_000)
    assert clock() == asyncio.get_running_loop().time()
    assert time.monotonic() - began < 100


async def test_the_usual_loop_goes_by_the_same_clock() -> None:
    clock = loop_clock()
    assert asyncio.get_running_loop().time() <= clock() <= asyncio.get_running_loop().time()
