"""Whether a hand-over topic's settings let words stand for long enough."""

import pytest

from app_worker.handover_topic.policy import DAY_MS, offsets_retention_ms, what_is_wrong

WEEK_MS = 7 * DAY_MS


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        ({"cleanup.policy": "delete", "retention.ms": str(8 * DAY_MS)}, ""),
        ({"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}, ""),
        ({"cleanup.policy": "compact", "retention.ms": "-1"}, "cleanup.policy=compact"),
        ({"cleanup.policy": "compact,delete"}, "cleanup.policy=compact,delete"),
        ({"retention.ms": str(8 * DAY_MS - 1)}, f"retention.ms={8 * DAY_MS - 1}"),
        ({"retention.ms": "-1", "retention.bytes": "1000000"}, "retention.bytes=1000000"),
    ],
)
def test_words_are_deleted_by_age_alone_and_later_than_offsets(
    config: dict[str, str], wrong: str
) -> None:
    said = what_is_wrong(config, WEEK_MS)
    assert wrong in said
    assert bool(said) == bool(wrong)


def test_the_brokers_say_how_long_they_keep_offsets_or_it_is_the_usual_week() -> None:
    assert offsets_retention_ms({"offsets.retention.minutes": "1440"}) == DAY_MS
    assert offsets_retention_ms({}) == WEEK_MS
    assert what_is_wrong({"retention.ms": str(2 * DAY_MS)}, DAY_MS) == ""
