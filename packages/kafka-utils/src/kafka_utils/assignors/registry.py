"""Assignors by name: ours, aiokafka's, and those that other distributions plug in.

A distribution offers one by an entry point in the group ``kafka_utils.assignors``. The entry
point's name is the assignor's name and equals the class's ``name``, which is what members of a
group agree upon. A built-in name always means the built-in assignor. Nothing of a distribution is
imported before one of its assignors is resolved.
"""

from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module

from kafka_utils.assignors.base import Assignor
from kafka_utils.errors import Problem, UnknownAssignorError
from kafka_utils.rules import shown


def _cooperative_sticky() -> Assignor:
    from kafka_utils.assignors.cooperative_sticky import CooperativeStickyAssignor

    return CooperativeStickyAssignor()


def _of_aiokafka(module: str, name: str) -> Assignor:
    from kafka_utils.assignors.eager import adapt

    return adapt(getattr(import_module(f"aiokafka.coordinator.assignors.{module}"), name))


# Each is imported when it is asked for: a member needs the few that it names.
_BUILT_IN: dict[str, Callable[[], Assignor]] = {
    "cooperative-sticky": _cooperative_sticky,
    "range": partial(_of_aiokafka, "range", "RangePartitionAssignor"),
    "roundrobin": partial(_of_aiokafka, "roundrobin", "RoundRobinPartitionAssignor"),
    "sticky": partial(_of_aiokafka, "sticky.sticky_assignor", "StickyPartitionAssignor"),
}


def names() -> tuple[str, ...]:
    """Return the names of all assignors that can be asked for, sorted."""
    from kafka_utils.assignors import plugins

    return tuple(sorted(_BUILT_IN.keys() | plugins.names()))


def unknown(wanted: Iterable[str]) -> tuple[Problem, ...]:
    """Return a problem for each name that no assignor has."""
    others = [name for name in wanted if name not in _BUILT_IN]
    known = names() if others else ()
    return tuple(
        Problem("assignors", shown(name), f"one of {', '.join(known)}")
        for name in others
        if name not in known
    )


def resolve(name: str) -> Assignor:
    """Return the assignor of that name, for one consumer: each call makes another one.

    Raises UnknownAssignorError, or AssignorPluginError if the assignor belongs to another
    distribution and cannot be used.
    """
    problems = unknown([name])
    if problems:
        raise UnknownAssignorError(problems)
    if name in _BUILT_IN:
        return _BUILT_IN[name]()
    from kafka_utils.assignors import plugins

    return plugins.load(name)
