"""What a former owner tells in the hand-over topic, as a record's value: written and read.

A word is JSON, so that any consumer shows it to a person.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app_worker.varints import LARGEST

VERSION = 1
MOST_SETTLED = 1_000
"""Records that one word tells of."""

MOST_BYTES = 2**18
"""Of a word; more is nothing that was written here."""

NONCE_DIGITS = 16


class Kind(StrEnum):
    """What a word says."""

    OPENED = "opened"
    """A release begins: words of it stand from here on, and can be written now."""
    SETTLED = "settled"
    """Every delivery of these records has an outcome that is safely stored."""


class UnusableWordError(ValueError):
    """A record of the hand-over topic that says nothing; ``reason`` fits a metric's label."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Word:
    """One word of one release."""

    kind: Kind
    group: str
    nonce: int
    topic: str
    """Of the records."""
    settled: tuple[tuple[int, int], ...] = ()
    """Partition and offset of each; none in the word that opens."""


def handover_topic(topic: str) -> str:
    """The topic in which words about the records of ``topic`` stand."""
    return f"{topic}.handover"


def write_word(word: Word) -> bytes:
    """Return the value of its record. Raises ValueError for more than MOST_SETTLED records."""
    if len(word.settled) > MOST_SETTLED:
        raise ValueError(f"{len(word.settled)} records in one word, {MOST_SETTLED} at most")
    said = {
        "version": VERSION,
        "kind": word.kind,
        "group": word.group,
        "nonce": f"{word.nonce:0{NONCE_DIGITS}x}",
        "topic": word.topic,
        "settled": word.settled,
    }
    return json.dumps(said, separators=(",", ":")).encode()


def read_word(value: bytes | None) -> Word:
    """Read what ``write_word`` wrote; fields that are not known are passed over.

    Raises UnusableWordError: ``foreign``, ``version`` or ``damaged``.
    """
    said = _object(value)
    if said.get("version") != VERSION:
        raise UnusableWordError("version")
    try:
        return Word(
            Kind(said["kind"]),
            _text(said["group"]),
            _nonce(_text(said["nonce"])),
            _text(said["topic"]),
            tuple(_settled(pair) for pair in said["settled"]),
        )
    except (KeyError, TypeError, ValueError):
        raise UnusableWordError("damaged") from None


def _object(value: bytes | None) -> dict[str, Any]:
    if value is None or len(value) > MOST_BYTES:
        raise UnusableWordError("foreign")
    try:
        said = json.loads(value)
    except (ValueError, RecursionError):
        raise UnusableWordError("foreign") from None
    if not isinstance(said, dict) or "version" not in said:
        raise UnusableWordError("foreign")
    return said


def _text(said: object) -> str:
    if not isinstance(said, str):
        raise TypeError
    return said


def _nonce(digits: str) -> int:
    if len(digits) != NONCE_DIGITS:
        raise ValueError
    return int.from_bytes(bytes.fromhex(digits))


def _settled(pair: list[object]) -> tuple[int, int]:
    partition, offset = pair
    return _number(partition), _number(offset)


def _number(said: object) -> int:
    if type(said) is not int or not 0 <= said <= LARGEST:
        raise ValueError
    return said
