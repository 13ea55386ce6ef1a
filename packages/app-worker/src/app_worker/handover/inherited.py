"""What a new owner keeps back: deliveries that a former owner may still finish."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition

from app_worker.handover.timing import CATCH_UP_SECONDS, opens_at, seconds_left
from app_worker.handover.words import Word
from app_worker.holds import Holds


@dataclass(slots=True)
class Kept:
    """What is left of the holds of one release."""

    holds: Holds
    opens_at: float
    """When its time has passed; then its words must have been read up to an end."""
    offsets: set[int]
    end: int | None = None
    """Of the words, as it was found when the time had passed; None before that."""


class Inherited:
    """The holds of one assignment of a partition, from its loading on.

    A record is held until a word tells that it is settled, until its time has passed and nobody can
    have told (then it is open, and delivered here), or until it turns out to be gone from the log.
    """

    def __init__(
        self, group: str, partition: TopicPartition, holds: Iterable[Holds], asked_at: float
    ) -> None:
        """``asked_at`` is when the commit was asked for, on this worker's clock, in seconds."""
        self._group = group
        self._partition = partition
        self._kept = [
            Kept(each, opens_at(asked_at, each.seconds), set(each.offsets)) for each in holds
        ]

    def __len__(self) -> int:
        return sum(len(kept.offsets) for kept in self._kept)

    def __contains__(self, offset: int) -> bool:
        return any(offset in kept.offsets for kept in self._kept)

    @property
    def releases(self) -> int:
        """How many releases its holds are of."""
        return len(self._kept)

    def read_from(self) -> dict[int, int]:
        """From which offsets on words are to be read, by the partition that they stand in."""
        first: dict[int, int] = {}
        for kept in self._kept:
            here = kept.holds.words_partition
            first[here] = min(kept.holds.words_from, first.get(here, kept.holds.words_from))
        return first

    def settle(self, word: Word) -> list[int]:
        """A word was read; return which held records it tells of: they are complete."""
        if (word.group, word.topic) != (self._group, self._partition.topic):
            return []
        if not any(kept.holds.nonce == word.nonce for kept in self._kept):
            return []  # By far the most of what is read is about other lanes' releases.
        told = {offset for number, offset in word.settled if number == self._partition.partition}
        return self._end(lambda kept: told if kept.holds.nonce == word.nonce else ())

    def ends_to_ask(self, now: float) -> set[int]:
        """Partitions of words whose end is to be asked for, since the time of a hold has passed."""
        return {
            kept.holds.words_partition
            for kept in self._kept
            if kept.end is None and kept.opens_at <= now
        }

    def end_found(self, words_partition: int, end: int, asked_at: float) -> None:
        """Words end here, as it was asked at ``asked_at``."""
        for kept in self._kept:
            if kept.holds.words_partition == words_partition and kept.opens_at <= asked_at:
                kept.end = end if kept.end is None else kept.end

    def open_up(self, now: float, read_to: Mapping[int, int]) -> list[int]:
        """Return the held records that are open now, to be delivered here.

        ``read_to`` is the offset of the next word to be read, by partition.
        """
        return self._end(lambda kept: kept.holds.offsets if _is_over(kept, now, read_to) else ())

    def pass_gone(self, position: int, delivered: Container[int]) -> list[int]:
        """Return the held offsets below ``position`` that were not delivered: there are no such
        records any more."""
        return self._end(
            lambda kept: {n for n in kept.offsets if n < position and n not in delivered}
        )

    def handed_on(self, now: float) -> tuple[Holds, ...]:
        """What each commit says of them, that the next owner may wait for the same words."""
        return tuple(
            Holds(
                kept.holds.nonce,
                kept.holds.words_partition,
                kept.holds.words_from,
                seconds_left(kept.opens_at, now),
                tuple(sorted(kept.offsets)),
            )
            for kept in self._kept
        )

    @property
    def next_deadline(self) -> float | None:
        """When the next hold's time will have passed; None without any."""
        return min((kept.opens_at for kept in self._kept), default=None)

    def _end(self, which: Callable[[Kept], Iterable[int]]) -> list[int]:
        """End some of the holds; return their offsets, ascending."""
        ended: set[int] = set()
        for kept in self._kept:
            ended |= kept.offsets.intersection(which(kept))
            kept.offsets -= ended
        self._kept = [kept for kept in self._kept if kept.offsets]
        return sorted(ended)


def place_to_read(wanted: int, log_start: int, log_end: int) -> int:
    """Return where words are read from, if they are wanted from ``wanted`` on.

    Where that is no place of the log any more, from its beginning on: never from its end, before
    which the words may stand.
    """
    return wanted if log_start <= wanted <= log_end else log_start


def _is_over(kept: Kept, now: float, read_to: Mapping[int, int]) -> bool:
    if now >= kept.opens_at + CATCH_UP_SECONDS:
        return True
    reached = read_to.get(kept.holds.words_partition)
    return kept.end is not None and reached is not None and reached >= kept.end
