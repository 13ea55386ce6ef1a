"""Group membership for aiokafka: checked configuration, assignors by name, client factories."""

from kafka_utils.admin import Admin, Created, TopicSpec
from kafka_utils.aiokafka_internals import IncrementalConsumer
from kafka_utils.config import ConsumerConfig, ProducerConfig, Security
from kafka_utils.consumer import create_consumer
from kafka_utils.errors import (
    AssignorPluginError,
    BrokerTooOldError,
    ConfigurationError,
    FencedError,
    GroupError,
    InconsistentAssignorsError,
    KafkaUtilsError,
    Problem,
    TopicCreationError,
    UnknownAssignorError,
    UnreachableError,
)
from kafka_utils.events import ConsumerEvents
from kafka_utils.group import GroupDescription, MemberDescription, PartitionLag
from kafka_utils.group_questions import Removed
from kafka_utils.producer import create_producer
from kafka_utils.topics import Broker, ClusterDescription

__version__ = "0.2.0"

__all__ = [
    "Admin",
    "AssignorPluginError",
    "Broker",
    "BrokerTooOldError",
    "ClusterDescription",
    "ConfigurationError",
    "ConsumerConfig",
    "ConsumerEvents",
    "Created",
    "FencedError",
    "GroupDescription",
    "GroupError",
    "InconsistentAssignorsError",
    "IncrementalConsumer",
    "KafkaUtilsError",
    "MemberDescription",
    "PartitionLag",
    "Problem",
    "ProducerConfig",
    "Removed",
    "Security",
    "TopicCreationError",
    "TopicSpec",
    "UnknownAssignorError",
    "UnreachableError",
    "__version__",
    "create_consumer",
    "create_producer",
]
