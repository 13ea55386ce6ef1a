"""Deadlines that share timers."""

import asyncio

import pytest

from webhook_worker.sending.deadlines import GRAIN_SECONDS, Deadlines


class Told:
    """When it was told, on the loop's clock."""

    at: float | None = None

    def expire(self) -> None:
        self.at = asyncio.get_running_loop().time()


@pytest.mark.looptime
async def test_each_is_told_when_its_time_is_over_and_hardly_later() -> None:
    deadlines, began = Deadlines(), asyncio.get_running_loop().time()
    waits = [0.0, 0.01, 0.02, 0.3, 15.0, 14.99, 15.0]
    told = [Told() for _ in waits]
    for each, wait in zip(told, waits, strict=True):
        deadlines.due_at(began + wait).add(each)
    await asyncio.sleep(20)
    for each, wait in zip(told, waits, strict=True):
        assert each.at is not None
        assert wait <= each.at - began <= wait + GRAIN_SECONDS + 0.001


@pytest.mark.looptime
async def test_what_took_itself_out_is_not_told() -> None:
    deadlines, told = Deadlines(), Told()
    due = deadlines.due_at(asyncio.get_running_loop().time() + 1)
    due.add(told)
    due.discard(told)
    await asyncio.sleep(2)
    assert told.at is None


@pytest.mark.looptime
async def test_a_deadline_that_has_passed_is_told_at_once() -> None:
    deadlines, late = Deadlines(), Told()
    passed = asyncio.get_running_loop().time()
    deadlines.due_at(passed).add(Told())
    await asyncio.sleep(1)
    deadlines.due_at(passed).add(late)
    await asyncio.sleep(0.001)
    assert late.at is not None
