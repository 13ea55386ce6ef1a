"""How many attempts an endpoint may have, how long a circuit is open, how fast is too fast."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook_worker.isolation.breaker import LONGEST_OPEN_SECONDS, Breaker
from webhook_worker.isolation.cap import Cap
from webhook_worker.isolation.clock import processor_waits
from webhook_worker.isolation.pace import BURST_SECONDS, Pace

WAITS = Path("/proc/thread-self/schedstat")

verdicts = st.lists(st.booleans(), max_size=200)


def one_round(cap: Cap, now: float) -> None:
    """As many attempts as are allowed begin together, and are answered together."""
    in_flight = cap.allowed
    for number in range(in_flight):
        cap.begun(number + 1)
    for left in reversed(range(in_flight)):
        cap.answered(now, left, now + 0.5)


def full(cap: Cap) -> Cap:
    for now in range(-20, -1):
        one_round(cap, now)
    return cap


def rounds_until(most: int) -> int:
    """Rounds of as many attempts as are allowed, all answered, until ``most`` are."""
    cap, rounds = Cap(most), 0
    while cap.allowed < most:
        rounds += 1
        one_round(cap, rounds)
    return rounds


def test_an_endpoint_that_answers_has_as_many_as_it_may_after_a_few_rounds() -> None:
    assert rounds_until(100) <= 6


@given(verdicts, st.integers(1, 50))
def test_a_cap_stays_within_its_bounds(answered: list[bool], most: int) -> None:
    cap = Cap(most)
    for now, good in enumerate(answered):
        if good:
            one_round(cap, now)
        else:
            cap.failed(now, now)
        assert 1 <= cap.allowed <= most


def test_a_cap_that_was_not_used_up_does_not_grow() -> None:
    cap = Cap(100)
    for now in range(1_000):
        cap.begun(1)
        cap.answered(now, 0, now + 0.5)
    assert cap.allowed == 2


def test_what_was_in_flight_together_and_failed_halves_the_cap_once() -> None:
    cap = full(Cap(64))
    for _ in range(64):
        cap.failed(began=0.0, now=15.0)
    assert cap.allowed == 32
    cap.failed(began=15.0, now=30.0)
    assert cap.allowed == 16


def test_after_a_failure_a_cap_grows_slowly_beyond_half_of_what_it_was() -> None:
    cap = full(Cap(64))
    cap.failed(0.0, 1.0)
    grown = []
    for now in range(2, 12):
        one_round(cap, now)
        grown.append(cap.allowed)
    assert grown[0] in (32, 33)
    assert 36 <= grown[-1] <= 43


def test_a_cap_that_is_bounded_anew_keeps_to_it_at_once() -> None:
    cap = full(Cap(64))
    cap.bound(3)
    assert cap.allowed == 3


def test_three_failures_in_a_row_open_the_circuit_and_an_answer_closes_it() -> None:
    breaker = Breaker()
    assert [breaker.failed(now, now, 0.0) for now in (1.0, 2.0)] == [False, False]
    assert not breaker.answered()
    assert [breaker.failed(now, now, 0.0) for now in (3.0, 4.0, 5.0)] == [False, False, True]
    assert breaker.seconds_open(5.0) == 5.0
    assert breaker.seconds_open(10.0) == 0.0
    assert not breaker.is_closed
    assert breaker.answered()
    assert (breaker.is_closed, breaker.is_spotless) == (True, True)


def test_each_probe_that_fails_leaves_it_open_for_twice_as_long_up_to_a_limit() -> None:
    breaker, now, opens = Breaker(), 0.0, []
    for _ in range(12):
        now += breaker.seconds_open(now)
        if breaker.failed(now, now, 0.0):
            opens.append(breaker.seconds_open(now))
    assert opens[:4] == [5.0, 10.0, 20.0, 40.0]
    assert max(opens) == opens[-1] == LONGEST_OPEN_SECONDS


def test_what_began_before_the_circuit_opened_opens_it_no_longer() -> None:
    breaker = Breaker()
    for _ in range(3):
        breaker.failed(0.0, 15.0, 0.0)
    assert [breaker.failed(1.0, 16.0, 0.0) for _ in range(20)] == [False] * 20
    assert breaker.seconds_open(16.0) == 4.0


@given(st.floats(0, 1))
def test_circuits_that_opened_together_do_not_close_together(jitter: float) -> None:
    breaker = Breaker()
    for _ in range(3):
        breaker.failed(0.0, 0.0, jitter)
    assert breaker.seconds_open(0.0) == pytest.approx(5.0 + jitter)


@given(
    st.floats(0.01, 200.0),
    st.lists(st.floats(0, 3.0), min_size=1, max_size=200),
)
def test_no_more_are_let_through_than_the_rate_and_one_burst(
    rate: float, pauses: list[float]
) -> None:
    pace, now, taken = Pace(), 0.0, 0
    for pause in pauses:
        now += pause
        if not pace.wait(rate, now):
            pace.take(rate, now)
            taken += 1
    assert taken <= now * rate + max(1.0, BURST_SECONDS * rate) + 1e-6


@given(st.floats(0.01, 200.0))
def test_who_waits_as_long_as_it_is_told_is_let_through(rate: float) -> None:
    pace, now = Pace(), 0.0
    for _ in range(50):
        now += pace.wait(rate, now)
        assert pace.wait(rate, now) <= 1e-9
        pace.take(rate, now)
    assert now >= (50 - max(1.0, BURST_SECONDS * rate) - 1) / rate
    assert not pace.is_idle(now)
    assert pace.is_idle(now + 60 / rate)


@pytest.mark.skipif(not WAITS.exists(), reason="the system does not count it")
def test_a_thread_that_shares_a_processor_knows_how_long_it_waited_for_it() -> None:
    allowed = os.sched_getaffinity(0)
    waited = processor_waits()
    before, give_up = waited(), time.monotonic() + 30
    os.sched_setaffinity(0, {min(allowed)})
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        while waited() == before:
            assert time.monotonic() < give_up
    finally:
        other.kill()
        other.wait()
        os.sched_setaffinity(0, allowed)


def test_where_the_system_does_not_count_it_nothing_was_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(os, "open", refuse)
    assert processor_waits()() == 0.0
