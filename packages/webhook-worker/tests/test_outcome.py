"""What an attempt leads to, and how long the next one has to wait."""

from heapq import heappop, heappush
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_worker.delays import DelaySchedule, spread
from app_worker.handler import DeadLetter, Done, Park
from app_worker.record import Origin, Record
from webhook_worker.attempt import Answered, Failed, FailureKind
from webhook_worker.isolation.pace import Pace
from webhook_worker.outcome import outcome_of, park_or_give_up, postpone
from webhook_worker.retry import MOST_POSTPONED, next_delay

SCHEDULE = DelaySchedule("webhook", ("5s", "5m", "30m", "2h"))


@pytest.mark.parametrize("status", [200, 201, 202, 204, 226, 299])
def test_2xx_is_delivered(status: int) -> None:
    assert outcome_of(Answered(status), "e", 1, SCHEDULE) == Done("e")


@pytest.mark.parametrize(
    "status", [101, 199, 300, 301, 302, 304, 307, 400, 401, 404, 409, 429, 500, 503, 599]
)
def test_every_other_status_is_parked(status: int) -> None:
    outcome = outcome_of(Answered(status), "e", 1, SCHEDULE)
    assert outcome == Park("e", 1, "5s", "status", f"status {status}")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"upstream failed", "status 500: upstream failed"),
        (b"", "status 500"),
        (b"\0\x1b \r\n", "status 500"),
        (b"a\r\n\tb\x1b[31mc", "status 500: a b [31mc"),
        ("gestört ✓".encode(), "status 500: gestört ✓"),
        (b"\xff\xfe", "status 500: \ufffd\ufffd"),
        (b"\xe2\x80\xae\xc2\x85x", "status 500: x"),
        (b"x" * 1024, "status 500: " + "x" * 200),
    ],
)
def test_the_detail_has_the_answers_start_with_nothing_unprintable(
    body: bytes, detail: str
) -> None:
    outcome = outcome_of(Answered(500, None, body), "e", 1, SCHEDULE)
    assert outcome == Park("e", 1, "5s", "status", detail)


@given(st.binary(max_size=1024))
def test_any_answer_makes_a_detail_of_one_printable_line(body: bytes) -> None:
    outcome = outcome_of(Answered(410, None, body), "e", 1, SCHEDULE)
    assert isinstance(outcome, DeadLetter)
    assert outcome.detail.isprintable()
    assert len(outcome.detail) <= 212


def test_410_is_given_up_at_once() -> None:
    outcome = outcome_of(Answered(410, retry_after=1.0), "e", 1, SCHEDULE)
    assert outcome == DeadLetter("e", 1, "gone", "status 410")


@pytest.mark.parametrize("kind", ["dns", "connect", "tls", "timeout", "reset", "protocol",
                                  "blocked", "proxy", "internal"])  # fmt: skip
def test_a_failure_is_parked_with_its_kind_as_the_reason(kind: FailureKind) -> None:
    outcome = outcome_of(Failed(kind, "connection refused"), "e", 2, SCHEDULE)
    assert outcome == Park("e", 2, "5m", kind, f"{kind}: connection refused")


def test_the_schedule_is_walked_and_ends_in_a_dead_letter() -> None:
    outcomes = [outcome_of(Answered(503), "e", attempts, SCHEDULE) for attempts in range(1, 6)]
    assert outcomes == [
        *(
            Park("e", n, delay, "status", "status 503")
            for n, delay in enumerate(SCHEDULE.delays, 1)
        ),
        DeadLetter("e", 5, "exhausted", "status 503"),
    ]


def test_an_exhausted_schedule_keeps_the_last_failure() -> None:
    outcome = outcome_of(Failed("dns", "the name has no address"), "e", 9, SCHEDULE)
    assert outcome == DeadLetter("e", 9, "exhausted", "dns: the name has no address")


def test_a_delivery_can_be_parked_for_any_reason() -> None:
    outcome = park_or_give_up("e", 1, SCHEDULE, "endpoint_broken", "its entry is wrong")
    assert outcome == Park("e", 1, "5s", "endpoint_broken", "its entry is wrong")


@pytest.mark.parametrize(
    ("attempts", "retry_after", "delay"),
    [
        (1, None, "5s"),
        (1, 0.0, "5s"),
        (1, 5.0, "5s"),
        (1, 5.5, "5m"),
        (1, 300.0, "5m"),
        (1, 301.0, "30m"),
        (1, 7200.0, "2h"),
        (1, 604_800.0, "2h"),
        (3, 1.0, "30m"),
        (4, 604_800.0, "2h"),
        (5, 1.0, None),
        (5, None, None),
    ],
)
def test_retry_after_chooses_the_shortest_delay_that_is_long_enough(
    attempts: int, retry_after: float | None, delay: str | None
) -> None:
    assert next_delay(SCHEDULE, attempts, retry_after) == delay


def test_the_answers_retry_after_counts() -> None:
    outcome = outcome_of(Answered(429, retry_after=60.0), "e", 1, SCHEDULE)
    assert outcome == Park("e", 1, "5m", "status", "status 429")


@given(
    delays=st.lists(st.sampled_from(["1s", "2s", "60s", "1m", "3h", "1d"]), min_size=1, max_size=8),
    attempts=st.integers(1, 10),
    retry_after=st.none() | st.floats(0, 700_000),
)
def test_a_wait_is_never_shorter_than_scheduled_and_asked_for_if_it_can_be(
    delays: list[str], attempts: int, retry_after: float | None
) -> None:
    schedule = DelaySchedule("webhook", tuple(delays))
    scheduled, chosen = schedule.after(attempts), next_delay(schedule, attempts, retry_after)
    assert (scheduled is None) == (chosen is None)
    if scheduled is not None and chosen is not None:
        seconds = schedule.seconds(chosen)
        longest = max(map(schedule.seconds, delays))
        assert seconds >= schedule.seconds(scheduled)
        assert seconds >= min(retry_after or 0.0, longest)


