"""Waits, before anything joins a group, until the brokers answer and the topics are there."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection

from aiokafka.errors import KafkaError

from kafka_utils import Admin, KafkaUtilsError

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 10.0

_log = logging.getLogger(__name__)


def backoff_seconds(tries: int, jitter: float) -> float:
    """How long to wait after so many failed tries (1 is the first); ``jitter`` is from 0 to 1.

    Doubles from 0.5 s to 10 s, less up to a half by the jitter, so that a fleet spreads out.
    """
    doubled = FIRST_BACKOFF_SECONDS * 2.0 ** min(tries - 1, 10)
    return min(doubled, LONGEST_BACKOFF_SECONDS) * (1 - jitter / 2)


async def wait_for_topics(
    needed: Collection[str],
    create_command: str,
    list_topics: Callable[[], Awaitable[Collection[str]]],
    not_yet: Callable[[str], object],
    jitter: Callable[[], float] = random.random,
) -> Collection[str]:
    """Return all topics once the brokers have those that are ``needed``; ask again until then.

    Each failed try is logged and told to ``not_yet`` as a sentence that says what to do.
    """
    tries = 0
    while True:
        topics, obstacle = await _look(needed, create_command, list_topics)
        if not obstacle:
            return topics
        tries += 1
        seconds = backoff_seconds(tries, jitter())
        not_yet(obstacle)
        _log.warning("%s; next try in %.1f s", obstacle, seconds, extra={"tries": tries})
        await asyncio.sleep(seconds)


async def _look(
    needed: Collection[str],
    create_command: str,
    list_topics: Callable[[], Awaitable[Collection[str]]],
) -> tuple[Collection[str], str]:
    """The topics that are there, and what stands in the way; nothing does if that is empty."""
    try:
        topics = await list_topics()
    except (KafkaError, KafkaUtilsError, OSError) as error:
        return (), str(error) or type(error).__name__
    missing = sorted(set(needed).difference(topics))
    if not missing:
        return topics, ""
    plural = "s" if len(missing) > 1 else ""
    return topics, f"missing topic{plural} {', '.join(missing)}; create with: {create_command}"


async def topics_of(admin: Callable[[], Admin]) -> set[str]:
    """The topics of the cluster, asked over a connection of its own."""
    async with admin() as connected:
        return await connected.list_topics()
