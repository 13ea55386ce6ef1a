"""What a hand-over needs from outside: a writer and a reader of words, and leave to be used.

Both stand for one hand-over topic, in which the words of every group that reads this topic's
records, or those parked from it, stand side by side.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from app_worker.handover.words import Word


class Place(NamedTuple):
    """Where a word stands."""

    partition: int
    offset: int


class Writer(Protocol):
    """Writes words, acknowledged by all replicas in sync."""

    async def open(self, group: str, nonce: int, topic: str) -> Place:
        """Write the word that a release of records of ``topic`` begins with; return its place.

        Every word of the release is to stand in the same partition, and behind it. It is not tried
        again: whoever asks waits OPENED_SECONDS, and drains instead. Raises KafkaError or OSError;
        cancelled, it may have been written all the same, which harms nobody.
        """

    async def tell(self, partition: int, word: Word) -> None:
        """Write a word into this partition; tried again a few times, with growing pauses, counted.

        Raises KafkaError or OSError when it gives up. Whether the word stands there is then
        unknown, and whoever asks may ask again: a word that stands twice says no more than once.
        """


Deliver = Callable[[int, Sequence[Word], int], None]
"""Of one partition: words in the order of the log, and the offset of the next one to be read. Also
called without words: once after ``read_from`` when that offset is known, and when it moves on by
itself."""


class Reader(Protocol):
    """Reads words from places on, as a member of no group, and only while somebody wants them."""

    def read_from(self, places: Mapping[int, int]) -> None:
        """New holds wait for words of these partitions, from these offsets on.

        Returns at once. A partition that is read from here or further below goes on; one that has
        been read further goes back, and delivers nothing any more of what it had fetched before. An
        offset that is no place of the log is handled as ``inherited.place_to_read`` says. Whatever
        fails is tried again with growing pauses, logged and counted, until ``rest``.
        """

    def rest(self) -> None:
        """Nobody waits for words any more: nothing is delivered from now on, and connections are
        closed soon. ``read_from`` may follow."""

    async def ends(self, partitions: Collection[int]) -> Mapping[int, int]:
        """Where the words of these end now: the offset of the next one to be written.

        Asked anew, after the call. Raises KafkaError or OSError.
        """

    async def close(self) -> None:
        """Stop all work, and close every connection."""


class WhyNot(StrEnum):
    """Why a worker does not hand over, fit for a metric's label."""

    SETTING = "setting"
    """It was told not to."""
    TOPIC_MISSING = "topic_missing"
    TOPIC_MISCONFIGURED = "topic_misconfigured"
    """It is compacted, or keeps words for less long than somebody may wait for them."""
    REFUSED = "refused"
    """An ACL is missing."""
    PROBE_FAILED = "probe_failed"
    """A word that was written at the start was not acknowledged, or could not be read."""
    NO_DEADLINE = "no_deadline"
    """The handler may take longer than any record may be held."""
    STATIC_MEMBER = "static_member"
    """Only at its end it drains, since nobody else may take over then; what a plan takes away from
    it is handed over."""


class Mode(NamedTuple):
    """Whether partitions are handed over, and if not always, why. Holds are honoured in any."""

    why_not: WhyNot | None = WhyNot.SETTING

    @property
    def on_revoke(self) -> bool:
        """Whether what a plan takes away is handed over."""
        return self.why_not in (None, WhyNot.STATIC_MEMBER)

    @property
    def at_end(self) -> bool:
        """Whether, when this process ends, others begin what it is still at."""
        return self.why_not is None


@dataclass(slots=True)
class Words:
    """What one controller is given."""

    mode: Mode
    """May change at any moment: what was missing may come."""
    writer: Writer
    reader: Callable[[Deliver], Reader]
    """Makes one of its own, which connects when it is needed first."""
