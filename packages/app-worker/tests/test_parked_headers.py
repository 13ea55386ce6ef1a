"""What parking writes into headers, and what is read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted.stored import stored_message

from app_worker.handler import DeadLetter, Park
from app_worker.parked_headers import (
    MAX_DETAIL,
    NotParkedError,
    dead_letter_headers,
    fresh,
    parked_headers,
    unpark,
)
from app_worker.record import Origin, Record

text = st.text(st.characters(codec="utf-8"), max_size=30)
names = text.filter(lambda name: not name.startswith("worker-"))
headers = st.lists(st.tuples(names, st.none() | st.binary(max_size=10)), max_size=4).map(tuple)
counts = st.integers(0, 2**62)
records = st.builds(
    Record,
    topic=st.just("t"),
    partition=st.integers(0, 99),
    offset=counts,
    key=st.none() | st.binary(max_size=10),
    value=st.none() | st.binary(max_size=10),
    headers=headers,
    timestamp_ms=st.integers(-1, 2**62),
    origin=st.builds(
        Origin, st.from_regex(r"[a-zA-Z0-9._-]{1,20}", fullmatch=True), counts, counts
    ),
    enqueued=st.frozensets(text, max_size=3),
)
parks = st.builds(
    Park,
    delivery=st.none() | text,
    attempts=st.integers(0, 1_000),
    delay=st.just("5s"),
    reason=text,
    detail=text,
    postponed=st.integers(0, 1_000),
)


@given(records, parks, st.integers(0, 2**52), st.integers(1, 6))
def test_what_was_parked_comes_back(record: Record, park: Park, now_ms: int, seconds: int) -> None:
    written = parked_headers(record, park, now_ms, float(seconds))
    stored = {"key": record.key, "headers": tuple(written), "timestamp": now_ms}
    read = unpark(stored_message(record.value, **stored))
    assert read == Record(
        topic="t.retry.5s",
        partition=3,
        offset=9,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
        timestamp_ms=record.timestamp_ms,
        origin=record.origin,
        delivery=park.delivery,
        attempts=park.attempts,
        not_before_ms=now_ms + seconds * 1_000,
        postponed=park.postponed,
        enqueued=record.enqueued if park.delivery is None else frozenset(),
    )


def test_nobody_can_forge_a_parked_record() -> None:
    forged = stored_message(headers=(("worker-attempts", b"9"), ("mine", b"1"), ("worker-x", None)))
    record = fresh(forged)
    assert record.headers == (("mine", b"1"),)
    assert (record.attempts, record.delivery, record.not_before_ms) == (0, None, 0)
    assert record.origin == Origin("t.retry.5s", 3, 9)


GOOD = (
    ("worker-attempts", b"1"),
    ("worker-not-before", b"5"),
    ("worker-origin", b"t:0:1"),
    ("worker-origin-timestamp", b"7"),
)


@pytest.mark.parametrize("count", [b"-1", b"x"])
def test_a_count_of_postponements_that_cannot_be_read_is_named(count: bytes) -> None:
    with pytest.raises(NotParkedError, match="header worker-postponed cannot be read"):
        unpark(stored_message(headers=(*GOOD, ("worker-postponed", count))))


def test_the_smallest_set_of_headers_is_enough() -> None:
    assert unpark(stored_message(headers=GOOD)).origin == Origin("t", 0, 1)


@pytest.mark.parametrize("missing", range(4))
def test_a_missing_header_is_named(missing: int) -> None:
    left = GOOD[:missing] + GOOD[missing + 1 :]
    with pytest.raises(NotParkedError, match=f"header {GOOD[missing][0]} is missing"):
        unpark(stored_message(headers=left))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("worker-attempts", b"many"),
        ("worker-attempts", b"-1"),
        ("worker-attempts", None),
        ("worker-not-before", b"1.5"),
        ("worker-not-before", b"%d" % (2**53 + 1)),
        ("worker-origin", b"t:0"),
        ("worker-origin", b":0:1"),
        ("worker-origin", b"t:x:1"),
        ("worker-origin", b"t:0:-1"),
        ("worker-enqueued", b"a"),
        ("worker-enqueued", b'{"a": 1}'),
        ("worker-enqueued", b"[1]"),
        ("worker-enqueued", b"[" * 9_000),
        ("worker-origin-timestamp", b""),
        ("worker-origin-timestamp", b"9" * 5_000),
    ],
)
def test_a_header_that_cannot_be_read_is_named(name: str, value: bytes | None) -> None:
    changed = (*(header for header in GOOD if header[0] != name), (name, value))
    with pytest.raises(NotParkedError, match=f"header {name} cannot be read"):
        unpark(stored_message(headers=changed))


def test_a_header_that_is_not_text_is_named() -> None:
    with pytest.raises(NotParkedError, match="header worker-delivery is not UTF-8"):
        unpark(stored_message(headers=(*GOOD, ("worker-delivery", b"\xff"))))


def test_a_header_that_occurs_twice_is_named() -> None:
    with pytest.raises(NotParkedError, match="header worker-attempts occurs twice"):
        unpark(stored_message(headers=(*GOOD, GOOD[0])))


def test_a_dead_letter_says_why_and_when_and_whence() -> None:
    record = Record("t", 1, 2, b"k", b"v", (("mine", b"1"),), 7, Origin("t", 1, 2))
    dead = DeadLetter("endpoint-1", 3, "gone", "410")
    assert dict(dead_letter_headers(record, dead, 99)) == {
        "mine": b"1",
        "worker-attempts": b"3",
        "worker-origin": b"t:1:2",
        "worker-origin-timestamp": b"7",
        "worker-reason": b"gone",
        "worker-delivery": b"endpoint-1",
        "worker-detail": b"410",
        "worker-dead-at": b"99",
    }


def test_a_long_detail_is_cut() -> None:
    record = Record("t", 1, 2, b"k", b"v", (), 7, Origin("t", 1, 2))
    written = dict(dead_letter_headers(record, DeadLetter(None, 1, "gone", "x" * 9_999), 0))
    assert written["worker-detail"] == b"x" * MAX_DETAIL


@pytest.mark.parametrize(
    ("topic", "latest"),
    [("t.retry.5s", 7_000), ("t.retry.1h", 4_321_000), ("elsewhere", 2_592_001_000)],
)
def test_no_record_waits_much_longer_than_the_delay_of_its_topic(topic: str, latest: int) -> None:
    headers = {**dict(GOOD), "worker-not-before": b"%d" % 2**53}
    read = unpark(stored_message(topic=topic, headers=tuple(headers.items()), timestamp=1_000))
    assert read.not_before_ms == latest
