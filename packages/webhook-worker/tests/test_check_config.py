"""What check-config asks the brokers, with an admin that answers from memory."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError

from app_worker.settings import KafkaSettings
from webhook_worker.cli import main

TOPICS = ("webhook", "webhook.retry.1s", "webhook.dead-letter", "webhook.endpoint-state")


class FakeAdmin:
    """A cluster with some topics; ``denied`` groups may not be read."""

    def __init__(self, topics: Sequence[str], denied: Sequence[str] = ()) -> None:
        self.topics = topics
        self.denied = denied
        self.asked: list[tuple[str, list[TopicPartition]]] = []
        self.rights: dict[str, frozenset[str]] = {}
        self.handover: dict[str, dict[str, str]] = {}
        """The hand-over topic, if it is there, with its settings."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    async def brokers(self) -> int:
        return 3

    async def list_topics(self) -> set[str]:
        return {*self.topics, *self.handover}

    async def topic_config(self, topic: str, _: Collection[str]) -> dict[str, str] | None:
        return self.handover.get(topic)

    async def topic_rights(self) -> dict[str, frozenset[str]]:
        return dict.fromkeys(self.topics, frozenset({"Read", "Write"})) | self.rights

    async def broker_config(self, _: Collection[str]) -> dict[str, str]:
        return {}

    async def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        return {topic: 4 for topic in topics if topic in self.topics}

    async def committed_offsets(
        self, group_id: str, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int | None]:
        self.asked.append((group_id, list(partitions)))
        if group_id in self.denied:
            raise GroupAuthorizationFailedError
        return dict.fromkeys(partitions)


def run(admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **more: str) -> int:
    endpoints = tmp_path / "endpoints.yaml"
    endpoints.write_text("endpoints: []")
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "KAFKA_GROUP_ID": "hooks",
        "WEBHOOK_ENDPOINTS": str(endpoints),
        "WEBHOOK_RETRY_SCHEDULE": "1s",
        **more,
    }
    monkeypatch.setattr(KafkaSettings, "admin", lambda *_: admin)
    return main(["check-config", "--connect"], environ)


def test_both_groups_are_asked_about_a_topic_that_exists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    admin = FakeAdmin(TOPICS)
    assert run(admin, monkeypatch, tmp_path) == 0
    here = [TopicPartition("webhook", 0)]
    assert admin.asked == [("hooks", here), ("hooks.retry", here)]
    out = capsys.readouterr().out
    assert "group hooks: readable\ngroup hooks.retry: readable\n" in out


def test_the_topic_and_the_group_of_order_are_asked_about_where_there_is_to_be_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(FakeAdmin(TOPICS), monkeypatch, tmp_path, WEBHOOK_ORDERED_TOPIC="lines") == 1
    assert "topic lines: missing\n" in capsys.readouterr().out
    there = FakeAdmin([*TOPICS, "lines"])
    assert run(there, monkeypatch, tmp_path, WEBHOOK_ORDERED_TOPIC="lines") == 0
    assert "group hooks.ordered: readable\n" in capsys.readouterr().out


def test_a_right_that_a_worker_lacks_on_a_topic_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    admin = FakeAdmin([*TOPICS, "lines"])
    admin.rights = {"lines": frozenset({"Read"}), "webhook": frozenset({"Read"})}
    assert run(admin, monkeypatch, tmp_path, WEBHOOK_ORDERED_TOPIC="lines") == 0
    err = capsys.readouterr().err
    assert "warning: whoever asks has no right Write on topic lines, which a worker needs" in err
    assert err.count("no right") == 1


def test_nothing_is_asked_about_a_missing_topic_which_brokers_could_then_create(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    admin = FakeAdmin(TOPICS[1:])
    assert run(admin, monkeypatch, tmp_path) == 1
    assert admin.asked == []
    out, err = capsys.readouterr()
    assert "topic webhook: missing" in out
    assert "group hooks: not asked, since topic webhook is missing" in out
    assert "create the missing topics with: webhook-worker topics create" in err


def test_a_group_that_may_not_be_read_is_told_and_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(FakeAdmin(TOPICS, denied=["hooks.retry"]), monkeypatch, tmp_path) == 1
    out = capsys.readouterr().out
    assert "group hooks: readable" in out
    assert "group hooks.retry: not readable: [Error 30] GroupAuthorizationFailedError" in out


@pytest.mark.parametrize(
    ("handover", "said", "warns"),
    [
        ({"webhook.handover": {"retention.ms": "-1"}}, "as hand-over needs it", False),
        ({}, "not usable for hand-over: missing topic webhook.handover; create with: ", True),
        ({"webhook.handover": {"cleanup.policy": "compact"}}, "has cleanup.policy=compact", True),
    ],
)
def test_the_topic_of_hand_over_is_looked_at_and_warned_of_where_it_is_to_be_used(
    handover: dict[str, dict[str, str]],
    said: str,
    warns: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    admin = FakeAdmin(TOPICS)
    admin.handover = handover
    assert run(admin, monkeypatch, tmp_path, WORKER_HANDOVER="on") == 0
    out, err = capsys.readouterr()
    assert said in out
    assert ("partitions that move are drained first" in err) == warns
    assert run(admin, monkeypatch, tmp_path, WORKER_HANDOVER="off") == 0
    assert "drained" not in capsys.readouterr().err