def parked(attempts: int = 0, postponed: int = 0) -> Record:
    place = Origin("webhook", 0, 1)
    return Record(*place, b"k", b"v", (), 1, place, "e", attempts, postponed=postponed)


@pytest.mark.parametrize(
    ("attempts", "postponed", "delay"),
    [(0, 0, "5s"), (0, 1, "5m"), (0, 2, "30m"), (0, 3, "2h"), (0, 40, "2h"), (3, 0, "30m")],
)
def test_what_is_postponed_waits_longer_from_time_to_time_and_no_attempt_is_charged(
    attempts: int, postponed: int, delay: str
) -> None:
    outcome = postpone("e", parked(attempts, postponed), SCHEDULE, "endpoint_busy", 0.0, 0.0)
    assert outcome == Park(
        "e", attempts, delay, "endpoint_busy", "no attempt was made", postponed + 1
    )


@pytest.mark.parametrize(
    ("seconds", "delay"), [(0.0, "5s"), (5.1, "5m"), (301.0, "30m"), (1e9, "10h")]
)
@pytest.mark.parametrize("chance", [0.0, 0.99])
def test_it_waits_as_long_as_it_makes_no_sense_to_ask_again(
    seconds: float, delay: str, chance: float
) -> None:
    schedule = DelaySchedule("webhook", ("5s", "5m", "30m", "2h", "10h"))
    outcome = postpone("e", parked(), schedule, "rate_limited", seconds, chance)
    assert isinstance(outcome, Park)
    assert outcome.delay == delay


@pytest.mark.parametrize(
    ("postponed", "seconds", "chance", "delay"),
    [
        (1, 0.0, 0.0, "5s"),
        (1, 0.0, 0.99, "5m"),
        (3, 0.0, 0.5, "30m"),
        (3, 5.1, 0.0, "5m"),
        (3, 301.0, 0.49, "30m"),
        (9, 0.0, 0.0, "5s"),
        (10, 0.0, 0.0, "2h"),
    ],
)
def test_what_waits_for_a_rate_limit_is_scattered_over_the_delays(
    postponed: int, seconds: float, chance: float, delay: str
) -> None:
    schedule = DelaySchedule("webhook", ("5s", "5m", "30m", "2h", "10h"))
    outcome = postpone("e", parked(0, postponed), schedule, "rate_limited", seconds, chance)
    assert isinstance(outcome, Park)
    assert outcome.delay == delay


def test_a_backlog_behind_a_rate_limit_is_worked_off_without_long_gaps() -> None:
    """3,000 that come within 3 s, and the endpoint takes one a second: 50 minutes at the least."""
    schedule = DelaySchedule("webhook", ("5s", "5m", "30m", "2h", "5h", "10h"))
    random, pace, ended = Random(1), Pace(), 0.0
    due = [(number / 1000, number, parked()) for number in range(3_000)]
    while due:
        now, number, record = heappop(due)
        if not (wait := pace.wait(1.0, now)):
            pace.take(1.0, now)
            ended = now
            continue
        outcome = postpone("e", record, schedule, "rate_limited", wait, random.random())
        assert isinstance(outcome, Park)
        later = now + spread(schedule.seconds(outcome.delay), random.random())
        heappush(due, (later, number, parked(0, outcome.postponed)))
    assert ended <= 9 * 3600


def test_what_was_postponed_too_often_is_given_up() -> None:
    outcome = postpone("e", parked(2, MOST_POSTPONED), SCHEDULE, "circuit_open", 0.0, 0.0)
    said = "postponed 50 times in a row, the last time as circuit_open"
    assert outcome == DeadLetter("e", 2, "exhausted", said)


def test_a_schedule_of_long_delays_alone_is_kept_to() -> None:
    outcome = postpone("e", parked(), DelaySchedule("w", ("10h", "3h")), "endpoint_busy", 0.0, 0.0)
    assert isinstance(outcome, Park)
    assert outcome.delay == "3h"


@pytest.mark.parametrize(
    ("attempts", "postponed", "delay"), [(1, 0, "5s"), (1, 1, "5m"), (3, 0, "5m"), (9, 0, "2h")]
)
def test_a_fault_of_ours_is_tried_again_and_charges_no_attempt(
    attempts: int, postponed: int, delay: str
) -> None:
    fault = Failed("internal", "no sockets", ours=True)
    outcome = outcome_of(fault, "e", attempts, SCHEDULE, postponed=postponed)
    said = "internal: no sockets"
    assert outcome == Park("e", attempts - 1, delay, "internal", said, postponed + 1)


def test_faults_of_ours_are_given_up_with_the_last_one_told() -> None:
    fault = Failed("internal", "no sockets", ours=True)
    outcome = outcome_of(fault, "e", 3, SCHEDULE, postponed=MOST_POSTPONED)
    said = "postponed 50 times in a row, the last time as internal: no sockets"
    assert outcome == DeadLetter("e", 2, "exhausted", said)


@given(st.integers(0, 10), st.integers(0, 200), st.floats(0, 1e6))
def test_postponing_ends(attempts: int, postponed: int, seconds: float) -> None:
    outcome = postpone("e", parked(attempts, postponed), SCHEDULE, "circuit_open", seconds, 0.0)
    if postponed >= MOST_POSTPONED:
        assert isinstance(outcome, DeadLetter)
    else:
        assert isinstance(outcome, Park)
        assert outcome.postponed == postponed + 1
        assert outcome.delay in SCHEDULE.delays
