"""What a record must hold to be an event, and that its data goes out byte for byte."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook_worker import event as event_module
from webhook_worker.errors import BadEventError
from webhook_worker.event import body, parse_event

LIMIT = 1_000_000
GOOD: dict[str, Any] = {
    "id": "evt_1",
    "type": "invoice.paid",
    "customer_id": "acme",
    "timestamp": "2026-01-02T03:04:05.678Z",
    "data": {"amount": 1},
}


def encoded(**changes: Any) -> bytes:
    members = {**GOOD, **changes}
    return json.dumps({name: value for name, value in members.items() if value is not ...}).encode()


def reason_for(value: bytes | None, limit: int = LIMIT) -> str:
    with pytest.raises(BadEventError) as caught:
        parse_event(value, limit)
    return caught.value.reason


def detail_for(value: bytes) -> str:
    with pytest.raises(BadEventError) as caught:
        parse_event(value, LIMIT)
    return caught.value.detail


def test_a_good_record_becomes_an_event() -> None:
    event = parse_event(encoded(), LIMIT)
    assert (event.id, event.type, event.customer_id) == ("evt_1", "invoice.paid", "acme")
    assert event.timestamp == "2026-01-02T03:04:05.678Z"
    assert body(event) == (
        b'{"type":"invoice.paid","timestamp":"2026-01-02T03:04:05.678Z","data":{"amount": 1}}'
    )


@pytest.mark.parametrize(
    "data",
    [
        "null",
        '""',
        "[ 1 ,\n\t2 ]",
        "1.0",
        "-0",
        "1e400",
        "1" * 10_000,
        "12345678901234567890.12345678901234567890",
        '{"a":1,"a":2}',
        r'"\u00e9 \ud83d\ude00 \ud800 \/"',
        '"é 東京 😀"',
        '{"z":1,"a":{"b":[{}]}}',
    ],
)
def test_data_goes_out_as_it_came(data: str) -> None:
    value = (
        f'\n {{ "data" : {data}\r\n, "id":"e","type":"t","customer_id":"c",'
        '"timestamp":"2026-01-01T00:00:00Z"}\t'
    )
    event = parse_event(value.encode(), LIMIT)
    assert event.data == data.encode()
    assert body(event).endswith(b',"data":' + data.encode() + b"}")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
    max_leaves=20,
)


@given(
    data=_json,
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]),
    ascii_only=st.booleans(),
)
def test_any_json_data_goes_out_byte_for_byte(
    data: object, separators: tuple[str, str], ascii_only: bool
) -> None:
    written = json.dumps(data, separators=separators, ensure_ascii=ascii_only).replace("inf", "9")
    written = written.replace("Infinity", "9")
    try:
        raw = written.encode()
    except UnicodeEncodeError:  # a lone surrogate can only be written as an escape
        raw = json.dumps(data).encode()
    value = encoded(data=...)[:-1] + b', "data" : ' + raw + b"}"
    event = parse_event(value, LIMIT)
    assert event.data == raw
    assert json.loads(body(event))["type"] == GOOD["type"]


def test_type_and_timestamp_keep_their_spelling() -> None:
    value = (
        rb'{"id":"e","type":"caf\u00e9","customer_id":"c",'
        rb'"timestamp":"2026-01-01T00:00:00\u005a","data":1}'
    )
    event = parse_event(value, LIMIT)
    assert (event.type, event.timestamp) == ("café", "2026-01-01T00:00:00Z")
    sent = rb'{"type":"caf\u00e9","timestamp":"2026-01-01T00:00:00\u005a","data":1}'
    assert body(event) == sent


PLAIN = ['"id":"e"', '"type":"t"', '"customer_id":"c"', '"timestamp":"2026-01-01T00:00:00Z"']
PIECES = [
    *PLAIN,
    *('"timestamp":"2026-02-30T00:00:00Z"', '"timestamp":"2026-01-01"', '"id":"e.1"', '"id":1'),
    *('"type" :\t"caf\u00e9"', r'"type":"caf\u00e9"', '"customer_id" : "\x7f"', '"id":""', ""),
    *('"x":"y"', '"data":{"a":[1]}', '"data": NaN', '"data"', '"type":"' + 257 * "t" + '"'),
]


def _read(text: str) -> object:
    try:
        return parse_event(text.encode(), LIMIT)
    except BadEventError as error:
        return error.reason, error.detail


def test_what_is_read_in_one_match_is_what_is_read_member_by_member(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    members = [
        [*PLAIN[:at], piece, *PLAIN[at + instead :], last]
        for at in range(5)
        for instead in (0, 1)
        for piece in PIECES
        for last in ('"data":"d"', '"data" : [{"a":1e5}]', '"data":01', '"id":"e"')
    ]
    texts = [
        before + separator.join(each) + after
        for each in members
        for before, separator, after in (("{", ",", "}"), (" {\n", " , ", "\t} "), ("{", ",", "}x"))
    ]
    found = [*map(_read, texts)]
    monkeypatch.setattr(event_module, "_PLAIN_HEAD", re.compile("(?!)"))
    assert found == [*map(_read, texts)]


def test_an_event_as_most_are_written_is_read_in_one_match(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_module, "_parse", None)
    assert parse_event(encoded(), LIMIT).data == b'{"amount": 1}'
    assert (
        parse_event(encoded().replace(b"acme", "caf\u00e9".encode()), LIMIT).customer_id
        == "caf\u00e9"
    )


@given(
    year=st.integers(0, 9999) | st.sampled_from([1900, 2000, 2024]),
    month=st.integers(0, 13),
    day=st.integers(0, 32),
    clock=st.sampled_from(["00:00:00", "23:59:59", "23:59:60", "24:00:00", "12:60:00"]),
    fraction=st.sampled_from(["", ".5", ".1234567890"]),
    zone=st.sampled_from(["Z", "z", "+00:00", "-23:59", "+24:00", "+01:60", ""]),
)
def test_a_moment_is_one_or_none_in_one_match_as_by_itself(
    year: int, month: int, day: int, clock: str, fraction: str, zone: str
) -> None:
    timestamp = f"{year:04}-{month:02}-{day:02}T{clock}{fraction}{zone}"
    plain = encoded(timestamp=timestamp)
    otherwise = plain.replace(b'"id"', rb'"\u0069d"')
    assert otherwise != plain
    try:
        expected = parse_event(otherwise, LIMIT)
    except BadEventError:
        assert reason_for(plain) == "bad_shape"
    else:
        assert parse_event(plain, LIMIT) == expected


def test_names_are_read_through_their_escapes() -> None:
    value = encoded().replace(b'"id"', rb'"\u0069d"')
    assert parse_event(value, LIMIT).id == "evt_1"


def test_other_members_are_left_out() -> None:
    event = parse_event(encoded(source="billing", version=[1]), LIMIT)
    assert b"billing" not in body(event)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "tombstone"),
        (b"", "not_json"),
        (b"   ", "not_json"),
        (b"\xff\xfe", "not_utf8"),
        (encoded()[:-1] + b',"x":"\xed\xa0\x80"}', "not_utf8"),
        (encoded()[:-1] + b',"x":"\xc0\xaf"}', "not_utf8"),
        (encoded().decode().encode("utf-16"), "not_utf8"),
        (b"\xef\xbb\xbf" + encoded(), "not_json"),
        (b"hello", "not_json"),
        (b"{", "not_json"),
        (b'{"id"', "not_json"),
        (b'{"id":', "not_json"),
        (b"{id:1}", "not_json"),
        (b"{'id':1}", "not_json"),
        (encoded()[:-1], "not_json"),
        (encoded()[:-1] + b",}", "not_json"),
        (encoded() + b"x", "not_json"),
        (encoded() + encoded(), "not_json"),
        (encoded(data=float("nan")), "not_json"),
        (encoded(data=[float("inf")]), "not_json"),
        (encoded(data=float("-inf")), "not_json"),
        (encoded(data="x").replace(b'"x"', b'"a\nb"'), "not_json"),
        (encoded(data="x").replace(b'"x"', b"01"), "not_json"),
        (encoded(data="x").replace(b'"x"', b"[" * 100_000 + b"]" * 100_000), "not_json"),
        (b"[" * 500_000, "not_json"),
        (b"[]", "bad_shape"),
        (b"1", "bad_shape"),
        (b"null", "bad_shape"),
        (b'"text"', "bad_shape"),
        (b"{}", "bad_shape"),
        (encoded(id=...), "bad_id"),
        (encoded(id=7, type=...), "bad_shape"),
        (encoded(id=..., data=...), "bad_shape"),
        (encoded(id=True), "bad_id"),
        (encoded(type=...), "bad_shape"),
        (encoded(customer_id=...), "bad_shape"),
        (encoded(timestamp=...), "bad_shape"),
        (encoded(data=...), "bad_shape"),
        (encoded(type=""), "bad_shape"),
        (encoded(type=1), "bad_shape"),
        (encoded(type=None), "bad_shape"),
        (encoded(type="a\nb"), "bad_shape"),
        (encoded(type="a\ud800"), "bad_shape"),
        (encoded(type="x" * 257), "bad_shape"),
        (encoded(customer_id=""), "bad_shape"),
        (encoded(customer_id=12), "bad_shape"),
        (encoded(customer_id="a\u2028b"), "bad_shape"),
        (encoded(customer_id=["acme"]), "bad_shape"),
        (encoded()[:-1] + b',"id":"evt_2"}', "bad_shape"),
        (encoded()[:-1] + b',"data":2}', "bad_shape"),
        (encoded(id=""), "bad_id"),
        (encoded(id=7), "bad_id"),
        (encoded(id=None), "bad_id"),
        (encoded(id="a.b"), "bad_id"),
        (encoded(id="evt 1"), "bad_id"),
        (encoded(id="evt_1\n"), "bad_id"),
        (encoded(id="é"), "bad_id"),
        (encoded(id="\u0661"), "bad_id"),
        (encoded(id="x" * 257), "bad_id"),
    ],
)
def test_what_is_no_event_has_a_reason(value: bytes | None, reason: str) -> None:
    assert reason_for(value) == reason


@pytest.mark.parametrize("event_id", ["a", "x" * 256, "A-Z_09", "-", "0"])
def test_good_ids_are_taken(event_id: str) -> None:
    assert parse_event(encoded(id=event_id), LIMIT).id == event_id


@pytest.mark.parametrize(
    "timestamp",
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02t03:04:05z",
        "2026-01-02 03:04:05+05:30",
        "2026-01-02T03:04:05.123456789-08:00",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04",
        "2026-01-02T03:04:05+0100",
        "2016-12-31T23:59:60Z",
        "2024-02-29T00:00:00Z",
    ],
)
def test_a_date_and_time_is_forwarded_as_written(timestamp: str) -> None:
    assert parse_event(encoded(timestamp=timestamp), LIMIT).raw_timestamp == (
        json.dumps(timestamp).encode()
    )


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "yesterday",
        1_767_323_045,
        None,
        "2026-01-02",
        "03:04:05",
        "2026-13-02T03:04:05Z",
        "2025-02-29T00:00:00Z",
        "2026-01-02T24:04:05Z",
        "2026-01-02T03:04:61Z",
        "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:05Z\n",
        "\uff12\uff10\uff12\uff16-01-02T03:04:05Z",
        "2026-01-02T03:04:05." + "1" * 100,
    ],
)
def test_what_is_no_date_and_time_is_of_bad_shape(timestamp: object) -> None:
    assert reason_for(encoded(timestamp=timestamp)) == "bad_shape"


def test_a_record_may_be_as_large_as_the_limit_and_no_larger() -> None:
    value = encoded()
    assert parse_event(value, len(value)).id == "evt_1"
    assert reason_for(value, len(value) - 1) == "too_large"
    with pytest.raises(BadEventError, match=f"at most {len(value) - 1} are allowed"):
        parse_event(value, len(value) - 1)


def test_the_detail_names_every_wrong_member_and_no_value() -> None:
    detail = detail_for(encoded(type=42, customer_id="secret\n", timestamp=...))
    assert detail == (
        "type must be a string of 1 to 256 characters, none a control character; "
        "customer_id must be a string of 1 to 256 characters, none a control character; "
        "timestamp is missing"
    )


def test_the_detail_says_where_it_stops_to_be_json() -> None:
    assert detail_for(b'{"id" 1}') == "a colon is missing at character 7"
    assert detail_for(b'{"a":tru}') == "Expecting value at character 6"
    assert detail_for(b'{"a":[NaN]}') == "NaN is not JSON at character 6"
    assert "too deeply" in detail_for(b"[" * 500_000)


def test_repr_shows_no_payload() -> None:
    assert "amount" not in repr(parse_event(encoded(), LIMIT))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_else(value: bytes) -> None:
    with pytest.raises(BadEventError):
        parse_event(value, LIMIT)


@given(st.data())
def test_a_damaged_event_is_an_event_or_has_a_reason(data: st.DataObject) -> None:
    value = bytearray(encoded())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(value) - 1))
        value[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        event = parse_event(bytes(value), LIMIT)
    except BadEventError:
        return
    assert event.data in bytes(value)
