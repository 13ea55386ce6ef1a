import asyncio
import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app_worker.observability.loop_lag import watch_loop_lag
from app_worker.observability.readiness import Readiness


@contextlib.contextmanager
def kept(readiness: Readiness, path: Path) -> Iterator[asyncio.Task[None]]:
    task = asyncio.create_task(readiness.keep_file(path))
    yield task
    task.cancel()


async def test_it_gives_the_reason_until_it_is_ready() -> None:
    readiness = Readiness()
    assert readiness.reason == "starting"
    readiness.not_yet("no broker can be reached")
    assert readiness.reason == "no broker can be reached"
    readiness.ready()
    assert readiness.reason is None


async def test_once_stopping_it_is_never_ready_again() -> None:
    readiness = Readiness()
    readiness.stopping()
    readiness.ready()
    assert readiness.reason == "stopping"


@pytest.mark.looptime
async def test_the_file_is_touched_every_five_seconds_while_ready(tmp_path: Path) -> None:
    readiness, path = Readiness(), tmp_path / "ready.0"
    path.touch()
    with kept(readiness, path):
        await asyncio.sleep(1)
        assert not path.exists()
        readiness.ready()
        await asyncio.sleep(0.1)
        assert path.exists()
        os.utime(path, (0, 0))
        await asyncio.sleep(5.1)
        assert path.stat().st_mtime > 0
        readiness.stopping()
        await asyncio.sleep(0.1)
        assert not path.exists()


@pytest.mark.looptime
async def test_the_file_goes_with_the_task(tmp_path: Path) -> None:
    readiness, path = Readiness(), tmp_path / "ready.0"
    readiness.ready()
    with kept(readiness, path) as task:
        await asyncio.sleep(0.1)
        assert path.exists()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert not path.exists()


@pytest.mark.looptime
async def test_a_file_that_cannot_be_written_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    readiness = Readiness()
    readiness.ready()
    with caplog.at_level(logging.ERROR), kept(readiness, tmp_path / "gone" / "ready.0"):
        await asyncio.sleep(1)
    assert "readiness file" in caplog.text


@pytest.mark.looptime
async def test_loop_lag_is_the_worst_of_the_last_thirty_seconds() -> None:
    told: list[float] = []
    loop, blocked = asyncio.get_running_loop(), 0.0
    task = asyncio.create_task(watch_loop_lag(told.append, lambda: loop.time() + blocked))
    await asyncio.sleep(2.5)
    blocked = 2.5
    await asyncio.sleep(10)
    assert max(told) == pytest.approx(2.5)
    assert told[-1] == pytest.approx(2.5)
    await asyncio.sleep(30)
    assert told[-1] == pytest.approx(0)
    task.cancel()
