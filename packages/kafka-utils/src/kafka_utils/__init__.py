"""Group membership for aiokafka: checked configuration, assignors by name, client factories."""

from kafka_utils.admin import Admin, Created, TopicSpec
from kafka_utils.config import ConsumerConfig, ProducerConfig, Security
from kafka_utils.consumer import create_consumer
from kafka_utils.errors import (
    AssignorPluginError,
    ConfigurationError,
    KafkaUtilsError,
    Problem,
    TopicCreationError,
    UnknownAssignorError,
    UnreachableError,
)
from kafka_utils.producer import create_producer

__version__ = "0.1.0"

__all__ = [
    "Admin",
    "AssignorPluginError",
    "ConfigurationError",
    "ConsumerConfig",
    "Created",
    "KafkaUtilsError",
    "Problem",
    "ProducerConfig",
    "Security",
    "TopicCreationError",
    "TopicSpec",
    "UnknownAssignorError",
    "UnreachableError",
    "__version__",
    "create_consumer",
    "create_producer",
]
