"""Makes a consumer, which is one member of a group, from its configuration."""

from functools import partial

from kafka_utils.aiokafka_internals import IncrementalConsumer
from kafka_utils.assignors import registry
from kafka_utils.config import ConsumerConfig
from kafka_utils.connection import security_arguments
from kafka_utils.coordinator.group_side import GroupSide
from kafka_utils.events import ConsumerEvents

LOOK_MS = 5_000
"""How often the fetch loop looks at everything anew although nothing has told it to."""


def create_consumer(
    config: ConsumerConfig, events: ConsumerEvents | None = None
) -> IncrementalConsumer:
    """Return a consumer that is neither started nor subscribed; needs a running event loop.

    It is aiokafka's consumer in all but its group membership: what stays its own in a rebalance
    goes on, if every assignor is cooperative; it has ``relinquish``, to leave without a gap; and
    its listener may have ``on_partitions_lost``. ``events`` is told what happens in the group.

    It commits nothing by itself, and it has no offset reset policy: a position without a valid
    offset raises, so that the caller sees a loss before it decides where to go on.

    Raises ConfigurationError if an assignor cannot be used or a certificate file has become
    unusable.
    """
    for name in config.assignors:
        registry.resolve(name)
    return IncrementalConsumer(
        partial(GroupSide, config, events or ConsumerEvents()),
        bootstrap_servers=list(config.bootstrap_servers),
        group_id=config.group_id,
        group_instance_id=config.group_instance_id,
        client_id=config.client_id,
        client_rack=config.client_rack,
        session_timeout_ms=config.session_timeout_ms,
        heartbeat_interval_ms=config.heartbeat_interval_ms,
        rebalance_timeout_ms=config.rebalance_timeout_ms,
        max_poll_interval_ms=config.max_poll_interval_ms,
        request_timeout_ms=config.request_timeout_ms,
        isolation_level=config.isolation_level,
        fetch_max_wait_ms=config.fetch_max_wait_ms,
        metadata_max_age_ms=config.metadata_max_age_ms,
        max_partition_fetch_bytes=config.max_partition_fetch_bytes,
        consumer_timeout_ms=LOOK_MS,
        enable_auto_commit=False,
        auto_offset_reset="none",
        **security_arguments(config.security),
    )
