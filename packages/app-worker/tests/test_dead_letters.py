"""What a dead letter says, and what becomes of it when it is sent on its way again."""

from typing import Any

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st
from scripted.stored import stored_message

from app_worker.dead_letters import StoredLetter, read_letter, replayed_headers
from app_worker.handler import DeadLetter
from app_worker.parked_headers import (
    NotParkedError,
    dead_letter_headers,
    unpark,
)
from app_worker.record import Origin, Record

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.integers(0, 2**40)
own = st.lists(
    st.tuples(text.filter(lambda name: not name.startswith("worker-")), st.binary(max_size=9)),
    max_size=3,
)
records = st.builds(
    Record,
    topic=st.just("t"),
    partition=counts,
    offset=counts,
    key=st.none() | st.binary(max_size=9),
    value=st.binary(max_size=9),
    headers=own,
    timestamp_ms=counts,
    origin=st.builds(
        Origin, st.from_regex(r"[a-zA-Z0-9._-]{1,20}", fullmatch=True), counts, counts
    ),
)
dead_letters = st.builds(
    DeadLetter, delivery=st.none() | text, attempts=st.integers(0, 99), reason=text, detail=text
)


def message(value: bytes | None, headers: Any, **fields: Any) -> ConsumerRecord[bytes, bytes]:
    return stored_message(value, headers=tuple(headers), **({"topic": "t.dead"} | fields))


@given(records, dead_letters, counts)
def test_a_letter_is_read_as_it_was_written(record: Record, dead: DeadLetter, at: int) -> None:
    written = dead_letter_headers(record, dead, at)
    letter = read_letter(message(record.value, written, key=record.key))
    assert letter == StoredLetter(
        record=record._replace(
            topic="t.dead",
            partition=3,
            offset=9,
            headers=tuple(record.headers),
            delivery=dead.delivery,
            attempts=dead.attempts,
            postponed=0,
            not_before_ms=0,
            queued_ms=0,
            enqueued=record.enqueued if dead.delivery is None else frozenset(),
        ),
        reason=dead.reason,
        detail=dead.detail,
        dead_at_ms=at,
        has_value=True,
    )
    assert letter.place == "3:9"
    assert letter.identity == f"3:9@{at}"


@given(records, dead_letters, counts)
def test_what_is_replayed_comes_back_at_once_and_as_if_untried(
    record: Record, dead: DeadLetter, at: int
) -> None:
    letter = read_letter(message(record.value, dead_letter_headers(record, dead, 7)))
    stored = message(
        record.value, replayed_headers(letter, "5s", at), topic="t.retry.5s", timestamp=at
    )
    back = unpark(stored)
    assert (back.attempts, back.postponed, back.not_before_ms) == (0, 0, at)
    assert (back.delivery, back.origin) == (dead.delivery, record.origin)
    assert (back.timestamp_ms, back.headers) == (record.timestamp_ms, tuple(record.headers))


@pytest.mark.parametrize(
    ("value", "length", "has_value", "read"),
    [(b"", b"400", False, b""), (b"", b"-1", True, None), (b"v", None, True, b"v")],
)
def test_a_value_that_did_not_travel_is_told_from_one_that_is_null(
    value: bytes, length: bytes | None, has_value: bool, read: bytes | None
) -> None:
    record = Record("t", 0, 1, b"k", b"v", (), 1, Origin("t", 0, 1))
    headers = dead_letter_headers(record, DeadLetter("e", 1, "x"), 7)
    if length is not None:
        headers.append(("worker-value-bytes", length))
    letter = read_letter(message(value, headers))
    assert (letter.has_value, letter.record.value) == (has_value, read)


@pytest.mark.parametrize("missing", ["worker-reason", "worker-dead-at", "worker-origin"])
def test_what_parking_has_not_written_is_no_letter(missing: str) -> None:
    record = Record("t", 0, 1, b"k", b"v", (), 1, Origin("t", 0, 1))
    headers = dead_letter_headers(record, DeadLetter("e", 1, "x"), 7)
    with pytest.raises(NotParkedError, match=f"header {missing} is missing"):
        read_letter(message(b"v", [each for each in headers if each[0] != missing]))


def test_a_time_that_is_none_is_no_letter() -> None:
    record = Record("t", 0, 1, b"k", b"v", (), 1, Origin("t", 0, 1))
    headers = dict(dead_letter_headers(record, DeadLetter("e", 1, "x"), 7))
    with pytest.raises(NotParkedError, match="header worker-dead-at cannot be read"):
        read_letter(message(b"v", (headers | {"worker-dead-at": b"-7"}).items()))


def test_a_letter_shows_no_payload() -> None:
    record = Record("t", 0, 1, b"k", b"secret", (), 1, Origin("t", 0, 1))
    letter = read_letter(
        message(b"secret", dead_letter_headers(record, DeadLetter("e", 1, "x"), 7))
    )
    assert repr(letter) == "StoredLetter(3:9, 'x')"
