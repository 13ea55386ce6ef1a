"""Starts Kafka clients, again and again until it works, and stops them within a time."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from aiokafka.errors import KafkaError

from app_worker.startup import BACKOFF

CLOSE_SECONDS = 2.0
"""The most that closing one may take, so that the end keeps to its budget without brokers too."""

_log = logging.getLogger(__name__)


class Client(Protocol):
    """What a producer and a consumer have in common."""

    async def start(self) -> None:
        """Connect."""

    async def stop(self) -> None:
        """Close every connection."""


C = TypeVar("C", bound=Client)


@asynccontextmanager
async def connected(
    create: Callable[[], C], jitter: Callable[[], float] = random.random
) -> AsyncIterator[C]:
    """A client that is started, and stopped at the end of the block.

    While the brokers cannot be reached, a new one is made and started after a growing pause.
    """
    tries = 0
    while True:
        client = create()
        try:
            try:
                await client.start()
            except (KafkaError, OSError) as error:
                obstacle = str(error) or type(error).__name__
            else:
                yield client
                return
        finally:
            await stop_client(client)
        tries += 1
        seconds = BACKOFF.seconds(tries, jitter())
        _log.warning("%s; next try in %.1f s", obstacle, seconds, extra={"tries": tries})
        await asyncio.sleep(seconds)


async def stop_client(client: Client) -> None:
    """Stop it, and say so if that failed: the process ends all the same."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await client.stop()
    except (KafkaError, OSError) as error:
        _log.warning(
            "a Kafka client was not closed in order",
            extra={"client": type(client).__name__, "error": str(error) or type(error).__name__},
        )
