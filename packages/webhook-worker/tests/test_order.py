"""What becomes of deliveries that are kept in order: in line, blocked, aside, or given up."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_delivery import NOW, SCHEDULE, Way, endpoint, record

from app_worker.delays import DelaySchedule
from app_worker.handler import Block, DeadLetter, Done, Enqueue, Park
from app_worker.record import Record
from webhook_worker.attempt import Answered, Failed
from webhook_worker.directory import BrokenEndpoint
from webhook_worker.order import LONGEST_BLOCKED_SECONDS, LineOrder

FAILS = Answered(500)
DAYS = DelaySchedule("w", ("5s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h"))


def in_line(*, waited: float = 0.0, **fields: Any) -> Record:
    """A record of the ordered topic that came there so many seconds ago."""
    queued_ms = round((NOW - waited) * 1000)
    return record(delivery="a", **fields)._replace(queued_ms=queued_ms)


def way(ordered: Any = "block", **more: Any) -> Way:
    return Way(endpoint("a", ordered=ordered), endpoint("b"), in_order=True, **more)


async def test_an_ordered_delivery_is_put_in_line_before_the_others_are_made() -> None:
    made = way()
    assert await made.outcomes() == [Enqueue("a")]
    assert made.sender.requests == []
    rest = record()._replace(enqueued=frozenset({"a"}))
    assert await made.outcomes(rest) == [Done("b")]
    assert made.counted("webhook_events_total", result="matched") == 1


async def test_nothing_is_left_of_an_event_that_only_ordered_endpoints_get() -> None:
    made = Way(endpoint("a", ordered="park"), in_order=True)
    assert await made.outcomes() == [Enqueue("a")]
    assert await made.outcomes(record()._replace(enqueued=frozenset({"a"}))) == []
    assert made.counted("webhook_events_total", result="matched") == 1


async def test_an_endpoint_that_becomes_ordered_in_between_is_put_in_line_too() -> None:
    made = Way(endpoint("a", ordered="block"), endpoint("b", ordered="block"), in_order=True)
    assert await made.outcomes(record()._replace(enqueued=frozenset({"a"}))) == [Enqueue("b")]


async def test_without_an_ordered_topic_or_without_a_key_there_is_no_order(
    caplog: pytest.LogCaptureFixture,
) -> None:
    without_topic = Way(endpoint("a", ordered="block"), endpoint("b"))
    for _ in range(2):
        assert await without_topic.outcomes() == [Done("a"), Done("b")]
    assert without_topic.counted("webhook_not_in_order_total") == 2
    (told,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert "WEBHOOK_ORDERED_TOPIC is not set" in told.message
    made = way()
    assert await made.outcomes(record()._replace(key=None)) == [Done("a"), Done("b")]
    assert made.counted("webhook_without_key_total") == 1


@pytest.mark.parametrize(
    ("ordered", "attempts", "postponed", "again_in_line"),
    [
        ("block", 0, 0, True),
        ("block", 3, 0, True),
        ("park", 0, 0, True),
        ("park", 1, 0, False),
        ("park", 0, 2, False),
        (None, 0, 0, False),
    ],
)
async def test_what_comes_from_a_delay_topic_goes_to_the_end_of_the_line_or_stays_aside(
    ordered: Any, attempts: int, postponed: int, again_in_line: bool
) -> None:
    back = record(delivery="a", attempts=attempts, postponed=postponed)
    outcomes = await way(ordered).outcomes(back)
    assert outcomes == [Enqueue("a") if again_in_line else Done("a")]


async def test_what_was_put_in_line_again_needs_nothing_more() -> None:
    back = record(delivery="a")._replace(enqueued=frozenset({"a"}))
    assert await way().outcomes(back) == []


async def test_a_failure_blocks_the_key_with_the_delays_of_the_schedule() -> None:
    made = way(answers={"a": FAILS})
    assert await made.outcomes(in_line()) == [Block("a", 1, 5.0)]
    assert await made.outcomes(in_line(attempts=1)) == [Block("a", 2, 300.0)]
    assert b'"outcome":"blocked","blocked_seconds":300.0' in made.logged[1][1]
    (dead,) = await made.outcomes(in_line(attempts=2))
    assert isinstance(dead, DeadLetter)
    assert dead.reason == "exhausted"
    assert [each.type for each in made.announced] == ["message.exhausted"]


async def test_where_a_failure_parks_the_delivery_steps_aside() -> None:
    (outcome,) = await way("park", answers={"a": FAILS}).outcomes(in_line())
    assert isinstance(outcome, Park)
    assert (outcome.delay, outcome.attempts) == ("5s", 1)


async def test_an_endpoint_that_is_not_ordered_any_more_parks_what_is_still_in_line() -> None:
    (outcome,) = await way(None, answers={"a": FAILS}).outcomes(in_line())
    assert isinstance(outcome, Park)


@pytest.mark.parametrize("ordered", [None, "park"])
async def test_what_was_blocked_often_is_not_given_up_when_its_endpoint_wants_that_no_more(
    ordered: Any,
) -> None:
    made = way(ordered, answers={"a": FAILS}, schedule=DAYS)
    (outcome,) = await made.outcomes(in_line(waited=6 * 3600, attempts=14))
    assert isinstance(outcome, Park)
    assert outcome.delay == "5h"
    for _ in range(2):
        await made.outcomes(in_line(waited=6 * 3600, attempts=14))
    (last,) = await made.outcomes(in_line(waited=6 * 3600, attempts=14))
    assert isinstance(last, Park)
    assert (last.reason, last.attempts) == ("circuit_open", 5)


def test_attempts_in_line_are_as_many_outside_as_there_would_have_been_in_that_time() -> None:
    outside = LineOrder(DAYS).attempts_outside
    assert [outside(made) for made in range(6)] == [0, 1, 2, 3, 4, 4]
    in_line = len(LineOrder(DAYS).schedule.delays)
    assert (outside(in_line), outside(in_line + 1)) == (len(DAYS.delays), len(DAYS.delays) + 1)


async def test_delivered_and_gone_are_outcomes_in_line_as_elsewhere() -> None:
    assert await way().outcomes(in_line()) == [Done("a")]
    (gone,) = await way(answers={"a": Answered(410)}).outcomes(in_line())
    assert isinstance(gone, DeadLetter)
    off = Way(endpoint("a", ordered="block", enabled=False), in_order=True)
    (disabled,) = await off.outcomes(in_line())
    assert isinstance(disabled, DeadLetter)
    assert disabled.reason == "endpoint_disabled"


async def test_a_restart_does_not_give_a_delivery_more_time_than_one_in_no_line_has() -> None:
    made = way(answers={"a": FAILS})
    assert isinstance((await made.outcomes(in_line(waited=304)))[0], Block)
    (dead,) = await made.outcomes(in_line(waited=305))
    assert isinstance(dead, DeadLetter)
    assert (dead.reason, dead.attempts, dead.detail) == ("exhausted", 1, "status 500")


async def test_what_waited_long_behind_others_gets_an_attempt_all_the_same() -> None:
    assert await way().outcomes(in_line(waited=1e6)) == [Done("a")]
    ours = way(answers={"a": Failed("internal", "no connection", ours=True)})
    assert isinstance((await ours.outcomes(in_line(waited=305)))[0], Block)
    (dead,) = await ours.outcomes(in_line(waited=305 + 86_400))
    assert isinstance(dead, DeadLetter)


async def test_without_an_attempt_it_is_asked_again_soon_and_as_often_as_it_takes() -> None:
    made = way(answers={"a": FAILS})
    for _ in range(3):
        await made.outcomes(in_line())
    (first,) = await made.outcomes(in_line())
    assert isinstance(first, Block)
    assert (first.attempts, first.postponed) == (0, 1)
    assert first.seconds == pytest.approx(5, abs=1)
    (later,) = await made.outcomes(in_line(postponed=9))
    assert isinstance(later, Block)
    assert later.seconds == 60
    (much_later,) = await made.outcomes(in_line(postponed=10))
    assert much_later == replace(later, postponed=10)


async def test_in_line_a_wrong_entry_is_waited_for_in_its_place() -> None:
    broken = BrokenEndpoint("a", "acme", None, enabled=True)
    made = Way(endpoint("b"), broken=[broken], in_order=True)
    assert await made.outcomes(in_line()) == [Block("a", 1, 5.0)]


DELAYS = st.tuples(st.integers(1, 50), st.sampled_from("smhd")).map(lambda d: f"{d[0]}{d[1]}")


@given(st.lists(DELAYS, min_size=1, max_size=10))
def test_a_key_is_blocked_for_short_times_and_as_long_as_the_schedule(delays: list[str]) -> None:
    schedule = DelaySchedule("w", tuple(delays))
    short = LineOrder(schedule).schedule
    assert max(map(short.seconds, short.delays)) <= LONGEST_BLOCKED_SECONDS
    whole = sum(map(schedule.seconds, delays))
    of_short = sum(map(short.seconds, short.delays))
    assert whole <= of_short < whole + LONGEST_BLOCKED_SECONDS


def test_the_default_schedule_blocks_a_key_for_half_an_hour_at_most() -> None:
    short = LineOrder(DAYS).schedule
    assert short.delays[:4] == ("5s", "5m", "30m", "30m")
    assert len(short.delays) == 3 + 75 * 2


def test_the_schedule_that_nobody_shortens_is_that_of_the_others() -> None:
    assert LineOrder(SCHEDULE).schedule.delays == SCHEDULE.delays
