"""Makes a consumer, which is one member of a group, from its configuration."""

from aiokafka import AIOKafkaConsumer

from kafka_utils.assignors import registry
from kafka_utils.config import ConsumerConfig
from kafka_utils.connection import security_arguments

JOIN_GRACE_MS = 5_000
"""How much longer than the rebalance timeout a join may take, as in Java's client."""


def create_consumer(config: ConsumerConfig) -> AIOKafkaConsumer:
    """Return a consumer that is neither started nor subscribed; needs a running event loop.

    It commits nothing by itself, and it has no offset reset policy: a position without a valid
    offset raises, so that the caller sees a loss before it decides where to go on.

    The brokers hold a JoinGroup back until every member has joined, up to the rebalance timeout,
    and aiokafka gives that request the same timeout as any other. A join that gave up earlier would
    leave a ghost member behind (KAFKA-7610). So aiokafka's request timeout is the greater of
    ``request_timeout_ms`` and ``rebalance_timeout_ms`` + 5 s, which is what Java's client allows
    its joins.

    Raises ConfigurationError if an assignor cannot be used or a certificate file has become
    unusable.
    """
    return AIOKafkaConsumer(
        bootstrap_servers=list(config.bootstrap_servers),
        group_id=config.group_id,
        group_instance_id=config.group_instance_id,
        client_id=config.client_id,
        client_rack=config.client_rack,
        partition_assignment_strategy=tuple(map(registry.resolve, config.assignors)),
        session_timeout_ms=config.session_timeout_ms,
        heartbeat_interval_ms=config.heartbeat_interval_ms,
        rebalance_timeout_ms=config.rebalance_timeout_ms,
        max_poll_interval_ms=config.max_poll_interval_ms,
        request_timeout_ms=max(
            config.request_timeout_ms, config.rebalance_timeout_ms + JOIN_GRACE_MS
        ),
        isolation_level=config.isolation_level,
        fetch_max_wait_ms=config.fetch_max_wait_ms,
        max_partition_fetch_bytes=config.max_partition_fetch_bytes,
        enable_auto_commit=False,
        auto_offset_reset="none",
        **security_arguments(config.security),
    )
