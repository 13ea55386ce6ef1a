"""What the programs note down while they run: 32 bytes for each thing that happened."""

import os
import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

FORMAT = struct.Struct(">BxHiqqq")


class Kind(IntEnum):
    """What happened."""

    PRODUCED = 1
    """The brokers have acknowledged a record."""
    BEGAN = 2
    """The handling of a record began."""
    ASSIGNED = 3
    REVOKED = 4
    LOST = 5
    """What the client called its listener with."""
    COMMIT_FAILED = 6
    STRAY = 7
    """A record came of a partition that the listener had not been told of; it was left alone."""
    KEPT = 8
    """A revoke was taken back while its partition drained."""


class Note(NamedTuple):
    """One of them. A tuple, since a long run has a million.

    Times are nanoseconds of the machine's monotonic clock; what a kind does not have is 0.
    """

    kind: int
    member: int
    """The number of the consumer within its process."""
    partition: int
    offset: int
    produced_ns: int
    at_ns: int


class Notebook:
    """Appends to one file. A note is with the system at once: a killed process loses none."""

    def __init__(self, path: str | Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, note: Note) -> None:
        """Append it."""
        os.write(self._file, FORMAT.pack(*note))


class NotesTail:
    """Reads the growing files of one directory, each note once."""

    SUFFIX = ".notes"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[Path, int] = {}

    def read_new(self) -> Iterator[Note]:
        """What has been added since the last call, in the order of no clock."""
        for path in sorted(self._directory.glob(f"*{self.SUFFIX}")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                content = file.read()
            whole = len(content) - len(content) % FORMAT.size
            self._read[path] = self._read.get(path, 0) + whole
            yield from map(Note._make, FORMAT.iter_unpack(content[:whole]))
