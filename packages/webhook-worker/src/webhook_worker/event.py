"""Turns the bytes of a record into an event, or says why they are none."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from webhook_worker.errors import BadEventError, BadEventReason
from webhook_worker.json_text import (
    Member,
    NotJsonError,
    end_of_value,
    expect_end,
    read_object,
    read_value,
    skip_space,
)

MAX_TEXT_CHARACTERS = 256
MAX_TIMESTAMP_CHARACTERS = 64

_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_DATE_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ]([01]\d|2[0-3]):(\d\d)(?::(\d\d)(?:[.,]\d+)?)?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)?",
    re.ASCII,
)

# Nearly every event is written so: four plain strings in any order, then the data. One match reads
# all but that, at a third of the price of reading member by member, which takes everything else.
# Four members of which each has a group of its own are one of each.
# Nor does a moment need a second look, but for the 29th of February, a second 60, and other ways of
# writing it that RFC 3339 allows.
_DAY_PATTERN = (
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_MOMENT_PATTERN = (
    rf"[1-9][0-9]{{3}}-{_DAY_PATTERN}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
)
_TEXT_PATTERN = r"[^\"\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,256}+"
_MEMBER_PATTERNS = (
    ("id", r"[A-Za-z0-9_-]{1,256}+"),
    ("type", _TEXT_PATTERN),
    ("customer_id", _TEXT_PATTERN),
    ("timestamp", _MOMENT_PATTERN),
)
_PLAIN_HEAD = re.compile(
    r"[ \t\n\r]*\{(?:[ \t\n\r]*\"(?:"
    + "|".join(rf"{name}\"[ \t\n\r]*:[ \t\n\r]*\"({value})" for name, value in _MEMBER_PATTERNS)
    + r")\"[ \t\n\r]*,){4}[ \t\n\r]*\"data\"[ \t\n\r]*:[ \t\n\r]*"
)
_PLAIN_END = re.compile(r"[ \t\n\r]*\}[ \t\n\r]*")


class Event(NamedTuple):
    """A record that passed validation. The raw fields are its own bytes, forwarded as they came."""

    id: str
    """The ``webhook-id`` of every attempt: 1 to 256 of ``[A-Za-z0-9_-]``."""
    type: str
    customer_id: str
    timestamp: str
    raw_type: bytes
    raw_timestamp: bytes
    data: bytes

    def __repr__(self) -> str:
        """Who it is about, never what it says."""
        return (
            f"Event(id={self.id!r}, type={self.type!r}, customer_id={self.customer_id!r}, "
            f"timestamp={self.timestamp!r})"
        )


def body(event: Event) -> bytes:
    """What is sent and signed: type, timestamp and data, each byte for byte as received."""
    pieces = (
        b'{"type":',
        event.raw_type,
        b',"timestamp":',
        event.raw_timestamp,
        b',"data":',
        event.data,
        b"}",
    )
    return b"".join(pieces)


def parse_event(value: bytes | None, max_bytes: int) -> Event:
    """The event in a value of at most ``max_bytes``. Raises BadEventError, nothing else."""
    text = _decode(value, max_bytes)
    # Where each character is a byte the record's own bytes need not be made again.
    raw = value if text.isascii() else None
    return _plain(text, raw) or _parse(text, raw)


def _plain(text: str, raw: bytes | None) -> Event | None:
    """The event in a text as nearly all are written; None for any other."""
    head = _PLAIN_HEAD.match(text)
    if head is None:
        return None
    event_id, event_type, customer_id, timestamp = head.groups()
    if not (event_id and event_type and customer_id and timestamp):
        return None
    start = head.end()
    end = end_of_value(text, start)
    if end is None or _PLAIN_END.fullmatch(text, end) is None:
        return None
    return Event(
        event_id,
        event_type,
        customer_id,
        timestamp,
        _raw(text, raw, head.start(2) - 1, head.end(2) + 1),
        _raw(text, raw, head.start(4) - 1, head.end(4) + 1),
        _raw(text, raw, start, end),
    )


def _parse(text: str, raw: bytes | None) -> Event:
    """The event in any text that is one. Raises BadEventError."""
    members = _ours(text)
    for name, (is_allowed, _) in _ALLOWED.items():
        if name not in members or not is_allowed(members[name].value):
            raise _wrong(members)
    return Event(
        id=members["id"].value,
        type=members["type"].value,
        customer_id=members["customer_id"].value,
        timestamp=members["timestamp"].value,
        raw_type=_raw(text, raw, *members["type"][2:]),
        raw_timestamp=_raw(text, raw, *members["timestamp"][2:]),
        data=_raw(text, raw, *members["data"][2:]),
    )


def _decode(value: bytes | None, max_bytes: int) -> str:
    if value is None:
        raise BadEventError("tombstone", "the record has no value")
    if len(value) > max_bytes:
        raise BadEventError("too_large", f"{len(value)} bytes, at most {max_bytes} are allowed")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise BadEventError("not_utf8", f"{error.reason} at byte {error.start + 1}") from None


def _ours(text: str) -> dict[str, Member]:
    """The members that make an event, by name; others are read and left out."""
    ours: dict[str, Member] = {}
    for member in _members(text):
        if member.name not in _ALLOWED:
            continue
        if member.name in ours:
            raise BadEventError("bad_shape", f"{member.name} is there more than once")
        ours[member.name] = member
    return ours


def _members(text: str) -> tuple[Member, ...]:
    start = skip_space(text, 0)
    members: tuple[Member, ...] | None = None
    try:
        if text.startswith("{", start):
            members, end = read_object(text, start, numbers=False)
        else:
            _, end = read_value(text, start, numbers=False)
        expect_end(text, end)
    except NotJsonError as error:
        raise BadEventError("not_json", str(error)) from None
    if members is None:
        raise BadEventError("bad_shape", "the value is not a JSON object")
    return members


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _is_text(value: Any) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_TEXT_CHARACTERS
        and not _UNPRINTABLE.search(value)
    )


def _is_date_time(value: Any) -> bool:
    if not isinstance(value, str) or len(value) > MAX_TIMESTAMP_CHARACTERS:
        return False
    match = _DATE_TIME.fullmatch(value)
    return match is not None and (_is_moment(value) or _is_written_moment(match))


def _is_moment(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_written_moment(match: re.Match[str]) -> bool:
    """Also what RFC 3339 allows and datetime does not read, such as the second 60."""
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
    try:
        datetime(year, month, day, hour, minute, 59 if second == 60 else second, tzinfo=UTC)  # noqa: PLR2004
    except ValueError:
        return False
    return True


_TEXT = (_is_text, f"a string of 1 to {MAX_TEXT_CHARACTERS} characters, none a control character")
_ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "id": (_is_id, "a string of 1 to 256 of A-Z a-z 0-9 _ -"),
    "type": _TEXT,
    "customer_id": _TEXT,
    "timestamp": (_is_date_time, "a date and time as RFC 3339 writes it"),
    "data": (lambda _: True, ""),
}


def _wrong(members: dict[str, Member]) -> BadEventError:
    problems = {}
    for name, (is_allowed, sentence) in _ALLOWED.items():
        if name not in members:
            problems[name] = f"{name} is missing"
        elif not is_allowed(members[name].value):
            problems[name] = f"{name} must be {sentence}"
    reason: BadEventReason = "bad_id" if problems.keys() == {"id"} else "bad_shape"
    return BadEventError(reason, "; ".join(problems.values()))


def _raw(text: str, raw: bytes | None, start: int, end: int) -> bytes:
    return text[start:end].encode() if raw is None else raw[start:end]
