"""The parts of a written file of endpoints: what stands in it, and on which line."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from webhook_worker.errors import FieldPath, FieldProblem

MAX_DEPTH = 8
"""Levels below an entry that are read; an endpoint has two."""


class Entry(NamedTuple):
    """One item of the list ``endpoints``, not yet checked."""

    value: object
    lines: Mapping[FieldPath, int]
    """Counted from 1; the entry itself, ``()``, is always among them."""
    repeated: tuple[FieldProblem, ...] = ()
    """Fields that stand there more than once; ``value`` has the last of each."""

    def line_of(self, path: FieldPath) -> int:
        """The line of the value at ``path``, or of the nearest that is there around it."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


class Stranger(NamedTuple):
    """A field beside ``endpoints``."""

    name: str
    line: int


class ReadDocument(Protocol):
    """Reads a file's text piece by piece, so that a large one need not be held twice."""

    def __call__(self, text: str, source: str) -> Iterator[Entry | Stranger]:
        """The pieces in order. Raises DirectoryError for a text that is wrong as a whole."""
        ...
