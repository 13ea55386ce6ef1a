"""What the brokers know: commits, words, whose the partitions are. And what is true, for checks."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import TopicPartition

from app_worker.handover.snapshot import Said
from app_worker.handover.words import read_word
from app_worker.offset_map import OffsetMap, Scope, decode

GROUP: Final = "g"
TOPIC: Final = "t"
SCOPE: Final = Scope("cluster", GROUP)
END: Final = 16
"""The end of every log."""

Key = tuple[TopicPartition, int, int]
"""Of a record in one of its lives: partition, life, offset. An operator's reset begins a life."""


class Violation(AssertionError):  # noqa: N818 - what is asserted does not hold
    """An invariant does not hold."""


@dataclass(slots=True)
class Log:
    """One partition, with the group's commit of it."""

    here: TopicPartition
    offsets: list[int]
    committed: Said
    owner: Any = None
    life: int = 0
    place: bytes = b""

    def __post_init__(self) -> None:
        self.place = SCOPE.place(self.here)

    def read(self, said: Said) -> OffsetMap:
        return decode(said.metadata, self.place, said.offset)


@dataclass(slots=True)
class Words:
    """One partition of the hand-over topic."""

    values: list[bytes] = field(default_factory=list)
    start: int = 0

    @property
    def end(self) -> int:
        return len(self.values)

    def append(self, value: bytes) -> int:
        self.values.append(value)
        return self.end - 1


@dataclass(frozen=True, slots=True)
class Late:
    """A commit whose answer did not come, and which may arrive as long as its generation lasts."""

    generation: int
    log: Log
    said: Said


class Brokers:
    """Everything outside the workers, and the ledger."""

    unchecked: frozenset[str] = frozenset()
    """Invariants that nobody looks at."""

    def __init__(self, logs: list[list[int]], words_partitions: int) -> None:
        self.now = 0.0
        self.logs = {
            TopicPartition(TOPIC, n): Log(TopicPartition(TOPIC, n), offsets, Said(0, ""))
            for n, offsets in enumerate(logs)
        }
        self.words = [Words() for _ in range(words_partitions)]
        self.generation = 0
        self.away = False
        """Whether the coordinator answers nobody."""
        self.late: list[Late] = []
        self.stored: set[Key] = set()
        self.starts: Counter[Key] = Counter()
        self.excused: dict[Key, str] = {}
        """Records that may be delivered again, and why."""
        self.trace: list[str] = []

    def tell(self, what: str) -> None:
        self.trace.append(f"{self.now:7.1f} {what}")

    def fail(self, invariant: str, why: str) -> None:
        if invariant in self.unchecked:
            return
        raise Violation(f"{invariant}: {why}\n" + "\n".join(self.trace))

    def excuse(self, key: Key, why: str) -> None:
        self.excused.setdefault(key, why)

    def excuse_held(self, here: TopicPartition, offset: int, why: str) -> None:
        """What is held and was not told of may be delivered again, in whatever life."""
        for life in range(self.logs[here].life + 1):
            self.excuse((here, life, offset), why)

    # Records.

    def begin(self, key: Key, who: str) -> None:
        """The first byte of a record's request leaves."""
        self.starts[key] += 1
        self.tell(f"{who} begins {_of(key)}")
        if self.starts[key] > 1 and key not in self.excused:
            self.fail("I3", f"{_of(key)} is begun a second time, by {who}")

    def store(self, key: Key, who: str) -> None:
        """Every delivery of a record has a stored outcome."""
        self.stored.add(key)
        self.tell(f"{who} stores {_of(key)}")

    # Commits.

    def check_commit(self, log: Log, said: Said) -> OffsetMap:
        """I1 and I2, of a commit that is sent."""
        offset_map = log.read(said)
        for offset in log.offsets:
            complete = offset < said.offset
            done = any(first <= offset < end for first, end in offset_map.done)
            if (complete or done) and (log.here, log.life, offset) not in self.stored:
                which = "I1" if complete else "I2"
                self.fail(which, f"a commit of {said.offset} says that {offset} is complete")
        return offset_map

    def apply(self, log: Log, said: Said) -> None:
        log.committed = said
        self.tell(f"{log.here.partition} is committed: {said.offset}")

    def arrive(self, late: Late) -> None:
        self.late.remove(late)
        if late.generation == self.generation:
            self.apply(late.log, late.said)

    def settle_late(self, *, arrives: bool) -> None:
        """Commits without an answer arrive now, or never will."""
        for late in list(self.late):
            if arrives:
                self.arrive(late)
        self.late.clear()

    def bump(self) -> None:
        """A generation is over, and what was sent in it is refused."""
        self.generation += 1
        self.late.clear()

    def reset(self, log: Log, offset: int) -> None:
        """An operator sets the group's offset by hand; nobody is in the group."""
        self.bump()
        for each in log.offsets:
            if each < offset:
                self.stored.add((log.here, log.life + 1, each))
        log.life += 1
        log.committed = Said(offset, "")
        self.tell(f"reset of {log.here.partition} to {offset}")

    def excuse_unsaid(self, log: Log, begun: set[int], held_by_others: set[int], why: str) -> None:
        """A worker loses a partition that it has not released: what the commit does not say of it
        may be delivered again."""
        said = log.read(log.committed)
        for offset in begun:
            known = offset < log.committed.offset or any(a <= offset < b for a, b in said.done)
            if not known and offset not in held_by_others:
                self.excuse((log.here, log.life, offset), why)

    # Words.

    def forget_words(self, number: int) -> None:
        """Retention deletes what stands there."""
        words = self.words[number]
        for value in words.values[words.start :]:
            for partition, offset in read_word(value).settled:
                self.excuse_held(TopicPartition(TOPIC, partition), offset, "its word was deleted")
        words.start = words.end
        self.tell(f"words of {number} are deleted below {words.end}")


def _of(key: Key) -> str:
    here, life, offset = key
    return f"{here.partition}/{offset}" + (f" (life {life})" if life else "")
