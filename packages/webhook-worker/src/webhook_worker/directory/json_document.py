"""Reads a file of endpoints that is written in JSON."""

from bisect import bisect_left
from collections.abc import Iterator

from webhook_worker.directory.document import MAX_DEPTH, Entry, Stranger
from webhook_worker.errors import DirectoryError, FieldPath, FieldProblem
from webhook_worker.json_text import (
    Member,
    NotJsonError,
    expect_end,
    read_object,
    read_value,
    skip_space,
)


def read_json(text: str, source: str) -> Iterator[Entry | Stranger]:
    """See ReadDocument."""
    yield from _Reader(text, source).document()


class _Reader:
    """Reads the whole text first, which finds what is not JSON, then each entry with its lines."""

    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source
        self._line_ends = [at for at, character in enumerate(text) if character == "\n"]

    def document(self) -> Iterator[Entry | Stranger]:
        found = False
        for member in self._members():
            if member.name != "endpoints":
                yield Stranger(member.name, self._line(member.start))
            elif found:
                line = self._line(member.start)
                raise DirectoryError(self._source, "endpoints stands there more than once", line)
            else:
                found = True
                yield from self._entries(member)
        if not found:
            raise DirectoryError(self._source, "must hold a list named endpoints", 1)

    def _members(self) -> tuple[Member, ...]:
        start = skip_space(self._text, 0)
        if not self._text.startswith("{", start):
            raise DirectoryError(self._source, "must hold a list named endpoints", 1)
        try:
            members, end = read_object(self._text, start)
            expect_end(self._text, end)
        except NotJsonError as error:
            message = f"is not JSON: {error.message}"
            raise DirectoryError(self._source, message, self._line(error.position)) from None
        return members

    def _entries(self, member: Member) -> Iterator[Entry]:
        if not isinstance(member.value, list):
            line = self._line(member.start)
            raise DirectoryError(self._source, "endpoints must be a list", line)
        at = skip_space(self._text, member.start + 1)
        for _ in member.value:
            lines: dict[FieldPath, int] = {}
            repeated: list[FieldProblem] = []
            value, end = self._value(at, (), lines, repeated)
            yield Entry(value, lines, tuple(repeated))
            at = self._after_comma(end)

    def _value(
        self,
        at: int,
        path: FieldPath,
        lines: dict[FieldPath, int],
        repeated: list[FieldProblem],
    ) -> tuple[object, int]:
        lines[path] = self._line(at)
        if len(path) > MAX_DEPTH or self._text[at] not in "{[":
            return read_value(self._text, at)
        if self._text[at] == "[":
            items, end = read_value(self._text, at)
            start = skip_space(self._text, at + 1)
            for index in range(len(items)):
                items[index], item_end = self._value(start, (*path, index), lines, repeated)
                start = self._after_comma(item_end)
            return items, end
        members, end = read_object(self._text, at)
        values: dict[str, object] = {}
        for member in members:
            below = (*path, member.name)
            if member.name in values:
                repeated.append(FieldProblem(below, "stands there more than once"))
            values[member.name], _ = self._value(member.start, below, lines, repeated)
        return values, end

    def _after_comma(self, end: int) -> int:
        return skip_space(self._text, skip_space(self._text, end) + 1)

    def _line(self, position: int) -> int:
        return bisect_left(self._line_ends, position) + 1
