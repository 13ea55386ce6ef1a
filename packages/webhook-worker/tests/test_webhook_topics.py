"""Which topics are created, and how they are set."""

import dataclasses

from app_worker.delays import DelaySchedule
from app_worker.handover_topic.policy import USUAL_OFFSETS_RETENTION_MS, what_is_wrong
from webhook_worker.topics import TopicNames, topic_specs

DAY_MS = 86_400_000
NAMES = TopicNames(dead_letters="dead", replayed="dead.replayed", endpoint_state="w.endpoint-state")


def test_the_source_the_delays_and_the_dead_letters_are_created() -> None:
    specs = topic_specs(
        DelaySchedule("webhook", ("5s", "24h", "5s")),
        TopicNames(
            dead_letters="webhook.dead-letter",
            replayed="webhook.dead-letter.replayed",
            endpoint_state="webhook.endpoint-state",
        ),
    )
    assert [(spec.name, spec.partitions, spec.replication) for spec in specs] == [
        ("webhook", 100, 3),
        ("webhook.retry.5s", 12, 3),
        ("webhook.retry.24h", 12, 3),
        ("webhook.dead-letter", 12, 3),
        ("webhook.dead-letter.replayed", 1, 3),
        ("webhook.handover", 12, 3),
        ("webhook.endpoint-state", 1, 3),
    ]
    assert all(spec.configs["min.insync.replicas"] == "2" for spec in specs)
    *others, state = specs
    assert all(spec.configs["cleanup.policy"] == "delete" for spec in others)
    assert state.configs["cleanup.policy"] == "compact"


def test_a_parked_delivery_outlives_its_delay_by_a_week() -> None:
    _, short, long, dead, replayed, *_ = topic_specs(DelaySchedule("w", ("5s", "9d")), NAMES)
    assert int(short.configs["retention.ms"]) == 7 * DAY_MS + 5_000
    assert int(long.configs["retention.ms"]) == 16 * DAY_MS
    assert int(dead.configs["retention.ms"]) == 30 * DAY_MS
    assert int(replayed.configs["retention.ms"]) > int(dead.configs["retention.ms"])


def test_age_counts_from_parking_not_from_the_event() -> None:
    source, *others, _, _ = topic_specs(DelaySchedule("w", ("5s",)), NAMES)
    assert {spec.configs["message.timestamp.type"] for spec in others} == {"LogAppendTime"}
    assert "message.timestamp.type" not in source.configs


def test_a_parked_record_may_be_larger_than_its_original() -> None:
    source, *others, _, _ = topic_specs(DelaySchedule("w", ("5s",)), NAMES)
    assert "max.message.bytes" not in source.configs
    assert all(int(spec.configs["max.message.bytes"]) > 2_000_000 for spec in others)


def test_without_replicas_one_broker_is_enough() -> None:
    specs = topic_specs(
        DelaySchedule("w", ("5s",)), NAMES, partitions=4, replication=1, retry_partitions=2
    )
    assert {spec.configs["min.insync.replicas"] for spec in specs} == {"1"}
    assert [spec.partitions for spec in specs] == [4, 2, 2, 1, 2, 1]


def test_a_topic_of_endpoints_is_compacted() -> None:
    names = dataclasses.replace(NAMES, endpoints="w.endpoints")
    *others, endpoints = topic_specs(DelaySchedule("w", ("5s",)), names)
    assert endpoints.name == "w.endpoints"
    assert endpoints.configs["cleanup.policy"] == "compact"
    assert len(others) == 6


def test_the_attempt_log_and_the_operational_events_are_kept_for_a_while() -> None:
    names = dataclasses.replace(NAMES, operational_events="w.operations", attempt_log="w.attempts")
    *_, operations, attempts = topic_specs(DelaySchedule("w", ("5s",)), names, retry_partitions=7)
    assert (operations.name, operations.partitions) == ("w.operations", 1)
    assert (attempts.name, attempts.partitions) == ("w.attempts", 7)
    assert int(operations.configs["retention.ms"]) == 30 * DAY_MS
    assert int(attempts.configs["retention.ms"]) == 7 * DAY_MS


def test_operational_events_among_the_events_need_no_topic_of_their_own() -> None:
    names = dataclasses.replace(NAMES, operational_events="w")
    specs = topic_specs(DelaySchedule("w", ("5s",)), names)
    assert [spec.name for spec in specs].count("w") == 1
    assert "retention.ms" not in specs[0].configs


def test_words_of_a_hand_over_outlive_the_offsets_that_may_wait_for_them() -> None:
    *_, handover, _ = topic_specs(DelaySchedule("w", ("5s",)), NAMES)
    assert handover.name == "w.handover"
    assert what_is_wrong(handover.configs, USUAL_OFFSETS_RETENTION_MS) == ""


def test_the_ordered_topic_has_the_sources_partitions_and_outlives_the_schedule_by_a_week() -> None:
    names = dataclasses.replace(NAMES, ordered="lines")
    specs = topic_specs(DelaySchedule("w", ("5s", "1d")), names, partitions=30)
    (lines,) = (spec for spec in specs if spec.name == "lines")
    assert lines.partitions == 30
    assert int(lines.configs["retention.ms"]) == 8 * DAY_MS + 5_000
    assert lines.configs["message.timestamp.type"] == "LogAppendTime"
    assert "lines" in names.for_work
