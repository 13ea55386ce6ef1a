"""Turns what a consumer tells of its group membership into metrics and log lines."""

import logging
import time
from collections.abc import Callable

from app_worker.observability.metrics import WorkerMetrics
from kafka_utils import ConsumerEvents
from kafka_utils.events import CoordinatorChange, Eviction, Loss, Rebalance, Retry, Revocation

NONE = -1
"""Shown for a generation or a coordinator that there is not; Kafka's own number for both."""

_log = logging.getLogger(__name__)


class GroupMetrics(ConsumerEvents):
    """The events of one consumer. Labels have few values; what has many is in the log only.

    Commits are not counted here: the worker counts its own, several requests each.
    """

    def __init__(
        self,
        metrics: WorkerMetrics,
        group: str,
        session_timeout_ms: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``now`` gives unix seconds."""
        self._now = now
        self._joined = False
        metrics.session_timeout.labels(group).set(session_timeout_ms / 1000)
        self._metrics = metrics
        self._group = group
        self._seconds = metrics.rebalance_phase_seconds
        self._coordinator = metrics.coordinator_id.labels(group)
        self._coordinator.set(NONE)
        self._generation = metrics.generation.labels(group)
        self._generation.set(NONE)
        self._evictions = metrics.evictions.labels(group)

    def rebalanced(self, rebalance: Rebalance) -> None:
        """A new generation is in force."""
        self._metrics.generations.labels(self._group, rebalance.reason).inc()
        self._generation.set(rebalance.generation)
        if not self._joined:
            self._joined = True
            self._metrics.joined.labels(self._group).set(self._now())
        self._changed("added", len(rebalance.added))
        phases = {
            "prepare": rebalance.prepare_seconds,
            "join": rebalance.join_seconds,
            "sync": rebalance.sync_seconds,
        }
        if rebalance.leader:
            phases["plan"] = rebalance.plan_seconds
        for phase, seconds in phases.items():
            self._seconds.labels(self._group, phase).observe(seconds)
        detail: dict[str, object] = {
            "group": self._group,
            "reason": rebalance.reason,
            "generation": rebalance.generation,
            "assignor": rebalance.protocol,
            "leader": rebalance.leader,
            "owned": len(rebalance.owned_after),
            "added": len(rebalance.added),
            "revoked": len(rebalance.revoked),
            "another_round": rebalance.another_round,
        }
        detail |= {f"{phase}_seconds": round(seconds, 3) for phase, seconds in phases.items()}
        _log.info("rebalanced", extra=detail)

    def revoked(self, revocation: Revocation) -> None:
        """Partitions were given up in order."""
        self._changed("revoked", len(revocation.partitions))
        self._metrics.revocations.labels(self._group, revocation.outcome).inc()
        self._seconds.labels(self._group, "revoke").observe(revocation.seconds)
        detail = {
            "group": self._group,
            "partitions": len(revocation.partitions),
            "outcome": revocation.outcome,
            "seconds": round(revocation.seconds, 3),
        }
        _log.info("partitions were given up", extra=detail)

    def lost(self, loss: Loss) -> None:
        """Partitions were lost."""
        self._changed("lost", len(loss.partitions))

    def coordinator_changed(self, change: CoordinatorChange) -> None:
        """The coordinator was found or lost."""
        self._coordinator.set(NONE if change.node_id is None else change.node_id)
        detail = {"group": self._group, "broker": change.node_id, "reason": change.reason}
        _log.info("the coordinator has changed", extra=detail)

    def evicted(self, eviction: Eviction) -> None:
        """The group gave this member up, or another one took its place."""
        self._evictions.inc()
        self._generation.set(NONE)
        detail = {
            "group": self._group,
            "reason": eviction.reason,
            "generation": eviction.generation,
            "member_id": eviction.member_id,
        }
        _log.warning("the group has given this member up", extra=detail)

    def retried(self, retry: Retry) -> None:
        """A request failed and will be made again."""
        self._metrics.group_retries.labels(self._group, retry.request, retry.error).inc()

    def _changed(self, change: str, partitions: int) -> None:
        self._metrics.partition_changes.labels(self._group, change).inc(partitions)
