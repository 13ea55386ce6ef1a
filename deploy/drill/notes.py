"""What the receiver saw, as a file of notes of equal length that several can write and read."""

import struct
from pathlib import Path
from typing import NamedTuple

_NOTE = struct.Struct("<?IQ")
NOTE_BYTES = _NOTE.size


class Note(NamedTuple):
    """An event arrived, or was answered."""

    answered: bool
    number: int
    at_ns: int
    """Unix nanoseconds."""

    def to_bytes(self) -> bytes:
        """As it stands in the file."""
        return _NOTE.pack(self.answered, self.number, self.at_ns)


class NoteTail:
    """Reads a growing file of notes, each time from where it stopped before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.seen: list[Note] = []
        """All that was read."""
        self.arrived: set[int] = set()
        self.answered: set[int] = set()
        """The numbers of the events that did so at least once."""

    def read_new(self) -> None:
        """Take in every whole note added since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            added = file.read()
        whole = added[: len(added) - len(added) % _NOTE.size]
        self._offset += len(whole)
        notes = list(map(Note._make, _NOTE.iter_unpack(whole)))
        self.seen += notes
        self.answered.update(note.number for note in notes if note.answered)
        self.arrived.update(note.number for note in notes if not note.answered)
