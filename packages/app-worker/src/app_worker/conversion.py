"""The value that a text of the environment stands for, by the annotation of its field.

A field is annotated with str, int, float, Path, SecretStr, tuple[str, ...], a Literal of texts, a
class whose values a BeforeValidator makes, or a union of these with None. What is not allowed is a
ValueError; its text, if it has one, is a reason that may be shown.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_WHOLE = re.compile(r"[+-]?[0-9]+(_[0-9]+)*(\.0*)?")

LONGEST_NUMBER = 100
"""Characters of a whole number; Python itself reads no more than some thousands."""

Convert = Callable[[Any], Any]


class SecretStr:
    """A text that does not show itself."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        """The text."""
        return self._text

    def __repr__(self) -> str:
        return f"{type(self).__name__}('******')"

    def __str__(self) -> str:
        return "******" if self._text else ""

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretStr) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class BeforeValidator:
    """Annotates a field: makes something else of its value before the type is looked at."""

    def __init__(self, function: Convert) -> None:
        self.function = function


class AfterValidator:
    """Annotates a field: looks at its value when the type is right, and may replace it."""

    def __init__(self, function: Convert) -> None:
        self.function = function


class Bounds:
    """Annotates a number: what it may be."""

    def __init__(
        self,
        *,
        ge: float | None = None,
        gt: float | None = None,
        le: float | None = None,
        lt: float | None = None,
    ) -> None:
        self.ge, self.gt, self.le, self.lt = ge, gt, le, lt

    def check(self, value: float) -> float:
        """The same. Raises ValueError, also for what is no number at all."""
        if (
            (self.ge is not None and not value >= self.ge)
            or (self.gt is not None and not value > self.gt)
            or (self.le is not None and not value <= self.le)
            or (self.lt is not None and not value < self.lt)
        ):
            raise ValueError
        return value


def converter(annotation: Any) -> Convert:
    """What turns a text, or a value that is right already, into the value of such a field."""
    origin = get_origin(annotation)
    if origin is Annotated:
        kind, *metadata = get_args(annotation)
        return _in_order(_steps(converter(kind), metadata))
    if origin in (Union, UnionType):
        return partial(_any_of, [converter(part) for part in get_args(annotation)])
    if origin is Literal:
        return partial(_one_of, get_args(annotation))
    if origin is tuple:
        return partial(_instance_of, tuple)
    return _OF_TEXT.get(annotation) or partial(_instance_of, annotation)


def _steps(own: Convert, metadata: Iterable[object]) -> Sequence[Convert]:
    before, after = [], []
    for item in metadata:
        if isinstance(item, BeforeValidator):
            before.append(item.function)
        elif isinstance(item, AfterValidator):
            after.append(item.function)
        elif isinstance(item, Bounds):
            after.append(item.check)
    return [*before, own, *after]


def _in_order(steps: Sequence[Convert]) -> Convert:
    def convert(value: Any) -> Any:
        for step in steps:
            value = step(value)
        return value

    return convert


def _any_of(converters: Sequence[Convert], value: Any) -> Any:
    first: ValueError | None = None
    for convert in converters:
        try:
            return convert(value)
        except ValueError as error:
            first = first or error
    raise first or ValueError


def _one_of(choices: Sequence[object], value: Any) -> Any:
    if value not in choices:
        raise ValueError
    return value


def _instance_of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError  # noqa: TRY004 - what a field does not allow is a ValueError
    return value


def _whole_number(value: Any) -> int:
    if isinstance(value, str):
        text = value.strip()
        if not _WHOLE.fullmatch(text) or len(text) > LONGEST_NUMBER:
            raise ValueError
        return int(text.partition(".")[0])
    if type(value) is not int:
        raise ValueError
    return value


def _number(value: Any) -> float:
    if isinstance(value, str):
        try:
            return float(value.encode("ascii"))
        except ValueError:
            raise ValueError from None  # Python's own text shows the value
    if type(value) not in (int, float):
        raise ValueError
    return float(value)


def _path(value: Any) -> Path:
    return Path(value) if isinstance(value, str) else _instance_of(Path, value)


def _secret(value: Any) -> SecretStr:
    return SecretStr(value) if isinstance(value, str) else _instance_of(SecretStr, value)


_OF_TEXT: dict[Any, Convert] = {
    str: partial(_instance_of, str),
    int: _whole_number,
    float: _number,
    Path: _path,
    SecretStr: _secret,
    None: partial(_instance_of, NoneType),
    NoneType: partial(_instance_of, NoneType),
}
