"""Waits, before anything joins a group, until the brokers answer and the topics are there."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from aiokafka.errors import KafkaError

from kafka_utils import Admin, KafkaUtilsError

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is asked of the brokers before anything starts."""

    cluster_id: str
    topics: Collection[str]


def backoff_seconds(tries: int, jitter: float) -> float:
    """How long to wait after so many failed tries (1 is the first); ``jitter`` is from 0 to 1.

    Doubles from 0.5 s to 10 s, less up to a half by the jitter, so that a fleet spreads out.
    """
    doubled = FIRST_BACKOFF_SECONDS * 2.0 ** min(tries - 1, 10)
    return min(doubled, LONGEST_BACKOFF_SECONDS) * (1 - jitter / 2)


async def wait_for_topics(
    needed: Collection[str],
    create_command: str,
    look: Callable[[], Awaitable[Cluster]],
    not_yet: Callable[[str], object],
    jitter: Callable[[], float] = random.random,
) -> Cluster:
    """Return the cluster once its brokers have the ``needed`` topics; ask again until then.

    Each failed try is logged and told to ``not_yet`` as a sentence that says what to do.
    """
    tries = 0
    while True:
        cluster, obstacle = await _look(needed, create_command, look)
        if cluster is not None and not obstacle:
            return cluster
        tries += 1
        seconds = backoff_seconds(tries, jitter())
        not_yet(obstacle)
        _log.warning("%s; next try in %.1f s", obstacle, seconds, extra={"tries": tries})
        await asyncio.sleep(seconds)


async def _look(
    needed: Collection[str],
    create_command: str,
    look: Callable[[], Awaitable[Cluster]],
) -> tuple[Cluster | None, str]:
    """The cluster, and what stands in the way; nothing does if that is empty."""
    try:
        cluster = await look()
    except (KafkaError, KafkaUtilsError, OSError) as error:
        return None, str(error) or type(error).__name__
    missing = sorted(set(needed).difference(cluster.topics))
    if not missing:
        return cluster, ""
    plural = "s" if len(missing) > 1 else ""
    return cluster, f"missing topic{plural} {', '.join(missing)}; create with: {create_command}"


async def cluster_of(admin: Callable[[], Admin]) -> Cluster:
    """What the brokers say, asked over a connection of its own."""
    async with admin() as connected:
        return Cluster(await connected.cluster_id(), await connected.list_topics())
