"""The topics that webhooks need, and how they are set."""

from app_worker.delays import DelaySchedule
from kafka_utils import TopicSpec

RETRY_PARTITIONS = 12
SOURCE_PARTITIONS = 100
REPLICATION = 3
ENDPOINTS_PARTITIONS = 1
"""Every process reads all of it, and one is the fewest requests."""

DAY_SECONDS = 86_400
DELAY_RESERVE_DAYS = 7
"""How long a delivery that is due may wait for workers before the brokers delete it."""
DEAD_LETTER_DAYS = 30
LARGEST_PARKED_BYTES = 2 * 1024 * 1024
"""Twice what the brokers take by default: a parked record has headers that the original had not."""


def topic_specs(
    schedule: DelaySchedule,
    dead_letter_topic: str,
    replayed_topic: str,
    *,
    partitions: int = SOURCE_PARTITIONS,
    replication: int = REPLICATION,
    retry_partitions: int = RETRY_PARTITIONS,
    endpoints_topic: str | None = None,
) -> tuple[TopicSpec, ...]:
    """The source, a delay topic for each delay, the dead letters, which of these were replayed
    (kept for longer than they are), and the endpoints if named.

    Raises kafka_utils' ConfigurationError for numbers or names that Kafka does not know.
    """
    safe = {
        "cleanup.policy": "delete",
        # One broker may be away, and what is acknowledged is still on another one.
        "min.insync.replicas": str(max(1, replication - 1)),
    }
    source = TopicSpec(
        name=schedule.topic, partitions=partitions, replication=replication, configs=safe
    )
    parked = [
        TopicSpec(
            name=schedule.topic_for(delay),
            partitions=retry_partitions,
            replication=replication,
            configs=safe | _kept(schedule.seconds(delay) + DELAY_RESERVE_DAYS * DAY_SECONDS),
        )
        for delay in dict.fromkeys(schedule.delays)
    ]
    dead = TopicSpec(
        name=dead_letter_topic,
        partitions=retry_partitions,
        replication=replication,
        configs=safe | _kept(DEAD_LETTER_DAYS * DAY_SECONDS),
    )
    replayed = TopicSpec(
        name=replayed_topic,
        partitions=1,
        replication=replication,
        configs=safe | _kept(2 * DEAD_LETTER_DAYS * DAY_SECONDS),
    )
    if endpoints_topic is None:
        return source, *parked, dead, replayed
    endpoints = TopicSpec(
        name=endpoints_topic,
        partitions=ENDPOINTS_PARTITIONS,
        replication=replication,
        configs=safe | {"cleanup.policy": "compact"},
    )
    return source, *parked, dead, replayed, endpoints


def _kept(seconds: float) -> dict[str, str]:
    return {
        "retention.ms": str(round(seconds * 1000)),
        # Kept for so long after it was parked, however old its event is.
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(LARGEST_PARKED_BYTES),
    }
