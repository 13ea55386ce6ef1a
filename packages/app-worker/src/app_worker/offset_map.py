"""Says in a commit's metadata what became of the records above the committed offset.

Which of them are complete: without that a crash delivers again everything behind the oldest open
record, however long ago it was completed. And which are held, because they are still in flight at a
former owner of the partition. Whoever does not know the map (an older version, a tool) takes the
committed offset by itself; whoever does not know of holds takes what is held for open. Both repeat
records and lose none.
"""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from aiokafka import TopicPartition

from app_worker.holds import MOST_HOLDS, Holds, from_bytes, most_bytes, to_bytes
from app_worker.varints import LARGEST, MOST_BYTES, DamagedError, Reader, varint, varint_bytes

LONGEST_TEXT = 4_096
"""Characters that brokers take by default (``offset.metadata.max.bytes``)."""
LONGEST = LONGEST_TEXT // 4 * 3
"""Bytes of a map, before they are written as base64."""
MAGIC = b"am"
VERSION = 1
PLACE_BYTES = 8

_FIXED = len(MAGIC) + 1 + 4
_SECTION_BYTES = 1 + 2
"""What stands before a section: its kind, and its length."""
_HEAD_BYTES = _FIXED + PLACE_BYTES + MOST_BYTES + _SECTION_BYTES

ADMISSIBLE = LONGEST * 3 // 4 - _HEAD_BYTES
"""Bytes of runs or bits that the work admitted may lead to."""

SURE_SPAN = 4_096
SURE_HELD = 256
"""So many records in work, and one more, within so many offsets always fit, whatever is complete
among them, also if all of them have to be held."""

Runs = Sequence[tuple[int, int]]
"""Of offsets: the first, and the one behind the last; ascending, and never touching each other."""


class Section(IntEnum):
    """What a part of a map says. A kind that is not known is passed over."""

    RUNS = 1
    """Varints: from where the last run ended (at first: the base) to the next, then its length."""
    BITMAP = 2
    """One bit for each offset from the base on, the lowest bit of a byte first."""
    HOLDS = 3
    """What one release left in flight; there may be several of it."""


class OffsetMap(NamedTuple):
    """What a map says."""

    done: Runs = ()
    holds: tuple[Holds, ...] = ()

    @property
    def end(self) -> int:
        """Behind the last offset that it says anything of; 0 if it says nothing."""
        ends = [end for _, end in self.done[-1:]]
        return max((*ends, *(each.offsets[-1] + 1 for each in self.holds)), default=0)


class MapTooLongError(ValueError):
    """There is no room for what has to be said."""


