"""Waits, before anything joins a group, until the brokers answer and the topics are there."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka.errors import KafkaError

from app_worker.backoff import Backoff
from kafka_utils import Admin, KafkaUtilsError

BACKOFF = Backoff(first=0.5, longest=10.0)

_log = logging.getLogger(__name__)


class Cluster(NamedTuple):
    """What is asked of the brokers before anything starts."""

    cluster_id: str
    topics: Mapping[str, int]
    """How many partitions each has."""


@dataclass(slots=True)
class Seen:
    """What a process has been told of its cluster, so that not all that start in it ask anew."""

    cluster: Cluster | None = None


async def wait_for_topics(
    needed: Collection[str],
    create_command: str,
    look: Callable[[], Awaitable[Cluster]],
    not_yet: Callable[[str], object],
    seen: Seen,
    jitter: Callable[[], float] = random.random,
) -> Cluster:
    """Return the cluster once its brokers have the ``needed`` topics; ask again until then.

    Brokers that were ``seen`` to have them are not asked.

    Each failed try is logged and told to ``not_yet`` as a sentence that says what to do.
    """
    known = seen.cluster
    if known is not None and known.topics.keys() >= set(needed):
        return known
    tries = 0
    while True:
        cluster, obstacle = await _look(needed, create_command, look)
        if cluster is not None and not obstacle:
            seen.cluster = cluster
            return cluster
        tries += 1
        seconds = BACKOFF.seconds(tries, jitter())
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
    return cluster, what_is_missing(needed, cluster.topics, create_command)


def what_is_missing(needed: Iterable[str], there: Iterable[str], create_command: str) -> str:
    """A sentence about the topics that are not there, and what creates them; empty if all are."""
    missing = sorted(set(needed).difference(there))
    if not missing:
        return ""
    plural = "s" if len(missing) > 1 else ""
    return f"missing topic{plural} {', '.join(missing)}; create with: {create_command}"


async def cluster_of(admin: Callable[[], Admin]) -> Cluster:
    """What the brokers say, asked over a connection of its own."""
    async with admin() as connected:
        return Cluster(await connected.cluster_id(), await connected.partition_counts())
