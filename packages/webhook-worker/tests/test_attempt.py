"""Retry-After in all its forms; anything else is ignored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook_worker.attempt import MAX_RETRY_AFTER_SECONDS, Answered, parse_retry_after

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("120", 120.0),
        (" 120\t", 120.0),
        ("000120", 120.0),
        ("604800", 604_800.0),
        ("604801", 604_800.0),
        ("9" * 64, 604_800.0),
        ("9" * 65, None),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("1e3", None),
        ("0x10", None),
        ("1_0", None),
        ("١٢", None),
        ("5 minutes", None),
        ("soon", None),
        ("120, 60", None),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("Sun, 06 Nov 1994 08:49:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 604_800.0),
        ("Sun, 32 Nov 1994 08:50:37 GMT", None),
        ("Sun, 06 Nov 1994 25:50:37 GMT", None),
        ("Sun, 06 Nov 1994", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@given(
    st.text(max_size=80)
    | st.text("0123456789 :,-+GMTSunNovJa", max_size=40)
    | st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT"))
)
def test_any_text_gives_a_bounded_wait_or_none(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or 0.0 <= seconds <= MAX_RETRY_AFTER_SECONDS


def test_repr_of_an_answer_shows_no_body() -> None:
    assert "payload" not in repr(Answered(500, None, b"payload"))
