"""Makes a producer, which stores records once and safely, from its configuration."""

from aiokafka import AIOKafkaProducer

from kafka_utils.aiokafka_internals import keep_first_connection
from kafka_utils.config import ProducerConfig
from kafka_utils.connection import security_arguments


def create_producer(config: ProducerConfig, *, may_create_topics: bool = True) -> AIOKafkaProducer:
    """Return an idempotent producer that is not started; call it inside a running event loop.

    With a transactional id it begins, when it is started, by ending what another producer of that
    id has left open, and by shutting that one out: it gets ProducerFenced.

    A record is acknowledged when all in-sync replicas have it. What aiokafka 0.14 does when that
    takes long:

    - A batch whose partition has no leader fails after ``request_timeout_ms``, with
      LeaderNotAvailableError or NotLeaderForPartitionError; ``send`` raises KafkaTimeoutError if it
      finds no room for so long.
    - A batch that the brokers refuse for a passing reason is sent again without end, since
      idempotence makes that safe. Who does not want to wait for ever puts a limit on the wait; the
      record may be stored nevertheless.
    - After OutOfOrderSequenceNumber or another fatal error the producer is of no use; make a new
      one.

    Brokers that create what they are asked for create a topic that is missing, unless
    ``may_create_topics`` is False.

    Raises ConfigurationError if a certificate file has become unusable.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=list(config.bootstrap_servers),
        client_id=config.client_id,
        request_timeout_ms=config.request_timeout_ms,
        max_request_size=config.max_request_bytes,
        compression_type=config.compression,
        linger_ms=config.linger_ms,
        transactional_id=config.transactional_id,
        enable_idempotence=True,
        acks="all",
        **security_arguments(config.security),
    )
    keep_first_connection(producer, may_create_topics=may_create_topics)
    return producer
