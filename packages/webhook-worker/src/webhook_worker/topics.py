"""The topics that webhooks need, and how they are set."""

from collections.abc import Mapping
from dataclasses import dataclass

from app_worker.delays import DelaySchedule
from app_worker.handover.words import handover_topic
from kafka_utils import TopicSpec

RETRY_PARTITIONS = 12
SOURCE_PARTITIONS = 100
REPLICATION = 3

DAY_SECONDS = 86_400
DELAY_RESERVE_DAYS = 7
"""How long a delivery that is due may wait for workers before the brokers delete it."""
DEAD_LETTER_DAYS = 30
OPERATIONAL_EVENTS_DAYS = 30
ATTEMPT_LOG_DAYS = 7
HANDOVER_DAYS = 14
"""Twice the week that brokers keep offsets by default: a hold lives as long as its offset."""
LARGEST_PARKED_BYTES = 2 * 1024 * 1024
"""Twice what the brokers take by default: a parked record has headers that the original had not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicNames:
    """The topics beside the source and its delays; None for what is not wanted."""

    dead_letters: str
    replayed: str
    """Which dead letters were replayed; kept for longer than they are."""
    endpoint_state: str
    endpoints: str | None = None
    operational_events: str | None = None
    attempt_log: str | None = None
    ordered: str | None = None

    @property
    def for_work(self) -> tuple[str, ...]:
        """Those that a worker cannot do without."""
        wanted = (self.endpoints, self.operational_events, self.attempt_log, self.ordered)
        named = [self.dead_letters, self.endpoint_state, *(each for each in wanted if each)]
        return tuple(dict.fromkeys(named))


def topic_specs(
    schedule: DelaySchedule,
    names: TopicNames,
    *,
    partitions: int = SOURCE_PARTITIONS,
    replication: int = REPLICATION,
    retry_partitions: int = RETRY_PARTITIONS,
) -> tuple[TopicSpec, ...]:
    """The source, a delay topic for each delay, and the others; ``retry_partitions`` for each of
    them that is written as fast as events fail or attempts are made, or that must be writable while
    a broker is away, else one.

    Raises kafka_utils' ConfigurationError for numbers or names that Kafka does not know.
    """
    safe = {
        "cleanup.policy": "delete",
        # One broker may be away, and what is acknowledged is still on another one.
        "min.insync.replicas": str(max(1, replication - 1)),
    }

    def spec(name: str, count: int, configs: Mapping[str, str]) -> TopicSpec:
        return TopicSpec(
            name=name, partitions=count, replication=replication, configs=safe | dict(configs)
        )

    specs = [spec(schedule.topic, partitions, {})]
    for delay in dict.fromkeys(schedule.delays):
        kept = _kept(schedule.seconds(delay) + DELAY_RESERVE_DAYS * DAY_SECONDS)
        specs.append(spec(schedule.topic_for(delay), retry_partitions, kept))
    if names.ordered:
        # A delivery may wait for the whole schedule, and for workers.
        whole = sum(map(schedule.seconds, schedule.delays))
        kept = _kept(whole + DELAY_RESERVE_DAYS * DAY_SECONDS)
        specs.append(spec(names.ordered, partitions, kept))
    dead = _kept(DEAD_LETTER_DAYS * DAY_SECONDS)
    specs.append(spec(names.dead_letters, retry_partitions, dead))
    specs.append(spec(names.replayed, 1, _kept(2 * DEAD_LETTER_DAYS * DAY_SECONDS)))
    told = _retention(HANDOVER_DAYS * DAY_SECONDS)
    specs.append(spec(handover_topic(schedule.topic), retry_partitions, told))
    # Every process reads all of these, and one partition is the fewest requests.
    specs.append(spec(names.endpoint_state, 1, {"cleanup.policy": "compact"}))
    if names.endpoints:
        specs.append(spec(names.endpoints, 1, {"cleanup.policy": "compact"}))
    if names.operational_events and names.operational_events != schedule.topic:
        kept = _retention(OPERATIONAL_EVENTS_DAYS * DAY_SECONDS)
        specs.append(spec(names.operational_events, 1, kept))
    if names.attempt_log:
        kept = _retention(ATTEMPT_LOG_DAYS * DAY_SECONDS)
        specs.append(spec(names.attempt_log, retry_partitions, kept))
    return tuple(specs)


def _retention(seconds: float) -> dict[str, str]:
    return {"retention.ms": str(round(seconds * 1000))}


def _kept(seconds: float) -> dict[str, str]:
    return {
        **_retention(seconds),
        # Kept for so long after it was parked, however old its event is.
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(LARGEST_PARKED_BYTES),
    }
