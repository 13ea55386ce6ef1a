"""Reads JSON one level at a time, so that it is known where each value stands in the text."""

import json
import re
from typing import Any, NamedTuple, NoReturn

_SPACE = re.compile(r"[ \t\n\r]*")
# A name without escapes and all around it in one step, and its value too if that is such a string:
# nearly every member is written so.
_PLAIN = r'"([^"\\\x00-\x1f]*+)"'
_PLAIN_MEMBER = rf"[ \t\n\r]*{_PLAIN}[ \t\n\r]*:[ \t\n\r]*(?:{_PLAIN})?"
_FIRST_MEMBER = re.compile(r"\{" + _PLAIN_MEMBER)
_NEXT_MEMBER = re.compile(r"[ \t\n\r]*," + _PLAIN_MEMBER)


class NotJsonError(ValueError):
    """The text is not JSON (RFC 8259); the message says why, without any of the text."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} at character {position + 1}")
        self.message = message
        self.position = position


class Member(NamedTuple):
    """A member of an object; its value is ``text[start:end]``."""

    name: str
    value: Any
    start: int
    end: int


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_values = json.JSONDecoder(parse_constant=_refuse_constant)
_numbers_unread = json.JSONDecoder(
    parse_int=bool, parse_float=bool, parse_constant=_refuse_constant
)


def skip_space(text: str, position: int) -> int:
    """The first position from ``position`` on that holds no white space."""
    found = _SPACE.match(text, position)
    return found.end() if found else position


def expect_end(text: str, position: int) -> None:
    """Raise NotJsonError if anything but white space follows."""
    end = skip_space(text, position)
    if end != len(text):
        raise NotJsonError("something follows the value", end)


def read_value(text: str, position: int, *, numbers: bool = True) -> tuple[Any, int]:
    """Decode the value that begins at ``position``; returns it and where it ends.

    Without ``numbers`` a number is checked but not converted, and comes as True: one of a million
    digits then costs no more than a string. Raises NotJsonError.
    """
    decoder = _values if numbers else _numbers_unread
    try:
        value, end = decoder.raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise NotJsonError(error.msg.partition(":")[0], error.pos) from None
    except RecursionError:
        raise NotJsonError("values are nested too deeply", position) from None
    except ValueError as error:
        message = "a number is too long" if "digits" in str(error) else str(error)
        raise NotJsonError(message, position) from None
    return value, end


def end_of_value(text: str, position: int) -> int | None:
    """Where the value that begins at ``position`` ends; None if there is none, as read_value says.

    No number in it is converted.
    """
    try:
        return _numbers_unread.raw_decode(text, position)[1]
    except (ValueError, RecursionError):
        return None


def read_object(
    text: str, position: int, *, numbers: bool = True
) -> tuple[tuple[Member, ...], int]:
    """The members, repeated ones too, of the object whose brace stands at ``position``; its end.

    Raises NotJsonError.
    """
    members: list[Member] = []
    at = position
    while True:
        plain = (_NEXT_MEMBER if members else _FIRST_MEMBER).match(text, at)
        if plain:
            name, value = plain.groups()
            at = plain.end()
            if value is not None:
                members.append(Member(name, value, at - len(value) - 2, at))
                continue
            start = at
        else:
            at = skip_space(text, at if members else position + 1)
            if text.startswith("}", at):
                return tuple(members), at + 1
            if members:
                if not text.startswith(",", at):
                    raise NotJsonError("a comma or closing brace is missing", at)
                at = skip_space(text, at + 1)
            name, start = _read_name(text, at)
        value, at = read_value(text, start, numbers=numbers)
        members.append(Member(name, value, start, at))


def _read_name(text: str, position: int) -> tuple[str, int]:
    """The name that begins at ``position``, and where its value begins."""
    if not text.startswith('"', position):
        raise NotJsonError("a member's name is missing", position)
    name, at = read_value(text, position)
    at = skip_space(text, at)
    if not text.startswith(":", at):
        raise NotJsonError("a colon is missing", at)
    return name, skip_space(text, at + 1)
