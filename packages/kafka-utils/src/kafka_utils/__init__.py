"""Group membership for aiokafka: checked configuration, assignors by name, client factories."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from kafka_utils.listener import KeepsPartitions

if TYPE_CHECKING:
    from kafka_utils.admin import Admin, Created, TopicSpec
    from kafka_utils.group import GroupDescription, MemberDescription, PartitionLag
    from kafka_utils.group_questions import Removed
    from kafka_utils.producer import create_producer
    from kafka_utils.reader import create_place_reader, create_reader, has_reached
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
    "KeepsPartitions",
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
    "create_place_reader",
    "create_producer",
    "create_reader",
    "has_reached",
]

# All but a group's member is imported when it is first asked for: who only consumes starts the
# sooner, and is the smaller, for it.
_WHERE = {
    "admin": ("Admin", "Created", "TopicSpec"),
    "group": ("GroupDescription", "MemberDescription", "PartitionLag"),
    "group_questions": ("Removed",),
    "producer": ("create_producer",),
    "reader": ("create_place_reader", "create_reader", "has_reached"),
    "topics": ("Broker", "ClusterDescription"),
}
_LATER = {name: module for module, names in _WHERE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = found
    return found
