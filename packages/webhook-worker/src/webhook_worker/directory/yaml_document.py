"""Reads a file of endpoints that is written in YAML."""

from collections.abc import Iterator
from typing import Any

import yaml

from webhook_worker.directory.document import MAX_DEPTH, Entry, Stranger
from webhook_worker.errors import DirectoryError, FieldPath, FieldProblem

# LibYAML reads ten times faster, and PyYAML can be installed without it.
_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_TAG = "tag:yaml.org,2002:"
_CONVERTED = {_TAG + name for name in ("null", "bool", "int", "float")}
# YAML 1.1 sees more in a plain text than people mean by it: a date, a merge, a default.
_AS_WRITTEN = {_TAG + name for name in ("str", "timestamp", "merge", "value")}


def read_yaml(text: str, source: str) -> Iterator[Entry | Stranger]:
    """See ReadDocument."""
    yield from _Reader(text, source).document()


class _Reader:
    """Builds values from the parser's events.

    Not from its nodes: events come one by one, so depth is bounded here, an alias is seen where it
    stands (it could blow a short text up to any size), and so is a repeated field.
    """

    def __init__(self, text: str, source: str) -> None:
        self._source = source
        try:
            self._loader = _Loader(text)
        except yaml.YAMLError as error:
            raise self._wrong(_sentence(error), _line_of_error(error)) from None

    def document(self) -> Iterator[Entry | Stranger]:
        event = self._next()
        while isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent):
            event = self._next()
        if not isinstance(event, yaml.MappingStartEvent):
            raise self._wrong("must hold a list named endpoints", 1)
        found = False
        while not isinstance(key := self._next(), yaml.MappingEndEvent):
            name, line = self._key(key)
            if name != "endpoints":
                self._value(self._next(), (), {}, [])
                yield Stranger(name, line)
            elif found:
                raise self._wrong("endpoints stands there more than once", line)
            else:
                found = True
                yield from self._entries(line)
        if not found:
            raise self._wrong("must hold a list named endpoints", 1)
        self._next()
        if not isinstance(event := self._next(), yaml.StreamEndEvent):
            raise self._wrong("holds more than one document", _line_of(event))

    def _entries(self, line: int) -> Iterator[Entry]:
        if not isinstance(self._next(), yaml.SequenceStartEvent):
            raise self._wrong("endpoints must be a list", line)
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            lines: dict[FieldPath, int] = {(): _line_of(event)}
            repeated: list[FieldProblem] = []
            value = self._value(event, (), lines, repeated)
            yield Entry(value, lines, tuple(repeated))

    def _value(
        self,
        event: yaml.Event,
        path: FieldPath,
        lines: dict[FieldPath, int],
        repeated: list[FieldProblem],
    ) -> object:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if len(path) > MAX_DEPTH:
            raise self._wrong("values are nested too deeply", _line_of(event))
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[object] = []
            while not isinstance(item := self._next(), yaml.SequenceEndEvent):
                below = (*path, len(items))
                lines[below] = _line_of(item)
                items.append(self._value(item, below, lines, repeated))
            return items
        values: dict[str, object] = {}
        while not isinstance(key := self._next(), yaml.MappingEndEvent):
            name, line = self._key(key)
            below = (*path, name)
            if name in values:
                repeated.append(FieldProblem(below, "stands there more than once"))
            lines[below] = line
            values[name] = self._value(self._next(), below, lines, repeated)
        return values

    def _key(self, event: yaml.Event) -> tuple[str, int]:
        line = _line_of(event)
        if not isinstance(event, yaml.ScalarEvent):
            raise self._wrong("the name of a field must be a plain text", line)
        return event.value, line

    def _scalar(self, event: yaml.ScalarEvent) -> object:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        if tag in _AS_WRITTEN:
            return event.value
        if tag not in _CONVERTED:
            raise self._wrong(f"the tag {tag} is not read here", _line_of(event))
        node = yaml.ScalarNode(tag, event.value)
        try:
            return self._loader.yaml_constructors[tag](self._loader, node)
        except (ValueError, KeyError, IndexError, OverflowError):
            # A number of too many digits, "!!bool maybe", "!!int ''", 1:1:1... of any length.
            return event.value

    def _next(self) -> yaml.Event:
        try:
            event: yaml.Event = self._loader.get_event()
        except yaml.YAMLError as error:
            raise self._wrong(_sentence(error), _line_of_error(error)) from None
        if isinstance(event, yaml.AliasEvent):
            line = _line_of(event)
            raise self._wrong("aliases (*name) are not read here: write the value out", line)
        return event

    def _wrong(self, message: str, line: int | None) -> DirectoryError:
        return DirectoryError(self._source, message, line)


def _line_of(event: yaml.Event) -> int:
    return 1 if event.start_mark is None else event.start_mark.line + 1


def _sentence(error: yaml.YAMLError) -> str:
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
    return f"is not YAML: {said}"


def _line_of_error(error: yaml.YAMLError) -> int | None:
    mark = getattr(error, "problem_mark", None)
    return None if mark is None else mark.line + 1
