"""The published schema of an event and the parser agree, but for what the README lists."""

import json
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from webhook_worker.errors import BadEventError
from webhook_worker.event import parse_event

LIMIT = 1_000_000
SCHEMA: dict[str, Any] = json.loads(
    (resources.files("webhook_worker") / "event.schema.json").read_text()
)
VALIDATOR = Draft202012Validator(SCHEMA)
GOOD: dict[str, Any] = {
    "id": "evt_1",
    "type": "invoice.paid",
    "customer_id": "acme",
    "timestamp": "2026-01-02T03:04:05.678Z",
    "data": {"amount": 1},
}

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Half of a surrogate pair is among what the schema cannot say.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=5,
)
CHARACTERS = st.text(
    st.sampled_from(
        "aZ9_-. \n\r\x00\x1f\x20\x7e\x7f\x9f\xa0\u0661\u2027\u2028\u2029\u202a\U0001f600"
    )
)
LENGTHS = st.sampled_from([0, 1, 255, 256, 257]).map(lambda length: "a" * length)
EMOJI = st.sampled_from([256, 257]).map(lambda length: "\U0001f600" * length)


@st.composite
def timestamps(draw: st.DrawFn) -> str:
    """Near a date and time: each part from within its range and from just outside."""
    # 2024 has a 29 February; that of other years is among what the schema cannot say.
    year = draw(st.sampled_from(["2024", "0004", "0000", "9996", "24", "12024"]))
    month, day = draw(st.integers(0, 13)), draw(st.integers(0, 32))
    hour, minute = draw(st.sampled_from([0, 9, 23, 24])), draw(st.sampled_from([0, 59, 60]))
    between = draw(st.sampled_from(["T", "t", " ", "_"]))
    second = draw(st.sampled_from(["", ":00", ":59", ":60", ":61", ":5", ":05.5", ":05,5", ":05."]))
    fraction = draw(st.sampled_from(["", "0" * 40, "0" * 50]))
    offset = draw(st.sampled_from(["", "Z", "z", "+01:00", "-2359", "+23", "+24", "+01:60", "Z\n"]))
    return f"{year}-{month:02}-{day:02}{between}{hour:02}:{minute:02}{second}{fraction}{offset}"


TEXTS = CHARACTERS | LENGTHS | EMOJI
MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "id": TEXTS | JSON,
    "type": TEXTS | JSON,
    "customer_id": TEXTS | JSON,
    "timestamp": timestamps() | JSON,
    "data": JSON,
    "other": JSON,
}


def is_event(value: bytes) -> bool:
    try:
        parse_event(value, LIMIT)
    except BadEventError:
        return False
    return True


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", MEMBERS)
@given(data=st.data())
def test_one_changed_member_is_judged_alike(name: str, data: st.DataObject) -> None:
    event = {**GOOD, name: data.draw(MEMBERS[name])}

    assert VALIDATOR.is_valid(event) == is_event(json.dumps(event).encode())


@given(st.sets(st.sampled_from(sorted(GOOD))))
def test_members_that_are_missing_are_judged_alike(names: set[str]) -> None:
    event = {name: value for name, value in GOOD.items() if name not in names}

    assert VALIDATOR.is_valid(event) == is_event(json.dumps(event).encode()) == (not names)


@given(JSON)
def test_what_is_no_object_is_judged_alike(value: Any) -> None:
    assert VALIDATOR.is_valid(value) == is_event(json.dumps(value).encode())


NEAR_A_DATE_AND_TIME = [
    *(f"2024-{month:02}-{day:02}T00:00" for month in range(14) for day in range(33)),
    *(f"{year:04}-01-01T00:00" for year in (0, 1, 9, 10, 99, 100, 999, 1000, 9999, 10000)),
    *(f"2024-01-01T{hour:02}:00" for hour in range(26)),
    *(f"2024-01-01T00:{minute:02}" for minute in range(62)),
    *(f"2024-01-01T00:00:{second:02}" for second in range(63)),
    *(f"2024-01-01T00:00:00.{'0' * digits}" for digits in range(50)),
    *(f"2024-01-01T00:00+{hour:02}:00" for hour in range(26)),
    *(f"2024-01-01T00:00-00{minute:02}" for minute in range(62)),
]


@pytest.mark.parametrize("name", ["id", "type"])
def test_the_same_characters_are_allowed(name: str) -> None:
    differ = [
        hex(code)
        for code in range(0x2100)
        if VALIDATOR.is_valid({**GOOD, name: chr(code)})
        != is_event(json.dumps({**GOOD, name: chr(code)}).encode())
    ]

    assert not differ


def test_every_part_of_a_date_and_time_has_the_same_range() -> None:
    differ = [
        timestamp
        for timestamp in NEAR_A_DATE_AND_TIME
        if VALIDATOR.is_valid({**GOOD, "timestamp": timestamp})
        != is_event(json.dumps({**GOOD, "timestamp": timestamp}).encode())
    ]

    assert not differ


@pytest.mark.parametrize(
    "timestamp",
    ["2026-01-02T03:04:05Z", "2026-12-31t23:59:60z", "2024-02-29 00:00", "0001-01-01T00:00+23:59"],
)
def test_a_date_and_time_fits_both(timestamp: str) -> None:
    event = {**GOOD, "timestamp": timestamp}

    assert VALIDATOR.is_valid(event)
    assert is_event(json.dumps(event).encode())


@pytest.mark.parametrize(
    "value",
    [
        json.dumps({**GOOD, "data": float("nan")}),
        json.dumps({**GOOD, "data": "x" * LIMIT}),
        json.dumps({**GOOD, "type": "\ud800"}),
        json.dumps({**GOOD, "timestamp": "2026-02-29T00:00:00Z"}),
        json.dumps(GOOD).replace('"id"', '"id": "evt_0", "id"'),
    ],
    ids=["NaN", "too large", "half of a pair", "no leap year", "twice"],
)
def test_what_the_readme_says_a_schema_cannot_say_is_refused_by_the_parser(value: str) -> None:
    assert VALIDATOR.is_valid(json.loads(value))
    assert not is_event(value.encode())
