"""Environment variables as the fields of a settings class declare them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    NoReturn,
    Self,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
)

from app_worker.conversion import BeforeValidator, Convert, SecretStr, converter


class Unit:
    """Annotates a field: what its number counts, such as "milliseconds"."""

    def __init__(self, name: str) -> None:
        self.name = name


class Allowed:
    """Annotates a field: what it accepts, in words, where its type does not say enough."""

    def __init__(self, words: str) -> None:
        self.words = words


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

REQUIRED: Any = object()
"""The default of a field that has none."""


class FieldInfo(NamedTuple):
    """A field, as its class declares it."""

    default: Any
    description: str
    kind: Any = None
    """Its type, without the annotations and without None."""
    metadata: tuple[object, ...] = ()
    convert: Convert = str
    """From a text, or a value that is right already, to the value. Raises ValueError."""

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.default is REQUIRED


def setting(default: Any = REQUIRED, *, description: str) -> Any:
    """What a settings class says of one of its fields, in the place of the default."""
    return FieldInfo(default, description)


class InvalidSettingsError(ValueError):
    """Some fields have no value, or one that is not allowed.

    ``mistakes`` has the reasons by field, in the order of the fields; None where there is no value.
    """

    def __init__(self, mistakes: Mapping[str, ValueError | None]) -> None:
        super().__init__(f"not allowed: {', '.join(mistakes)}")
        self.mistakes = mistakes


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(setting,))
class Settings:
    """Base of settings: frozen values, read from nowhere by themselves; ``load`` gives them theirs.

    A subclass sets ``env_prefix`` and describes each field; error messages and the documentation's
    table are made from the fields. What concerns several fields, it says in ``mistakes``.
    """

    env_prefix: ClassVar[str]
    """What the names of its variables begin with."""
    fields: ClassVar[Mapping[str, FieldInfo]]

    def __init_subclass__(cls) -> None:
        cls.fields = {
            name: _declared(annotation, getattr(cls, name, None))
            for name, annotation in cls.__annotations__.items()
            if name != "env_prefix"
        }

    def __init__(self, **values: Any) -> None:
        """Take values, or texts of them. Raises InvalidSettingsError, TypeError for no field."""
        strangers = values.keys() - self.fields.keys()
        if strangers:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(strangers))}")
        mistakes: dict[str, ValueError | None] = {}
        for name, info in self.fields.items():
            value = values.get(name, info.default)
            if value is REQUIRED:
                mistakes[name] = None
                continue
            try:
                self.__dict__[name] = info.convert(value)
            except ValueError as error:
                mistakes[name] = error
        if mistakes:
            raise InvalidSettingsError(mistakes)

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """The same with other values, which are taken as they are."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__, **values)
        return made

    def mistakes(self) -> Iterable[str]:
        """What is wrong with the values taken together: sentences that name the variables."""
        return ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: {name}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.fields)})"


def _declared(annotation: Any, declared: Any) -> FieldInfo:
    if not isinstance(declared, FieldInfo):
        raise TypeError("every field of settings is described by setting(...)")
    kind, *metadata = get_args(annotation) if get_origin(annotation) is Annotated else [annotation]
    return declared._replace(
        kind=_kind(kind), metadata=tuple(metadata), convert=converter(annotation)
    )


class Variable(NamedTuple):
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
    return tuple(variable_of(cls, field) for field in cls.fields)


def variable_of(cls: type[Settings], field: str) -> Variable:
    """The variable behind one field."""
    info = cls.fields[field]
    return Variable(
        name=cls.env_prefix + field.upper(),
        field=field,
        required=info.is_required,
        default=written(info.default),
        allowed=_allowed(info.kind, info.metadata),
        meaning=info.description,
        secret=info.kind is SecretStr
        or any(isinstance(item, HoldsSecret) for item in info.metadata),
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
    if value is None or value is REQUIRED:
        return ""
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    if isinstance(value, float):
        return f"{value:.15g}"
    return str(value)
