"""Calls end when their time is over, whichever of them there are."""

import asyncio

import pytest

from app_worker.time_limit import Call, TimeLimit

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


async def call(limit: TimeLimit, seconds: float) -> tuple[Call, float]:
    """Work for so long within the limit; return the call and when it ended."""
    task = asyncio.current_task()
    assert task
    this = Call(task)
    limit.begin(this, now())
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if this.cut is None:
            raise
        task.uncancel()
    finally:
        limit.end(this)
    return this, now()


async def test_each_call_has_its_whole_time_and_no_more() -> None:
    limit = TimeLimit(20.0)
    began, calls = now(), []
    for seconds in (5.0, 50.0, 19.9, 20.1, 60.0, 0.0):
        calls.append(asyncio.create_task(call(limit, seconds)))
        await asyncio.sleep(1.0)
    ended = await asyncio.gather(*calls)

    assert [round(at - began, 3) for _, at in ended] == [5.0, 21.0, 21.9, 23.0, 24.0, 5.0]
    assert [this.cut for this, _ in ended] == [None, "over", None, "over", "over", None]


async def test_a_call_that_was_cut_before_its_time_is_not_cut_again() -> None:
    limit = TimeLimit(20.0)
    begun: list[Call] = []

    async def stubborn() -> Call:
        task = asyncio.current_task()
        assert task
        this = Call(task)
        limit.begin(this, now())
        begun.append(this)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(30)
        limit.end(this)
        assert task.cancelling() == 1
        task.uncancel()
        return this

    running = asyncio.create_task(stubborn())
    await asyncio.sleep(5)
    assert limit.cut(begun[0], "aside")
    assert not limit.cut(begun[0], "aside")
    assert (await running).cut == "aside"
    assert now() == pytest.approx(35, abs=0.01)


async def test_after_a_pause_the_next_call_is_limited_again() -> None:
    limit = TimeLimit(2.0)
    for _ in range(3):
        began = now()
        assert (await call(limit, 9.0))[0].cut == "over"
        assert now() - began == pytest.approx(2.0)
        await asyncio.sleep(100)
