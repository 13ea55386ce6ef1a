"""What a consumer tells of its group membership while it works: values, and the hook for them.

Whatever counts or logs implements ``ConsumerEvents``; this package brings no metrics library. The
methods are called from the event loop, must return at once, and an exception of theirs is logged
and goes no further.
"""

import logging
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeVar

from aiokafka import TopicPartition

E = TypeVar("E")

_log = logging.getLogger(__name__)


class Rebalance(NamedTuple):
    """A member entered a new generation of its group; all times in seconds."""

    reason: str
    """Why this member joined, in words."""
    generation: int
    protocol: str
    """The assignor that decided."""
    leader: bool
    """Whether this member made the plan."""
    another_round: bool
    """Whether the plan withholds partitions, so that another rebalance follows soon."""
    prepare_seconds: float
    """From when the join became due until JoinGroup was sent: what an eager member drains in."""
    join_seconds: float
    """How long JoinGroup was pending: the wait for the slowest member."""
    plan_seconds: float
    """How long the leader thought; 0 for others."""
    sync_seconds: float
    """How long SyncGroup was pending."""
    owned_before: frozenset[TopicPartition]
    """What the member held when it joined."""
    owned_after: frozenset[TopicPartition]
    """What it is to hold."""
    added: frozenset[TopicPartition]
    revoked: frozenset[TopicPartition]
    """What it is to give up; a ``Revocation`` tells when it has."""
    lost: frozenset[TopicPartition]
    """What it had lost since the rebalance before."""


class Revocation(NamedTuple):
    """Partitions were given up in order, after their revoke callback."""

    generation: int
    partitions: frozenset[TopicPartition]
    seconds: float
    """How long the callback took."""
    outcome: Literal["done", "timeout", "failed"]
    """What became of the callback; the partitions were given up in every case."""


class Loss(NamedTuple):
    """Partitions are no longer this member's, and it was not asked before (KIP-429: lost)."""

    partitions: frozenset[TopicPartition]
    reason: str


class Commit(NamedTuple):
    """A commit ended."""

    partitions: int
    seconds: float
    """With everything that it waited for."""
    requests: int
    """How many requests it took."""
    error: str | None
    """The name of the error that it ended with; None if the offsets are stored."""


class CoordinatorChange(NamedTuple):
    """The group's coordinator was found (or lost: ``node_id`` is None then)."""

    node_id: int | None
    reason: str


class Eviction(NamedTuple):
    """The group no longer counts on this member under its old identity."""

    reason: str
    member_id: str
    generation: int


class Retry(NamedTuple):
    """A request to the coordinator failed and will be made again after a pause."""

    request: str
    error: str
    failures: int
    """In a row."""
    pause_seconds: float


class ConsumerEvents:
    """The hook: override what is of interest. Each method's default does nothing."""

    def rebalanced(self, rebalance: Rebalance) -> None:
        """A new generation is in force."""

    def revoked(self, revocation: Revocation) -> None:
        """Partitions were given up in order."""

    def lost(self, loss: Loss) -> None:
        """Partitions were lost."""

    def committed(self, commit: Commit) -> None:
        """A commit ended, well or not."""

    def coordinator_changed(self, change: CoordinatorChange) -> None:
        """The coordinator was found or lost."""

    def evicted(self, eviction: Eviction) -> None:
        """The group gave this member up, or another one took its place."""

    def retried(self, retry: Retry) -> None:
        """A request failed and will be made again."""


def tell(method: Callable[[E], None], event: E) -> None:
    """Call one of the hook's methods; what it raises is logged and goes no further."""
    try:
        method(event)
    except Exception:
        _log.exception("an event handler failed on %s", type(event).__name__)
