"""Deliveries still in flight at a former owner, as the metadata of a commit carries them."""

import math
from dataclasses import dataclass

from app_worker.varints import LARGEST, MOST_BYTES, DamagedError, Reader, varint, varint_bytes

MOST_HOLDS = 8
"""Releases whose deliveries one map can tell of."""

LONGEST_SECONDS = 600.0
"""That no delivery is held longer than, whatever the metadata says."""

UNITS_PER_SECOND = 100
NONCE_BYTES = 8

_PARTITION_BYTES = varint_bytes(2**31 - 1)
_UNITS_BYTES = varint_bytes(round(LONGEST_SECONDS) * UNITS_PER_SECOND)
_HEAD_BYTES = NONCE_BYTES + _PARTITION_BYTES + MOST_BYTES + _UNITS_BYTES
"""The most that what is said before the offsets takes."""


@dataclass(frozen=True, slots=True)
class Holds:
    """What one release of a partition left in flight there."""

    nonce: int
    """Of the release, from 0 to 2**64 - 1: which words are meant."""
    words_partition: int
    """Of the hand-over topic, where the words stand."""
    words_from: int
    """The offset there from which on they stand."""
    seconds: float
    """How long they are held from the commit on; a duration, since no two clocks agree."""
    offsets: tuple[int, ...]
    """Of the records, ascending; at least one."""


def to_bytes(holds: Holds, base: int) -> bytes:
    """Return how a commit of ``base`` says it.

    Raises ValueError for offsets that are not ascending from ``base`` on, and for a time longer
    than LONGEST_SECONDS: it would be read as a shorter one, and the records would be repeated.
    """
    # Rounded first: a sum of times may be a hair above the longest that was added to it.
    units = math.ceil(round(holds.seconds * UNITS_PER_SECOND, 6))
    if not 0 <= units <= LONGEST_SECONDS * UNITS_PER_SECOND or not holds.offsets:
        raise ValueError(f"{len(holds.offsets)} records cannot be held for {holds.seconds} s")
    said = bytearray(holds.nonce.to_bytes(NONCE_BYTES))
    said += varint(holds.words_partition) + varint(holds.words_from) + varint(units)
    reached = base
    for offset in holds.offsets:
        if offset < reached:
            raise ValueError(f"offset {offset} is held and stands below {reached}")
        said += varint(offset - reached)
        reached = offset + 1
    return bytes(said)


def from_bytes(said: bytes, base: int) -> Holds:
    """Read what ``to_bytes`` wrote. Raises DamagedError."""
    numbers = Reader(said)
    nonce = int.from_bytes(numbers.take(NONCE_BYTES))
    words_partition, words_from = numbers.varint(), numbers.varint()
    seconds = min(numbers.varint() / UNITS_PER_SECOND, LONGEST_SECONDS)
    offsets = []
    reached = base
    while not numbers.at_end:
        offset = reached + numbers.varint()
        offsets.append(offset)
        reached = offset + 1
    if not offsets or reached > LARGEST:
        raise DamagedError
    return Holds(nonce, words_partition, words_from, seconds, tuple(offsets))


def most_bytes(held: int, releases: int, span: int) -> int:
    """The most bytes that so many held offsets of so many releases take within ``span`` offsets."""
    # Of one release, no more offsets can be 128 or more above the one before than the span allows,
    # each of which takes a second byte; and so on for a third.
    further = releases * sum(span >> shift for shift in range(7, span.bit_length(), 7))
    return releases * _HEAD_BYTES + min(held * varint_bytes(span), held + further)
