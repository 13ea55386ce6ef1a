"""Which dead letters are meant, and which can be delivered again."""

from dataclasses import replace

import pytest

from app_worker.dead_letters import StoredLetter
from app_worker.record import Origin, Record
from webhook_worker.dead_letters.selection import Selection, event_id_of, obstacle

ORIGIN = Origin("webhook", 0, 1)


def letter(
    delivery: str | None = "e1",
    reason: str = "exhausted",
    value: bytes | None = b'{"id": "evt_1"}',
    *,
    has_value: bool = True,
    dead_at_ms: int = 1_000,
) -> StoredLetter:
    return StoredLetter(
        record=Record("dead", 2, 7, b"k", value, (), 1, ORIGIN, delivery, 9),
        reason=reason,
        detail="",
        dead_at_ms=dead_at_ms,
        has_value=has_value,
    )


@pytest.mark.parametrize(
    ("selection", "is_meant"),
    [
        (Selection(), True),
        (Selection(endpoint="e1"), True),
        (Selection(endpoint="e2"), False),
        (Selection(reasons=frozenset({"gone", "exhausted"})), True),
        (Selection(reasons=frozenset({"gone"})), False),
        (Selection(since_ms=1_000, until_ms=1_001), True),
        (Selection(since_ms=1_001), False),
        (Selection(until_ms=1_000), False),
        (Selection(endpoint="e1", reasons=frozenset({"gone"})), False),
        (Selection(endpoint="e1", without=frozenset({"2:7"})), False),
        (Selection(endpoint="e1", without=frozenset({"2:8"})), True),
    ],
)
def test_a_letter_is_meant_if_no_filter_leaves_it_out(selection: Selection, is_meant: bool) -> None:
    assert selection.has(letter()) is is_meant
    assert selection.is_everything is (selection == Selection())


def test_to_leave_out_single_letters_does_not_say_which_are_meant() -> None:
    assert Selection(without=frozenset({"2:7"})).is_everything


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (letter(), None),
        (letter(reason="gone"), None),
        (letter(reason="endpoint_disabled"), None),
        (letter(has_value=False), "too large to be parked"),
        (letter(reason="too_large"), "too large to be parked"),
        (letter(value=None), "no event"),
        (letter(None, "not_json"), "no event"),
        (letter(None, "bad_id"), "no event"),
        (letter(None, "endpoint_invalid"), "about no single delivery"),
        (letter(None, "bad_parked_record"), "about no single delivery"),
        (letter(None, "handler_error"), None),
        (letter(None, "unknown_customer"), None),
    ],
)
def test_what_can_be_delivered_again(given: StoredLetter, why: str | None) -> None:
    assert obstacle(given) == why


@pytest.mark.parametrize(
    ("value", "event_id"),
    [
        (b'{"id": "evt_1"}', "evt_1"),
        (b'{"id": 1}', ""),
        (b"[]", ""),
        (b"no json", ""),
        (b"\xff", ""),
        (b"[" * 100_000, ""),
        (None, ""),
    ],
)
def test_the_events_id_is_shown_where_there_is_one(value: bytes | None, event_id: str) -> None:
    assert event_id_of(replace(letter(), record=letter().record._replace(value=value))) == event_id
