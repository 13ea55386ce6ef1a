"""Assignors that other distributions plug in, by entry points.

It stands apart since reading what is installed takes memory that a worker without plugins need not
have.
"""

import inspect
from importlib.metadata import EntryPoint, entry_points

from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor

from kafka_utils.assignors.base import Assignor
from kafka_utils.assignors.eager import adapt
from kafka_utils.errors import AssignorPluginError, Problem
from kafka_utils.rules import shown

ENTRY_POINT_GROUP = "kafka_utils.assignors"

AssignorClass = type[Assignor] | type[AbstractPartitionAssignor]


def names() -> frozenset[str]:
    """Return the names under which assignors are offered; nothing of them is imported."""
    return frozenset(entry_points(group=ENTRY_POINT_GROUP).names)


def made(assignor: AssignorClass) -> Assignor:
    """Make an assignor for one consumer."""
    return assignor() if issubclass(assignor, Assignor) else adapt(assignor)


def load(name: str) -> Assignor:
    """Import the assignor that is offered under this name, and make one for one consumer.

    Raises AssignorPluginError if it cannot be used.
    """
    plugins = tuple(entry_points(group=ENTRY_POINT_GROUP, name=name))
    if len(plugins) > 1:
        offering = " and ".join(sorted(map(_distribution, plugins)))
        raise _unusable(name, f"offered by one distribution only, not by {offering}")
    (plugin,) = plugins
    try:
        loaded = plugin.load()
    except Exception as error:
        raise _unusable(name, f"an assignor that loads; {_raised(plugin, error)}") from error
    assignor = _checked(name, plugin, loaded)
    try:
        return made(assignor)
    except Exception as error:
        allowed = f"an assignor that can be made without arguments; {_raised(plugin, error)}"
        raise _unusable(name, allowed) from error


def _checked(name: str, plugin: EntryPoint, assignor: object) -> AssignorClass:
    whose = f"{plugin.value} of {_distribution(plugin)}"
    if not isinstance(assignor, type) or not issubclass(
        assignor, Assignor | AbstractPartitionAssignor
    ):
        raise _unusable(
            name, f"a subclass of Assignor or of AbstractPartitionAssignor, which {whose} is not"
        )
    if inspect.isabstract(assignor):
        missing = ", ".join(sorted(assignor.__abstractmethods__))
        raise _unusable(name, f"complete; {whose} lacks {missing}")
    claimed: object = getattr(assignor, "name", None)
    if claimed != name:
        raise _unusable(name, f"registered under its own name; {whose} is called {claimed!r}")
    return assignor


def _raised(plugin: EntryPoint, error: Exception) -> str:
    return f"{plugin.value} of {_distribution(plugin)} raises {error!r}"


def _unusable(name: str, allowed: str) -> AssignorPluginError:
    return AssignorPluginError([Problem("assignors", shown(name), allowed)])


def _distribution(plugin: EntryPoint) -> str:
    return f"{plugin.dist.name} {plugin.dist.version}" if plugin.dist else "an unknown distribution"
