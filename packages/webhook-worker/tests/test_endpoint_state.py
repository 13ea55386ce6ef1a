"""What is known of endpoints beside their configuration, and what changes it."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook_worker.announcement import endpoint_failing, endpoint_recovered
from webhook_worker.endpoint import Endpoint
from webhook_worker.endpoint_state.judgement import (
    Patience,
    Streak,
    after_failure,
    is_refuted,
    prolonged,
)
from webhook_worker.endpoint_state.state import (
    Disabled,
    EndpointState,
    Failing,
    NotStateError,
    read,
    written,
)
from webhook_worker.endpoint_state.table import StateTable, word_for
from webhook_worker.settings import load_all
from webhook_worker.url import parse_url

HOUR = 3_600_000
DAY = 24 * HOUR
PATIENCE = Patience(HOUR, 5 * DAY, 2 * DAY)

moments = st.integers(0, 200_000_000_000_000)
states = st.one_of(
    st.builds(Failing, moments, moments, st.booleans()),
    st.builds(
        Disabled,
        moments,
        st.sampled_from(["gone", "failing", "operator"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    ),
)


@given(states)
def test_what_is_written_is_read_again(state: EndpointState) -> None:
    assert read(written(state)) == state


@given(st.binary(max_size=60))
def test_whatever_is_in_the_topic_is_a_state_or_is_said_to_be_none(value: bytes) -> None:
    with suppress(NotStateError):
        assert isinstance(read(value), Failing | Disabled)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"{", "it is not JSON"),
        (b"[]", "it is no object"),
        (b"{}", "its state is none of suspected, failing, disabled"),
        (b'{"state":"disabled","since_ms":1,"reason":"mood"}', "its reason is none of gone"),
        (b'{"state":"failing","since_ms":true,"last_ms":1}', "its since_ms is no time"),
        (b'{"state":"failing","since_ms":1,"last_ms":-1}', "its last_ms is no time"),
        (b'{"state":"failing","since_ms":1800000000000000,"last_ms":1}', "its since_ms is no time"),
    ],
)
def test_what_is_no_state_is_told_in_a_sentence(value: bytes, why: str) -> None:
    with pytest.raises(NotStateError, match=why):
        read(value)


@given(st.integers(0, 2**53))
def test_whatever_time_a_state_can_have_can_be_announced(since_ms: int) -> None:
    where = Endpoint(id="e", customer_id="acme", url=parse_url("https://a.test/"), secrets=())
    with suppress(NotStateError):
        state = read(b'{"state":"failing","since_ms":%d,"last_ms":1}' % since_ms)
        assert endpoint_recovered(where, state.since_ms, 1).value()
        assert endpoint_failing(where, state.since_ms, state.since_ms + 366 * DAY, 1).value()


def test_a_state_that_cannot_be_read_says_nothing_and_what_stood_before_is_over() -> None:
    table = StateTable()
    table.put("a", written(Disabled(1, "gone")))
    assert table.counts == {"suspected": 0, "failing": 0, "disabled": 1}
    table.put("a", b"{")
    assert table.counts == {"suspected": 0, "failing": 0, "disabled": 0}


def test_whoever_hears_that_others_saw_it_succeed_begins_to_count_anew() -> None:
    cleared: list[str] = []
    table = StateTable(cleared.append)
    table.put("a", written(Failing(1, 2, announced=False)))
    table.delete("a")
    assert (table.states, cleared) == ({}, ["a"])


@given(st.lists(st.integers(0, 3 * DAY), min_size=1, max_size=60))
def test_a_row_of_failures_leads_from_nothing_to_suspicion_to_failing_to_disabled(
    pauses: list[int],
) -> None:
    now = 10**12
    state: EndpointState | None = None
    streak: Streak | None = None
    seen: list[EndpointState] = []
    for pause in pauses:
        now += pause
        streak = prolonged(streak, now, PATIENCE)
        changed = after_failure(state, streak, PATIENCE, "status 500")
        if changed is None:
            continue
        if isinstance(changed, Disabled):
            # Announced before, and never while a pause has left open what was meanwhile.
            assert isinstance(state, Failing)
            assert state.announced
            assert now - state.since_ms >= 5 * DAY
        elif changed.announced:
            assert isinstance(state, Failing)
            assert now - changed.since_ms >= HOUR / 2
        seen.append(changed)
        state = changed
    assert not seen or isinstance(seen[0], Failing)
    assert sum(isinstance(each, Disabled) for each in seen) <= 1


def test_a_pause_ends_a_row_of_failures() -> None:
    old = Failing(0, HOUR, announced=True)
    streak = Streak(3 * DAY, 3 * DAY)
    assert after_failure(old, streak, PATIENCE, "timeout") is None
    later = Streak(3 * DAY, 3 * DAY + HOUR)
    assert after_failure(old, later, PATIENCE, "timeout") == Failing(
        3 * DAY, 3 * DAY + HOUR, announced=False
    )


def test_while_it_goes_on_it_is_written_anew_a_few_times_a_day() -> None:
    state: EndpointState = Failing(0, 0, announced=True)
    written_anew = 0
    for minutes in range(0, 24 * 60, 5):
        changed = after_failure(state, Streak(0, minutes * 60_000), PATIENCE, "timeout")
        if changed is not None:
            state, written_anew = changed, written_anew + 1
    assert 2 <= written_anew <= 4


def test_without_a_limit_nothing_is_disabled() -> None:
    patience = Patience(HOUR, None, 2 * DAY)
    state = Failing(0, 364 * DAY, announced=True)
    assert after_failure(state, Streak(0, 365 * DAY), patience, "timeout") == Failing(
        0, 365 * DAY, announced=True
    )


def test_a_success_refutes_failing_but_neither_410_nor_an_operator() -> None:
    assert is_refuted(Failing(1, 2, announced=False))
    assert is_refuted(Disabled(1, "failing"))
    assert not is_refuted(Disabled(1, "gone"))
    assert not is_refuted(Disabled(1, "operator"))


@pytest.mark.parametrize("failing_after_days", [1, 2, 4, 30])
def test_however_long_an_endpoint_may_fail_it_is_announced_and_disabled_in_the_end(
    failing_after_days: int,
) -> None:
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "WEBHOOK_RETRY_SCHEDULE": "5m, 1h",
        "WEBHOOK_FAILING_AFTER_SECONDS": str(failing_after_days * 86_400),
        "WEBHOOK_DISABLE_AFTER_SECONDS": str((failing_after_days + 1) * 86_400),
    }
    patience = load_all(environ, need_endpoints=False).webhook.patience
    state: EndpointState | None = None
    words = ["unknown"]
    for minutes in range(0, (failing_after_days + 3) * 24 * 60, 10):
        now = minutes * 60_000
        changed = after_failure(state, Streak(0, now), patience, "timeout")
        state = changed or state
        word = "unknown" if state is None else word_for(state)
        if word != words[-1]:
            words.append(word)
    assert words == ["unknown", "suspected", "failing", "disabled"]
