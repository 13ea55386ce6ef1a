"""What SIGUSR2 shows."""

import asyncio
import os
import signal

import pytest

from app_worker.observability.task_stacks import shown_on_request


async def waits_for(event: asyncio.Event) -> None:
    await inner(event)


async def inner(event: asyncio.Event) -> None:
    await event.wait()


async def test_each_place_that_tasks_wait_at_is_shown_once_with_their_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    event = asyncio.Event()
    tasks = [asyncio.create_task(waits_for(event)) for _ in range(3)]
    with shown_on_request():
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGUSR2)
        await asyncio.sleep(0.05)
    event.set()
    await asyncio.gather(*tasks)
    shown = [one.__dict__ for one in caplog.records]
    assert shown[0]["tasks"] == 4
    (waiting,) = [one for one in shown[1:] if one["tasks"] == 3]
    assert [place.split()[-1] for place in waiting["frames"].split(" > ")] == [
        "waits_for",
        "inner",
        "wait",
    ]
