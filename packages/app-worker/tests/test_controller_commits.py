"""What the controller commits, and when."""

import asyncio
from itertools import pairwise

import pytest
from aiokafka.errors import (
    RequestTimedOutError,
)
from scripted.bench import A, B, Bench, soon

pytestmark = pytest.mark.looptime


async def test_only_the_prefix_that_is_complete_is_committed() -> None:
    bench = Bench()
    bench.handler.hold(0, 2)
    async with bench.running():
        bench.consumer.append(A, 0, 1, 2, 3, 4)
        bench.consumer.group[A] = 0
        await bench.consumer.assign(A)
        await asyncio.sleep(3)
        assert bench.handler.finished == [(0, 0), (0, 1), (0, 3), (0, 4)]
        assert bench.consumer.group[A] == 2
        bench.handler.let_go(0, 2)
        await asyncio.sleep(3)
        assert bench.consumer.group[A] == 5


async def test_commits_are_coalesced_and_sent_only_when_something_moved() -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        await bench.consumer.assign(A, B)
        for offset in range(200):
            bench.consumer.append(A, offset)
            bench.consumer.append(B, offset)
            await asyncio.sleep(0.01)
        await asyncio.sleep(60)
        assert bench.consumer.group == {A: 200, B: 200}
        assert 2 <= len(bench.consumer.commits) <= 4


async def test_a_commit_that_fails_is_tried_again_with_backoff_and_newer_offsets() -> None:
    bench = Bench()
    tries: list[float] = []

    async def refuse() -> None:
        tries.append(asyncio.get_running_loop().time())
        if len(tries) < 4:
            raise RequestTimedOutError

    bench.consumer.refuse_commit = refuse
    async with bench.running():
        bench.consumer.group[A] = 0
        await bench.consumer.assign(A)
        bench.consumer.append(A, 0)
        await asyncio.sleep(2)
        bench.consumer.append(A, 1)
        await asyncio.sleep(20)
        assert bench.consumer.commits == [{A: 2}]
        pauses = [round(later - sooner, 1) for sooner, later in pairwise(tries)]
        assert pauses == [1.6, 3.2, 6.4]
        assert bench.count("commits_total", group="group", result="failed") == 3


async def test_a_commit_without_an_answer_is_given_up_and_tried_again() -> None:
    bench = Bench()
    hang = asyncio.Event()
    bench.consumer.refuse_commit = hang.wait  # type: ignore[assignment]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(7)
        assert bench.count("commits_total", group="group", result="timeout") == 1
        hang.set()
        await asyncio.sleep(10)
        assert bench.consumer.commits == [{A: 1}]


async def test_trailing_offsets_without_records_are_committed() -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1)
        bench.consumer.ends[A] = 9
        await bench.consumer.assign(A)
        await asyncio.sleep(3)
        assert bench.consumer.group[A] == 9


async def test_trailing_offsets_without_records_are_committed_at_the_end_too() -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.ends[A] = 9
        await bench.consumer.assign(A)
        await soon()
    assert bench.consumer.group[A] == 9


async def test_one_slow_commit_does_not_keep_the_next_one_waiting() -> None:
    bench = Bench()
    seconds = [0.5, 0.0]

    async def slowly() -> None:
        await asyncio.sleep(seconds.pop(0) if seconds else 0.0)

    bench.consumer.refuse_commit = slowly
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(1.8)
        assert bench.consumer.group[A] == 1
        bench.consumer.append(A, 1)
        await asyncio.sleep(1.2)
        assert bench.consumer.group[A] == 2, "a first commit may be slow by chance"


@pytest.mark.parametrize("seconds", [0.01, 0.15])
async def test_what_is_complete_is_committed_within_a_second(seconds: float) -> None:
    bench = Bench()
    stored: dict[int, float] = {}

    async def soon_stored() -> None:
        await asyncio.sleep(seconds)
        up_to = bench.consumer.asked_to_commit[A][0]
        for offset in range(up_to):
            stored.setdefault(offset, asyncio.get_running_loop().time())

    bench.consumer.refuse_commit = soon_stored
    completed = []
    async with bench.running():
        bench.consumer.group[A] = 0
        await bench.consumer.assign(A)
        for offset in range(400):
            bench.consumer.append(A, offset)
            completed.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.025)
        await asyncio.sleep(2)
    waited = [stored[offset] - at for offset, at in enumerate(completed)]
    assert max(waited) <= 1.0, "a crash repeats a second of work at most"


async def test_a_coordinator_that_is_always_slow_is_asked_less_often() -> None:
    bench = Bench()
    tries = []

    async def slowly() -> None:
        tries.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.8)

    bench.consumer.refuse_commit = slowly
    async with bench.running():
        bench.consumer.group[A] = 0
        await bench.consumer.assign(A)
        for offset in range(200):
            bench.consumer.append(A, offset)
            await asyncio.sleep(0.1)
        pauses = [round(later - sooner, 1) for sooner, later in pairwise(tries)]
        assert pauses[:2] == [1.2, 1.2]
        assert pauses[2:4] == [4, 4]
