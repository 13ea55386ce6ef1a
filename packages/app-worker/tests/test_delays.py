"""Durations, the schedule, and the names of the delay topics."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_worker.delays import DelaySchedule, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ("30m", 1_800), ("2h", 7_200), ("1d", 86_400), ("90s", 90)]
)
def test_a_duration_is_a_whole_number_and_a_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "0s", "05s", "1.5h", "-1s", "5 s", "5S", "5s\n", "5ms", "\u0665s", "9999999s"],
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration: write a whole number of at least 1"):
        parse_duration(text)


def test_a_schedule_is_a_comma_list() -> None:
    schedule = DelaySchedule.parse("orders", "5s, 5m,2h")
    assert schedule.delays == ("5s", "5m", "2h")
    assert schedule.seconds("5m") == 300


@pytest.mark.parametrize("text", ["", "5s,", "5s,,5m", "5s;5m"])
def test_a_schedule_with_a_hole_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        DelaySchedule.parse("orders", text)


def test_a_delay_topic_is_named_after_its_topic_and_delay() -> None:
    schedule = DelaySchedule.parse("orders", "5s,5s,1m")
    assert schedule.topic_for("5s") == "orders.retry.5s"
    assert schedule.topics() == ("orders.retry.5s", "orders.retry.1m")


def test_after_each_attempt_comes_the_next_delay_and_then_none() -> None:
    schedule = DelaySchedule.parse("orders", "5s,1m")
    assert [schedule.after(attempts) for attempts in (1, 2, 3, 9)] == ["5s", "1m", None, None]


def test_no_attempt_has_no_delay() -> None:
    with pytest.raises(ValueError, match="attempts is 0"):
        DelaySchedule.parse("orders", "5s").after(0)


def test_a_delay_outside_the_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="'7s' is not in the schedule 5s,1m"):
        DelaySchedule.parse("orders", "5s,1m").seconds("7s")


@given(st.integers(1, 999_999), st.sampled_from("smhd"))
def test_the_pattern_finds_the_topic_of_every_delay(number: int, unit: str) -> None:
    schedule = DelaySchedule.parse("a.b", "5s")
    assert re.match(schedule.pattern, schedule.topic_for(f"{number}{unit}"))


@pytest.mark.parametrize(
    "topic", ["a.b", "a.b.retry.5s.dead", "a.b.retry.x", "axb.retry.5s", "za.b.retry.5s"]
)
def test_the_pattern_finds_no_other_topic(topic: str) -> None:
    assert not re.match(DelaySchedule.parse("a.b", "5s").pattern, topic)
