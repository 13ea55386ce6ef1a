"""Whose turn it is to be stored: in the order of the log, key by key."""

import asyncio

import pytest

from app_worker.turns import Turns

pytestmark = pytest.mark.looptime


async def test_turns_of_a_key_are_in_the_order_of_the_log_whoever_asks_first() -> None:
    turns, had = Turns(), list[int]()

    async def one(key: bytes, offset: int, seconds: float) -> None:
        async with turns.turn(key, offset):
            had.append(offset)
            await asyncio.sleep(seconds)
            had.append(offset)

    async with asyncio.TaskGroup() as asking:
        for offset in (12, 10, 11):
            asking.create_task(one(b"k", offset, offset / 10))
    assert had == [10, 10, 11, 11, 12, 12]


async def test_other_keys_do_not_wait() -> None:
    turns = Turns()
    async with turns.turn(b"slow", 1), asyncio.timeout(1), turns.turn(b"quick", 2):
        pass


async def test_who_gives_up_while_it_waits_holds_up_nobody() -> None:
    turns, had = Turns(), list[int]()

    async def one(offset: int) -> None:
        async with turns.turn(None, offset):
            had.append(offset)
            await asyncio.sleep(1)

    tasks = [asyncio.create_task(one(offset)) for offset in (1, 2, 3)]
    await asyncio.sleep(0.5)
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert had == [1, 3]
    tasks = [asyncio.create_task(one(offset)) for offset in (4, 5)]
    await asyncio.sleep(0.5)
    tasks[0].cancel()
    await asyncio.wait(tasks)
    assert had == [1, 3, 4, 5]
