"""When a member speaks next, and when its silence has lasted too long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_utils.coordinator.deadlines import (
    FIRST_BACKOFF_SECONDS,
    LONGEST_BACKOFF_SECONDS,
    Pulse,
    backoff,
    join_timeout,
)

PULSE = Pulse(interval=3.0, session=10.0, near=30.0)

seconds = st.floats(min_value=0, max_value=1_000)
pulses = st.builds(
    Pulse,
    interval=st.floats(min_value=0.001, max_value=100),
    session=st.floats(min_value=0.001, max_value=1_000),
    near=seconds,
)


@pytest.mark.parametrize(
    ("beats", "pause"), [(0, 0.1), (1, 0.2), (2, 0.4), (3, 0.8), (4, 0.8), (100, 0.8)]
)
def test_pauses_double_at_first_while_another_round_is_near(beats: int, pause: float) -> None:
    assert PULSE.pause(beats, 1.0, another_round=True) == pause


@pytest.mark.parametrize(
    ("since_plan", "another_round"), [(0.0, False), (1.0, False), (30.1, True), (1_000.0, True)]
)
def test_pauses_are_the_interval_otherwise(since_plan: float, another_round: bool) -> None:
    assert PULSE.pause(0, since_plan, another_round=another_round) == PULSE.interval


@given(pulses, st.integers(min_value=0, max_value=100), seconds, st.booleans())
def test_a_pause_is_never_longer_than_the_interval(
    pulse: Pulse, beats: int, since_plan: float, another_round: bool
) -> None:
    assert 0 < pulse.pause(beats, since_plan, another_round=another_round) <= pulse.interval


@given(st.integers(min_value=0, max_value=10))
def test_learning_of_the_next_round_takes_little_longer_than_the_round_took_to_come(
    beats: int,
) -> None:
    so_far = sum(PULSE.pause(beat, 0.0, another_round=True) for beat in range(beats))

    assert PULSE.pause(beats, so_far, another_round=True) <= so_far + 0.1 + 1e-9


@pytest.mark.parametrize(
    ("last_word", "last_look", "now", "slept"),
    [
        (0.0, 3.0, 6.0, False),
        (0.0, 5.0, 10.5, False),  # Longer than the session, but this process has looked.
        (2.0, 3.0, 11.5, False),  # It has not looked, but the session is not over.
        (0.0, 1.0, 10.5, True),
        (0.0, 10.0, 11.0, False),  # A silent coordinator, but this process runs.
        (0.0, 1_000.0, 1_003.0, False),
        (99.0, 0.0, 100.0, False),  # The coordinator was heard of meanwhile.
        (0.0, 0.0, 1_000.0, True),
    ],
)
def test_who_did_not_run_for_a_session_has_slept_through(
    last_word: float, last_look: float, now: float, slept: bool
) -> None:
    assert PULSE.slept_through(last_word, last_look, now) is slept


@given(pulses, seconds, st.floats(min_value=0, max_value=1))
def test_who_looks_once_an_interval_has_never_slept(
    pulse: Pulse, last_look: float, part: float
) -> None:
    assert not pulse.slept_through(0.0, last_look, last_look + part * pulse.interval)


@pytest.mark.parametrize(
    ("failures", "pause"),
    [(1, 0.1), (2, 0.2), (3, 0.4), (6, 3.2), (7, 5.0), (8, 5.0), (10_000, 5.0)],
)
def test_a_backoff_doubles_up_to_a_limit(failures: int, pause: float) -> None:
    assert backoff(failures, 0.0) == pytest.approx(pause)


@given(st.integers(min_value=1, max_value=10**9), st.floats(min_value=0, max_value=1))
def test_jitter_adds_up_to_a_fifth(failures: int, jitter: float) -> None:
    least = backoff(failures, 0.0)

    assert least <= backoff(failures, jitter) <= least * 1.2 + 1e-9
    assert FIRST_BACKOFF_SECONDS <= least <= LONGEST_BACKOFF_SECONDS


@pytest.mark.parametrize(
    ("request_seconds", "rebalance", "timeout"),
    [(30.0, 60.0, 65.0), (30.0, 20.0, 30.0), (30.0, 25.0, 30.0), (120.0, 60.0, 120.0)],
)
def test_a_join_may_take_longer_than_the_coordinator_waits_for_all(
    request_seconds: float, rebalance: float, timeout: float
) -> None:
    assert join_timeout(request_seconds, rebalance) == timeout


@given(seconds, seconds)
def test_a_join_is_never_given_up_before_the_coordinator_answers(
    request_seconds: float, rebalance: float
) -> None:
    assert join_timeout(request_seconds, rebalance) >= rebalance + 5
