"""Environment variables as the fields of a settings class declare them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr
from pydantic_core import PydanticUndefined


@dataclass(frozen=True, slots=True)
class Unit:
    """Annotates a field: what its number counts, such as "milliseconds"."""

    name: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """Annotates a field: what it accepts, in words, where its type does not say enough."""

    words: str


@dataclass(frozen=True, slots=True)
class HoldsSecret:
    """Annotates a field: a part of its text is a secret.

    ``str()`` of its value leaves that out, and so does what a validator says in a ValueError.
    """


def _split_commas(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = tuple(part.strip() for part in value.split(",") if part.strip())
    if not parts:
        raise ValueError("there is nothing between the commas")
    return parts


CommaList = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]
"""Texts between commas; spaces around them and empty ones are left out."""


class Settings(BaseModel):
    """Base of settings: frozen values, read from nowhere by themselves; ``load`` gives them theirs.

    A subclass sets ``env_prefix`` and describes each field; error messages and the documentation's
    table are made from the fields. What concerns several fields, it says in ``mistakes``.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True
    )

    env_prefix: ClassVar[str]
    """What the names of its variables begin with."""

    def mistakes(self) -> Iterable[str]:
        """What is wrong with the values taken together: sentences that name the variables."""
        return ()


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable, as its field declares it."""

    name: str
    field: str
    required: bool
    default: str
    """As it would be written in the environment; empty if there is none."""
    allowed: str
    meaning: str
    secret: bool

    @property
    def file_name(self) -> str:
        """The variable that may name a file which holds the secret."""
        return f"{self.name}_FILE"


def variables(cls: type[Settings]) -> tuple[Variable, ...]:
    """The variables that ``cls`` reads, in the order of its fields."""
    return tuple(variable_of(cls, field) for field in cls.model_fields)


def variable_of(cls: type[Settings], field: str) -> Variable:
    """The variable behind one field."""
    info = cls.model_fields[field]
    kind = _kind(info.annotation)
    required = info.is_required()
    return Variable(
        name=cls.env_prefix + field.upper(),
        field=field,
        required=required,
        default="" if required else written(info.default),
        allowed=_allowed(kind, info.metadata),
        meaning=info.description or "",
        secret=kind is SecretStr or HoldsSecret() in info.metadata,
    )


def _kind(annotation: Any) -> Any:
    """The annotation without its ``| None``."""
    if get_origin(annotation) in (Union, UnionType):
        return next(part for part in get_args(annotation) if part is not type(None))
    return annotation


def _allowed(kind: Any, metadata: Iterable[object]) -> str:
    metadata = tuple(metadata)
    for item in metadata:
        if isinstance(item, Allowed):
            return item.words
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(kind))
    if kind in (int, float):
        number = "a whole number" if kind is int else "a number"
        units = [f" of {item.name}" for item in metadata if isinstance(item, Unit)]
        return number + "".join(units) + _bounds(metadata)
    if get_origin(kind) is tuple:
        return "texts separated by commas"
    return "a path" if kind is Path else "a text"


def _bounds(metadata: Iterable[object]) -> str:
    words = {"ge": " from {}", "gt": " above {}", "le": " to {}", "lt": " below {}"}
    found = ((word, getattr(item, name, None)) for name, word in words.items() for item in metadata)
    return "".join(word.format(written(bound)) for word, bound in found if bound is not None)


def written(value: object) -> str:
    """A value as it would be written in the environment."""
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    if isinstance(value, float):
        return f"{value:.15g}"
    return str(value)
