import asyncio
import logging

import pytest
from aiokafka.errors import KafkaConnectionError

from app_worker.clients import connected


class Client:
    made: list["Client"]

    def __init__(
        self, start: Exception | None = None, stop: Exception | float | None = None
    ) -> None:
        self.on_start, self.on_stop = start, stop
        self.stopped = False

    async def start(self) -> None:
        if self.on_start:
            raise self.on_start

    async def stop(self) -> None:
        self.stopped = True
        if isinstance(self.on_stop, Exception):
            raise self.on_stop
        await asyncio.sleep(self.on_stop or 0)


@pytest.mark.looptime
async def test_a_client_is_stopped_at_the_end_of_the_block() -> None:
    client = Client()
    async with connected(lambda: client) as same:
        assert same is client
        assert not client.stopped
    assert client.stopped


@pytest.mark.looptime
async def test_a_new_one_is_made_until_one_starts_and_the_failed_ones_are_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clients = [Client(KafkaConnectionError("no route")), Client(OSError("reset")), Client()]
    left = iter(clients)
    with caplog.at_level(logging.WARNING):
        async with connected(lambda: next(left), jitter=lambda: 0.0) as client:
            assert client is clients[2]
            assert asyncio.get_running_loop().time() == pytest.approx(0.5 + 1.0)
            assert [one.stopped for one in clients] == [True, True, False]
    assert "no route; next try in 0.5 s" in caplog.text


@pytest.mark.looptime
async def test_an_error_in_the_block_is_not_taken_for_a_failed_start() -> None:
    client = Client()
    with pytest.raises(KafkaConnectionError):
        async with connected(lambda: client):
            raise KafkaConnectionError
    assert client.stopped


@pytest.mark.looptime
async def test_a_start_that_is_cancelled_closes_the_client() -> None:
    client = Client(KafkaConnectionError())

    async def forever() -> None:
        async with connected(lambda: client):
            pass

    task = asyncio.create_task(forever())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client.stopped


@pytest.mark.looptime
@pytest.mark.parametrize("stop", [60.0, KafkaConnectionError("gone")])
async def test_a_stop_that_fails_or_hangs_is_logged_and_over_in_two_seconds(
    stop: Exception | float, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with connected(lambda: Client(stop=stop)):
            pass
    assert "not closed in order" in caplog.text
    assert asyncio.get_running_loop().time() <= 2
