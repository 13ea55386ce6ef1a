"""What becomes of a group's events: series with few labels, and one line in the log for each."""

import logging

import pytest
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from app_worker.observability.group_metrics import GroupMetrics
from app_worker.observability.metrics import WorkerMetrics
from kafka_utils.events import CoordinatorChange, Eviction, Loss, Rebalance, Retry, Revocation

A, B, C = (TopicPartition("t", number) for number in range(3))
NOTHING: frozenset[TopicPartition] = frozenset()


class Told:
    """Group metrics with a registry to look into."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.now = 1_000.0
        metrics = WorkerMetrics(self.registry)
        self.events = GroupMetrics(metrics, "g", session_timeout_ms=6_000, now=lambda: self.now)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"worker_{name}", {"group": "g"} | labels)

    def phases(self) -> dict[str, float]:
        phases = {phase: self.seconds(phase) for phase in PHASES}
        return {phase: seconds for phase, seconds in phases.items() if seconds is not None}

    def seconds(self, phase: str) -> float | None:
        return self.value("rebalance_phase_seconds_sum", phase=phase)


PHASES = ("prepare", "join", "plan", "sync", "revoke")


def rebalance(*, leader: bool = False, generation: int = 7) -> Rebalance:
    return Rebalance(
        reason="the group rebalances",
        generation=generation,
        protocol="cooperative-sticky",
        leader=leader,
        another_round=True,
        prepare_seconds=0.25,
        join_seconds=3.0,
        plan_seconds=0.5 if leader else 0.0,
        sync_seconds=0.125,
        owned_before=frozenset([A, B]),
        owned_after=frozenset([A, C]),
        added=frozenset([C]),
        revoked=frozenset([B]),
        lost=NOTHING,
    )


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    caplog.set_level(logging.INFO)
    return Told()


def test_before_anything_happens_there_is_no_generation_and_no_coordinator(told: Told) -> None:
    assert told.value("group_generation") == -1
    assert told.value("coordinator_id") == -1
    assert told.value("evictions_total") == 0


def test_a_rebalance_counts_by_its_reason_and_tells_how_long_each_phase_took(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    told.events.rebalanced(rebalance())
    assert told.value("group_generations_total", reason="the group rebalances") == 1
    assert told.value("group_generation") == 7
    assert told.phases() == {"prepare": 0.25, "join": 3.0, "sync": 0.125}
    assert told.value("partition_changes_total", change="added") == 1
    (line,) = caplog.records
    assert (line.getMessage(), line.levelno) == ("rebalanced", logging.INFO)
    expected = {
        "group": "g",
        "reason": "the group rebalances",
        "generation": 7,
        "assignor": "cooperative-sticky",
        "leader": False,
        "owned": 2,
        "added": 1,
        "revoked": 1,
        "another_round": True,
        "prepare_seconds": 0.25,
        "join_seconds": 3.0,
        "sync_seconds": 0.125,
    }
    assert expected.items() <= line.__dict__.items()


def test_how_long_a_start_took_can_be_compared_with_the_session(told: Told) -> None:
    assert told.value("session_timeout_seconds") == 6
    assert told.value("joined_timestamp_seconds") is None
    told.events.rebalanced(rebalance())
    told.now = 2_000.0
    told.events.rebalanced(rebalance(generation=8))
    assert told.value("joined_timestamp_seconds") == 1_000


def test_only_a_leader_has_a_time_of_planning(told: Told) -> None:
    told.events.rebalanced(rebalance(leader=True))
    told.events.rebalanced(rebalance())
    assert told.value("rebalance_phase_seconds_count", phase="plan") == 1
    assert told.seconds("plan") == 0.5


def test_what_is_revoked_counts_when_it_is_given_up_and_not_when_it_is_planned(told: Told) -> None:
    told.events.rebalanced(rebalance())
    assert told.value("partition_changes_total", change="revoked") is None
    told.events.revoked(
        Revocation(generation=7, partitions=frozenset([B]), seconds=4.0, outcome="timeout")
    )
    assert told.value("partition_changes_total", change="revoked") == 1
    assert told.value("revocations_total", outcome="timeout") == 1
    assert told.seconds("revoke") == 4.0


def test_lost_partitions_and_evictions_are_counted_and_said(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    told.events.rebalanced(rebalance())
    caplog.clear()
    told.events.lost(Loss(partitions=frozenset([A, C]), reason="Heartbeat: UnknownMemberIdError"))
    told.events.evicted(
        Eviction(reason="Heartbeat: UnknownMemberIdError", member_id="m-1", generation=7)
    )
    assert told.value("partition_changes_total", change="lost") == 2
    assert told.value("evictions_total") == 1
    assert told.value("group_generation") == -1
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert line.__dict__["reason"] == "Heartbeat: UnknownMemberIdError"
    assert (line.__dict__["member_id"], line.__dict__["generation"]) == ("m-1", 7)


def test_the_coordinator_is_shown_as_long_as_it_is_known(told: Told) -> None:
    told.events.coordinator_changed(CoordinatorChange(node_id=0, reason="found"))
    assert told.value("coordinator_id") == 0
    told.events.coordinator_changed(CoordinatorChange(node_id=None, reason="gone"))
    assert told.value("coordinator_id") == -1


def test_retries_count_by_request_and_error(told: Told) -> None:
    for failures in (1, 2):
        told.events.retried(
            Retry(request="JoinGroup", error="TimedOut", failures=failures, pause_seconds=1.0)
        )
    labels = {"request": "JoinGroup", "error": "TimedOut"}
    assert told.value("group_retries_total", **labels) == 2


def test_no_label_holds_what_has_no_end_of_values(told: Told) -> None:
    counts = set()
    for number in range(5):
        partitions = frozenset([TopicPartition("t", number)])
        told.events.rebalanced(rebalance(generation=number))
        told.events.lost(Loss(partitions=partitions, reason=f"reason {number}"))
        told.events.evicted(Eviction(reason=f"r {number}", member_id=f"m-{number}", generation=1))
        told.events.coordinator_changed(CoordinatorChange(node_id=number, reason=f"r {number}"))
        told.events.revoked(
            Revocation(generation=number, partitions=partitions, seconds=1.0, outcome="done")
        )
        counts.add(len(samples(told.registry)))
    assert len(counts) == 1


def samples(registry: CollectorRegistry) -> list[str]:
    return [str(sample.labels) for family in registry.collect() for sample in family.samples]


def test_two_groups_of_one_process_have_series_of_their_own() -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    one, two = (GroupMetrics(metrics, group, 6_000) for group in ("g", "g.retry"))
    one.rebalanced(rebalance(generation=1))
    two.rebalanced(rebalance(generation=9))
    values = [
        registry.get_sample_value("worker_group_generation", {"group": group})
        for group in ("g", "g.retry")
    ]
    assert values == [1, 9]
