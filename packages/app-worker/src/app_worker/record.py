"""What a handler is given: one Kafka message, and where it first stood."""

from collections.abc import Sequence
from typing import NamedTuple

Headers = Sequence[tuple[str, bytes | None]]
"""Names and values in order; Kafka allows a name more than once, and a value that is null."""


class Origin(NamedTuple):
    """Where a record first stood, before it was ever parked; it never changes afterwards."""

    topic: str
    partition: int
    offset: int


class Record(NamedTuple):
    """One Kafka message as a handler sees it.

    A fresh record is about all its deliveries. A parked one comes back from a delay topic, and is
    about the one that ``delivery`` names; without a name it is about all again, because the handler
    itself failed.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    """The producer's own headers; what parking adds is read into the fields below instead."""
    timestamp_ms: int
    """When the producer (or broker) stamped the original record, in milliseconds since 1970."""
    origin: Origin
    delivery: str | None = None
    attempts: int = 0
    """How often it was tried before."""
    not_before_ms: int = 0
    """Unix milliseconds before which a parked record must not be handled; 0 for a fresh one."""
    postponed: int = 0
    """How often in a row it was parked without an attempt that counts."""
    queued_ms: int = 0
    """Unix milliseconds of when it was put into the ordered topic; 0 for one from elsewhere."""
    enqueued: frozenset[str] = frozenset()
    """Deliveries that were put into the ordered topic before: they are not to be made."""

    @property
    def size(self) -> int:
        """Bytes of key, value and headers: what the record weighs against the in-flight limit."""
        size = len(self.key or b"") + len(self.value or b"")
        if self.headers:
            size += sum(len(name) + len(value or b"") for name, value in self.headers)
        return size