class UnusableMapError(ValueError):
    """The metadata says nothing that may be believed; ``reason`` is a word for a metric's label."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Scope(NamedTuple):
    """Whose maps these are. What another cluster's or group's map says is of other records."""

    cluster_id: str
    group_id: str

    def place(self, partition: TopicPartition) -> bytes:
        """Stands for one partition of this scope in its map."""
        words = (self.cluster_id, self.group_id, partition.topic, str(partition.partition))
        text = "\0".join(words).encode()
        return hashlib.blake2b(text, digest_size=PLACE_BYTES).digest()


def encode(
    place: bytes, base: int, done: Runs, holds: Sequence[Holds] = (), *, whole: bool = False
) -> str:
    """Return the metadata for a commit of ``base`` above which the runs are done.

    Of what is done the end is left out if it does not fit, and so will be delivered again after a
    crash. With ``whole``, and for holds in any case, MapTooLongError is raised instead: what they
    leave out would be delivered again without any crash. Returns an empty text when there is
    nothing to be said.
    """
    if not done and not holds:
        return ""
    held = b"".join(_section(Section.HOLDS, to_bytes(each, base)) for each in holds)
    room = LONGEST - _HEAD_BYTES - len(held)
    if room < 0 or len(holds) > MOST_HOLDS:
        raise MapTooLongError(f"there is no room for the holds of {len(holds)} releases")
    said, covered = _as_done(base, done, room)
    if whole and covered < sum(end - start for start, end in done):
        raise MapTooLongError("there is no room for all that is done")
    body = place + varint(base) + said + held
    head = MAGIC + bytes([VERSION]) + zlib.crc32(body).to_bytes(4)
    return base64.b64encode(head + body).decode()


def decode(text: str, place: bytes, base: int) -> OffsetMap:
    """Return what is done and held above a committed ``base``; nothing for an empty text.

    Raises UnusableMapError for metadata that is foreign, damaged, of another version, partition,
    group or cluster, or that was written for another offset: a mirror copies it to an offset of
    its own.
    """
    if not text:
        return OffsetMap()
    body = _body(text)
    if body[:PLACE_BYTES] != place:
        raise UnusableMapError("place")
    try:
        return _read(Reader(body[PLACE_BYTES:]), base)
    except DamagedError:
        raise UnusableMapError("damaged") from None


def admits(base: int, offset: int, parts: int, held: int = 0, releases: int = 0) -> bool:
    """Whether a record may be begun so that every map that may come of it is small enough.

    ``base`` is the oldest open offset, and ``parts`` counts what may part runs of complete records
    from each other: the records in work, this one included, those that are held, and the runs that
    were recalled. ``held`` counts the records that may have to be held in such a map, those in work
    included, and ``releases`` of how many releases they are; neither if none is to be handed over.
    """
    span = offset + 1 - base
    done = min((span + 7) // 8, 2 * parts * varint_bytes(span))
    holds = most_bytes(held, releases, span) + releases * _SECTION_BYTES
    return done <= ADMISSIBLE and done + holds <= LONGEST - _HEAD_BYTES


def _section(kind: Section, said: bytes) -> bytes:
    return bytes([kind]) + varint(len(said)) + said


def _as_done(base: int, done: Runs, room: int) -> tuple[bytes, int]:
    """The section that says the most of what is done, and how many offsets it says that of."""
    if not done:
        return b"", 0
    runs, in_runs = _as_runs(base, done, room)
    bits, in_bits = _as_bitmap(base, done, room)
    if (in_runs, -len(runs)) >= (in_bits, -len(bits)):
        return _section(Section.RUNS, runs), in_runs
    return _section(Section.BITMAP, bits), in_bits


def _as_runs(base: int, done: Runs, room: int) -> tuple[bytes, int]:
    """The runs that fit, and how many offsets they have."""
    said = bytearray()
    reached, covered = base, 0
    for start, end in done:
        pair = varint(start - reached) + varint(end - start)
        if len(said) + len(pair) > room:
            break
        said += pair
        reached, covered = end, covered + end - start
    return bytes(said), covered


def _as_bitmap(base: int, done: Runs, room: int) -> tuple[bytes, int]:
    """The bits of the offsets that fit, and how many are set."""
    bits = covered = 0
    limit = base + 8 * room
    for start, end in done:
        length = min(end, limit) - start
        if length <= 0:
            break
        bits |= ((1 << length) - 1) << (start - base)
        covered += length
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little"), covered


def _body(text: str) -> bytes:
    try:
        whole = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UnusableMapError("foreign") from None
    if len(text) > LONGEST_TEXT or not whole.startswith(MAGIC):
        raise UnusableMapError("foreign")
    if len(whole) < _FIXED + PLACE_BYTES:
        raise UnusableMapError("damaged")
    if whole[len(MAGIC)] != VERSION:
        raise UnusableMapError("version")
    body = whole[_FIXED:]
    if zlib.crc32(body).to_bytes(4) != whole[len(MAGIC) + 1 : _FIXED]:
        raise UnusableMapError("damaged")
    return body


def _read(numbers: Reader, base: int) -> OffsetMap:
    if numbers.varint() != base:
        raise UnusableMapError("base")
    done: Runs = ()
    holds = []
    while not numbers.at_end:
        kind, said = numbers.byte(), numbers.take(numbers.varint())
        if kind == Section.RUNS:
            done = tuple(_runs(base, Reader(said)))
        elif kind == Section.BITMAP:
            done = tuple(_set_bits(base, said))
        elif kind == Section.HOLDS:
            holds.append(from_bytes(said, base))
    return OffsetMap(done, tuple(holds))


def _runs(base: int, numbers: Reader) -> Iterator[tuple[int, int]]:
    reached = base
    while not numbers.at_end:
        start = reached + numbers.varint()
        reached = start + numbers.varint()
        if not start < reached <= LARGEST:
            raise DamagedError
        yield start, reached


def _set_bits(base: int, said: bytes) -> Iterator[tuple[int, int]]:
    bits, reached = int.from_bytes(said, "little"), base
    while bits:
        clear = (bits & -bits).bit_length() - 1
        bits >>= clear
        length = (~bits & (bits + 1)).bit_length() - 1
        bits >>= length
        yield reached + clear, reached + clear + length
        reached += clear + length
