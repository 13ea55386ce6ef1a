"""The only place that touches aiokafka's private names, each with its reason.

aiokafka's consumer drops everything that it has buffered, and every position, with each rebalance:
there is one ``Assignment`` object per generation. The classes here keep one for life and change it
partition by partition, so that what stays is not touched. A test states the existence and the
signature of each private name.
"""

from kafka_utils.aiokafka_internals.connections import (
    any_broker,
    ask_beside_fetches,
    send_within,
    sender,
)
from kafka_utils.aiokafka_internals.consumer import GroupSide, IncrementalConsumer
from kafka_utils.aiokafka_internals.fetcher import IncrementalFetcher
from kafka_utils.aiokafka_internals.first_connection import keep_first_connection
from kafka_utils.aiokafka_internals.subscription import (
    IncrementalAssignment,
    IncrementalSubscription,
)

__all__ = [
    "GroupSide",
    "IncrementalAssignment",
    "IncrementalConsumer",
    "IncrementalFetcher",
    "IncrementalSubscription",
    "any_broker",
    "ask_beside_fetches",
    "keep_first_connection",
    "send_within",
    "sender",
]
