"""What a former owner still owes: deliveries in flight of the partitions that it gave up."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from aiokafka import TopicPartition

from app_worker.handover.timing import held_until, seconds_left, send_by, settle_by
from app_worker.handover.words import MOST_SETTLED, Kind, Word
from app_worker.holds import Holds


class Obligation(Enum):
    """What became of a record that was in flight when its partition was given up."""

    RUNNING = "not every delivery of it has a stored outcome"
    STORED = "every delivery has"
    WORDED = "and that was told"
    GIVEN_UP = "its time was over before it was told: whoever owns it now delivers it"


@dataclass(slots=True)
class Owed:
    """The obligations on one partition; all of them end by one moment."""

    until: float
    obligations: dict[int, Obligation] = field(default_factory=dict)

    def those(self, state: Obligation) -> tuple[int, ...]:
        """The offsets of those in this state, ascending."""
        return tuple(sorted(n for n, now in self.obligations.items() if now is state))


class Release:
    """One release of some partitions, from its freeze until nothing is owed any more.

    It knows nothing of assignments: whatever is revoked, lost or assigned later leaves it as it is.
    """

    def __init__(self, group: str, nonce: int, words_partition: int, words_from: int) -> None:
        """``nonce`` is of this release alone: an earlier one may have told of the same offsets.

        ``words_from`` is the offset that was acknowledged for the word that opened it.
        """
        self.group = group
        self.nonce = nonce
        self.words_partition = words_partition
        self.words_from = words_from
        self._owed: dict[TopicPartition, Owed] = {}

    def freeze(self, partition: TopicPartition, running: Mapping[int, float], now: float) -> None:
        """Nothing more is begun on it. ``running`` is what is in flight there: how many seconds
        its handler still has at most, by offset."""
        until = held_until(now, max(running.values(), default=0.0))
        self._owed[partition] = Owed(until, dict.fromkeys(running, Obligation.RUNNING))

    def holds(self, partition: TopicPartition, now: float) -> tuple[Holds, ...]:
        """What a commit that is sent now says of it: one, or none if nothing is in flight.

        The time counts from the freeze, whenever it is sent: what was sent first may be what the
        next owner reads.
        """
        owed = self._owed[partition]
        running = owed.those(Obligation.RUNNING)
        if not running:
            return ()
        left = seconds_left(owed.until, now)
        return (Holds(self.nonce, self.words_partition, self.words_from, left, running),)

    def may_send(self, partition: TopicPartition, now: float) -> bool:
        """Whether a request about a record of it may be begun. To be asked right before it is."""
        return now < send_by(self._owed[partition].until)

    def stored(self, partition: TopicPartition, offset: int, now: float) -> None:
        """Every delivery of the record has a stored outcome."""
        owed = self._owed[partition]
        if owed.obligations[offset] is Obligation.RUNNING:
            in_time = now < settle_by(owed.until)
            owed.obligations[offset] = Obligation.STORED if in_time else Obligation.GIVEN_UP

    def words(self, now: float) -> Iterator[Word]:
        """The words to be written now, in the words' partition; each again until it is told."""
        due: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for partition, owed in self._owed.items():
            if now < settle_by(owed.until):
                pairs = [(partition.partition, offset) for offset in _told_of(owed)]
                due[partition.topic] += pairs
        for topic, pairs in due.items():
            for first in range(0, len(pairs), MOST_SETTLED):
                settled = tuple(pairs[first : first + MOST_SETTLED])
                yield Word(Kind.SETTLED, self.group, self.nonce, topic, settled)

    def told(self, word: Word) -> None:
        """The brokers have the word."""
        for number, offset in word.settled:
            obligations = self._owed[TopicPartition(word.topic, number)].obligations
            if obligations[offset] is Obligation.STORED:
                obligations[offset] = Obligation.WORDED

    def give_up(self, now: float) -> list[tuple[TopicPartition, int]]:
        """Give up what is over its time; return what of it is in flight, to be cancelled now."""
        cancelled = []
        for partition, owed in self._owed.items():
            if now < settle_by(owed.until):
                continue
            for offset, state in owed.obligations.items():
                if state is Obligation.RUNNING:
                    cancelled.append((partition, offset))
                if state in (Obligation.RUNNING, Obligation.STORED):
                    owed.obligations[offset] = Obligation.GIVEN_UP
        return cancelled

    def state(self, partition: TopicPartition, offset: int) -> Obligation:
        """What became of a record. Raises KeyError if it was not in flight at the freeze."""
        return self._owed[partition].obligations[offset]

    @property
    def open(self) -> int:
        """Obligations that keep the process from ending."""
        return sum(
            state in (Obligation.RUNNING, Obligation.STORED)
            for owed in self._owed.values()
            for state in owed.obligations.values()
        )

    @property
    def next_deadline(self) -> float | None:
        """When ``give_up`` is to be called next; None if nothing is owed any more."""
        return min(
            (
                settle_by(owed.until)
                for owed in self._owed.values()
                if owed.those(Obligation.RUNNING) or owed.those(Obligation.STORED)
            ),
            default=None,
        )


def _told_of(owed: Owed) -> tuple[int, ...]:
    """What may be told of: never what is merely about to be stored."""
    return owed.those(Obligation.STORED)
