"""What a dead letter says, read from its headers, and how a delivery is sent on its way again."""

from dataclasses import dataclass

from app_worker.handler import Park
from app_worker.parked_headers import (
    DEAD_AT,
    DETAIL,
    REASON,
    VALUE_BYTES,
    KafkaRecord,
    NotParkedError,
    OwnHeaders,
    parked_headers,
    read_stored,
)
from app_worker.record import Record

REPLAYED = "replayed"
"""The reason in a delay topic of what was a dead letter before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLetter:
    """A dead letter as it lies in its topic. ``repr`` shows no key and no value."""

    record: Record
    """What lies there, with where it first stood and the attempts that were made."""
    reason: str
    detail: str
    dead_at_ms: int
    """Unix milliseconds."""
    has_value: bool
    """Whether the record's value, be it null, travelled with it; one too large does not."""

    @property
    def place(self) -> str:
        """Where it lies: ``partition:offset``."""
        return f"{self.record.partition}:{self.record.offset}"

    @property
    def identity(self) -> str:
        """Which letter it is, also where its topic was made anew and others have its place."""
        return f"{self.place}@{self.dead_at_ms}"

    def __repr__(self) -> str:
        return f"StoredLetter({self.place}, {self.reason!r})"


def read_letter(message: KafkaRecord) -> StoredLetter:
    """A record of a dead-letter topic. Raises NotParkedError for what parking has not written."""
    record, ours = read_stored(message)
    for name in (REASON, DEAD_AT):
        if name not in ours:
            raise NotParkedError(f"header {name} is missing")
    if not ours[DEAD_AT].isdecimal():
        raise NotParkedError(f"header {DEAD_AT} cannot be read")
    return StoredLetter(
        record=record,
        reason=ours[REASON],
        detail=ours.get(DETAIL, ""),
        dead_at_ms=int(ours[DEAD_AT]),
        has_value=VALUE_BYTES not in ours or record.value is None,
    )


def replayed_headers(letter: StoredLetter, delay: str, now_ms: int) -> OwnHeaders:
    """The headers with which it comes back from the topic of ``delay``: at once, as if untried."""
    park = Park(letter.record.delivery, 0, delay, REPLAYED, f"from dead letter {letter.place}")
    return parked_headers(letter.record, park, now_ms, 0.0)
