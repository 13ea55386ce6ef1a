"""Assignors by name: ours, aiokafka's, and those that other distributions plug in.

A distribution offers one by an entry point in the group ``kafka_utils.assignors``. The entry
point's name is the assignor's name and equals the class's ``name``, which is what members of a
group agree upon. A built-in name always means the built-in assignor. Nothing of a distribution is
imported before one of its assignors is resolved.
"""

from collections.abc import Callable, Iterable
from functools import partial

from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from kafka_utils.assignors.base import Assignor
from kafka_utils.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka_utils.assignors.eager import adapt
from kafka_utils.errors import Problem, UnknownAssignorError
from kafka_utils.rules import shown

_BUILT_IN: dict[str, Callable[[], Assignor]] = {
    "cooperative-sticky": CooperativeStickyAssignor,
    "range": partial(adapt, RangePartitionAssignor),
    "roundrobin": partial(adapt, RoundRobinPartitionAssignor),
    "sticky": partial(adapt, StickyPartitionAssignor),
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
