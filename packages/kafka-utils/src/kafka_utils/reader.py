"""Makes consumers that take part in no group: of whole topics, and of places in them."""

from collections.abc import Mapping
from typing import Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition

from kafka_utils.aiokafka_internals import (
    ask_beside_fetches,
    keep_first_connection,
)
from kafka_utils.config import ConsumerConfig
from kafka_utils.connection import security_arguments

LOOK_MS = 1_000
"""How often the fetch loop looks at everything anew although nothing has told it to. aiokafka's own
does so every 0.2 s, and relies on it where a fetch ends in the same moment in which it looks."""


def create_reader(config: ConsumerConfig, topic: str) -> AIOKafkaConsumer:
    """Return a consumer of all partitions of a topic, from their beginning, not yet started.

    Of ``config`` it has how the brokers are reached and what a fetch may take; its group plays no
    part. Needs a running event loop. A topic that is missing may be created by brokers that do so.

    Raises ConfigurationError if a certificate file has become unusable.
    """
    return _consumer(config, topic, may_create_topics=True)


def create_place_reader(config: ConsumerConfig) -> AIOKafkaConsumer:
    """Return a consumer of what is assigned to it by hand, from where it seeks; not yet started.

    A place that is none of the log is read from the log's beginning. It never has a topic created
    by asking for it. Otherwise as ``create_reader``.
    """
    return _consumer(config, may_create_topics=False)


def _consumer(config: ConsumerConfig, *topics: str, may_create_topics: bool) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        *topics,
        bootstrap_servers=list(config.bootstrap_servers),
        group_id=None,
        client_id=config.client_id,
        client_rack=config.client_rack,
        request_timeout_ms=config.request_timeout_ms,
        isolation_level=config.isolation_level,
        fetch_max_wait_ms=config.fetch_max_wait_ms,
        metadata_max_age_ms=config.metadata_max_age_ms,
        max_partition_fetch_bytes=config.max_partition_fetch_bytes,
        consumer_timeout_ms=LOOK_MS,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **security_arguments(config.security),
    )
    keep_first_connection(consumer, may_create_topics=may_create_topics)
    ask_beside_fetches(consumer)
    return consumer


class Positioned(Protocol):
    """What knows where it reads; aiokafka's consumers do."""

    async def position(self, partition: TopicPartition) -> int:
        """The offset that is read next."""
        ...


async def has_reached(reader: Positioned, ends: Mapping[TopicPartition, int]) -> bool:
    """Whether all that lay below these offsets has been read."""
    return all([await reader.position(here) >= end for here, end in ends.items()])
