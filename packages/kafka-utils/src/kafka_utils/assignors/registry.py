"""Assignors by name: aiokafka's own, and those that other distributions plug in.

A distribution offers one by an entry point in the group ``kafka_utils.assignors``. The entry
point's name is the assignor's name and equals the class's ``name``, which is what members of a
group agree upon. Nothing of a distribution is imported before one of its assignors is resolved.
"""

import inspect
import logging
import types
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from kafka_utils.errors import AssignorPluginError, Problem, UnknownAssignorError
from kafka_utils.rules import shown

ENTRY_POINT_GROUP = "kafka_utils.assignors"

_log = logging.getLogger(__name__)

_BUILT_IN: dict[str, type[AbstractPartitionAssignor]] = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
}


def names() -> tuple[str, ...]:
    """Return the names of all assignors that can be asked for, sorted."""
    return tuple(sorted(_BUILT_IN.keys() | entry_points(group=ENTRY_POINT_GROUP).names))


def unknown(wanted: Iterable[str]) -> tuple[Problem, ...]:
    """Return a problem for each name that no assignor has."""
    known = names()
    return tuple(
        Problem("assignors", shown(name), f"one of {', '.join(known)}")
        for name in wanted
        if name not in known
    )


def resolve(name: str) -> type[AbstractPartitionAssignor]:
    """Return the assignor of that name, as a class for one consumer.

    Each call returns a new subclass. aiokafka calls assignors as classes and its ``sticky``
    remembers on the class what its consumer owns (aiokafka #1175), so consumers that shared one
    class would claim each other's partitions, and a group would forget who had what.

    Raises UnknownAssignorError, or AssignorPluginError if the assignor belongs to another
    distribution and cannot be used. A built-in name always means the built-in assignor.
    """
    problems = unknown([name])
    if problems:
        raise UnknownAssignorError(problems)
    plugins = tuple(entry_points(group=ENTRY_POINT_GROUP, name=name))
    built_in = _BUILT_IN.get(name)
    if built_in is None:
        return _of_its_own(_load(name, plugins))
    for plugin in plugins:
        _log.warning(
            "the assignor %r of %s is not used: that name is built in", name, _distribution(plugin)
        )
    return _of_its_own(built_in)


def _of_its_own(assignor: type[AbstractPartitionAssignor]) -> type[AbstractPartitionAssignor]:
    own = types.new_class(assignor.__name__, (assignor,))
    own.__module__ = assignor.__module__
    return own


def _load(name: str, plugins: tuple[EntryPoint, ...]) -> type[AbstractPartitionAssignor]:
    if len(plugins) > 1:
        offering = " and ".join(sorted(map(_distribution, plugins)))
        raise _unusable(name, f"offered by one distribution only, not by {offering}")
    (plugin,) = plugins
    owner = _distribution(plugin)
    try:
        assignor = plugin.load()
    except Exception as error:
        raise _unusable(
            name, f"an assignor that loads; {plugin.value} of {owner} raises {error!r}"
        ) from error
    if not isinstance(assignor, type) or not issubclass(assignor, AbstractPartitionAssignor):
        raise _unusable(
            name, f"a subclass of AbstractPartitionAssignor, which {plugin.value} of {owner} is not"
        )
    if inspect.isabstract(assignor):
        missing = ", ".join(sorted(assignor.__abstractmethods__))
        raise _unusable(name, f"complete; {plugin.value} of {owner} lacks {missing}")
    claimed: object = assignor.name
    if claimed != name:
        raise _unusable(
            name,
            f"registered under its own name; {plugin.value} of {owner} is called {claimed!r}",
        )
    return assignor


def _unusable(name: str, allowed: str) -> AssignorPluginError:
    return AssignorPluginError([Problem("assignors", shown(name), allowed)])


def _distribution(plugin: EntryPoint) -> str:
    return f"{plugin.dist.name} {plugin.dist.version}" if plugin.dist else "an unknown distribution"
