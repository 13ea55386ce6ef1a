"""Says in a commit's metadata which records above the committed offset are complete already.

Without it a crash delivers again everything behind the oldest open record, however long ago it was
completed. Whoever does not know the map (an older version, a tool) takes the committed offset by
itself, and so repeats records and loses none.
"""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from aiokafka import TopicPartition

LONGEST_TEXT = 4_096
"""Characters that brokers take by default (``offset.metadata.max.bytes``)."""
LONGEST = LONGEST_TEXT // 4 * 3
"""Bytes of a map, before they are written as base64."""
MAGIC = b"am"
VERSION = 1
PLACE_BYTES = 8
LARGEST = 2**63 - 1

MOST_VARINT_BYTES = 9
_LOW_BITS = 0x7F
_MORE = 0x80
"""Of a byte of a varint: seven bits of the number, and whether another byte follows."""

_FIXED = len(MAGIC) + 1 + 4
_HEAD_BYTES = _FIXED + PLACE_BYTES + MOST_VARINT_BYTES + 1 + 2

ADMISSIBLE = LONGEST * 3 // 4 - _HEAD_BYTES
"""Bytes of runs or bits that the work admitted may lead to."""

SURE_SPAN = 8 * ADMISSIBLE
"""Offsets that a bitmap has room for, whatever is complete among them."""

Runs = Sequence[tuple[int, int]]
"""Of offsets: the first, and the one behind the last; ascending, and never touching each other."""


class Section(IntEnum):
    """What a part of a map says. A kind that is not known is passed over."""

    RUNS = 1
    """Varints: from where the last run ended (at first: the base) to the next, then its length."""
    BITMAP = 2
    """One bit for each offset from the base on, the lowest bit of a byte first."""


class UnusableMapError(ValueError):
    """The metadata says nothing that may be believed; ``reason`` is a word for a metric's label."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose maps these are. What another cluster's or group's map says is of other records."""

    cluster_id: str
    group_id: str

    def place(self, partition: TopicPartition) -> bytes:
        """Stands for one partition of this scope in its map."""
        words = (self.cluster_id, self.group_id, partition.topic, str(partition.partition))
        text = "\0".join(words).encode()
        return hashlib.blake2b(text, digest_size=PLACE_BYTES).digest()


def encode(place: bytes, base: int, done: Runs) -> str:
    """Return the metadata for a commit of ``base`` above which the runs are done.

    What does not fit is left out from its end on, and so will be delivered again after a crash.
    Returns an empty text when nothing is done.
    """
    if not done:
        return ""
    room = LONGEST - _HEAD_BYTES
    runs, in_runs = _as_runs(base, done, room)
    bits, in_bits = _as_bitmap(base, done, room)
    in_short = (in_runs, -len(runs)) >= (in_bits, -len(bits))
    kind, said = (Section.RUNS, runs) if in_short else (Section.BITMAP, bits)
    body = place + _varint(base) + bytes([kind]) + _varint(len(said)) + said
    head = MAGIC + bytes([VERSION]) + zlib.crc32(body).to_bytes(4)
    return base64.b64encode(head + body).decode()


def decode(text: str, place: bytes, base: int) -> Runs:
    """Return what is done above a committed ``base``; nothing for an empty text.

    Raises UnusableMapError for metadata that is foreign, damaged, of another version, partition,
    group or cluster, or that was written for another offset: a mirror copies it to an offset of
    its own.
    """
    if not text:
        return ()
    body = _body(text)
    if body[:PLACE_BYTES] != place:
        raise UnusableMapError("place")
    numbers = _Reader(body[PLACE_BYTES:])
    if numbers.varint() != base:
        raise UnusableMapError("base")
    runs: Runs = ()
    while not numbers.at_end:
        kind, said = numbers.byte(), numbers.take(numbers.varint())
        if kind == Section.RUNS:
            runs = tuple(_runs(base, _Reader(said)))
        elif kind == Section.BITMAP:
            runs = tuple(_set_bits(base, said))
    return runs


def admits(base: int, offset: int, parts: int) -> bool:
    """Whether a record may be begun so that every map that may come of it is small enough.

    ``base`` is the oldest open offset, and ``parts`` counts what may part runs of complete records
    from each other: the records in work, this one included, and the runs that were recalled.
    """
    span = offset + 1 - base
    return span <= SURE_SPAN or 2 * parts * _varint_bytes(span) <= ADMISSIBLE


def _as_runs(base: int, done: Runs, room: int) -> tuple[bytes, int]:
    """The runs that fit, and how many offsets they have."""
    said = bytearray()
    reached, covered = base, 0
    for start, end in done:
        pair = _varint(start - reached) + _varint(end - start)
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


def _runs(base: int, numbers: "_Reader") -> Iterator[tuple[int, int]]:
    reached = base
    while not numbers.at_end:
        start = reached + numbers.varint()
        reached = start + numbers.varint()
        if not start < reached <= LARGEST:
            raise UnusableMapError("damaged")
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


class _Reader:
    """Takes a map apart from its beginning on; raises UnusableMapError where it ends too soon."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._next = 0

    @property
    def at_end(self) -> bool:
        return self._next == len(self._data)

    def byte(self) -> int:
        return self.take(1)[0]

    def take(self, count: int) -> bytes:
        end = self._next + count
        if end > len(self._data):
            raise UnusableMapError("damaged")
        taken, self._next = self._data[self._next : end], end
        return taken

    def varint(self) -> int:
        number = 0
        for place in range(MOST_VARINT_BYTES):
            byte = self.byte()
            number |= (byte & _LOW_BITS) << (7 * place)
            if not byte & _MORE:
                return number
        raise UnusableMapError("damaged")


def _varint(number: int) -> bytes:
    said = bytearray()
    while number > _LOW_BITS:
        said.append(number & _LOW_BITS | _MORE)
        number >>= 7
    said.append(number)
    return bytes(said)


def _varint_bytes(number: int) -> int:
    return max(1, (number.bit_length() + 6) // 7)
