"""What a worker of the model keeps of one assignment of a partition, and of what is in flight."""

from dataclasses import dataclass, field
from enum import Enum

from aiokafka import TopicPartition

from app_worker.handover.inherited import Inherited
from app_worker.handover.release import Release
from app_worker.handover.standing import Standing, Step
from app_worker.handover.timing import CATCH_UP_SECONDS
from app_worker.offset_map import OffsetMap
from app_worker.offset_tracker import OffsetTracker
from handover_model.brokers_model import END, GROUP, Key, Log


class Phase(Enum):
    RUNNING = "no answer yet"
    ANSWERED = "its last outcome is being stored"


@dataclass(slots=True, eq=False)
class Attempt:
    """A record in flight."""

    key: Key
    lane: "Lane"
    deadline: float
    phase: Phase = Phase.RUNNING
    since: float = 0.0
    release: Release | None = None
    send_by: float = float("inf")
    """When an ex-owner's last request may begin; reckoned here, for a check."""

    @property
    def here(self) -> TopicPartition:
        return self.key[0]

    @property
    def offset(self) -> int:
        return self.key[2]


@dataclass(frozen=True, slots=True)
class Held:
    """What a hold was when it was loaded, reckoned here, for checks."""

    whose: tuple[int, int, int]
    """Its nonce, and where its words stand."""
    over_by: float


class Lane:
    """One assignment of one partition."""

    def __init__(self, log: Log, *, ignores_maps: bool) -> None:
        self.log = log
        self.life = log.life
        self.standing = Standing.LOADING
        self.ignores_maps = ignores_maps
        self.offsets: list[int] = []
        self.tracker = OffsetTracker(log.committed.offset)
        self.complete: set[int] = set()
        self.inherited = Inherited(GROUP, log.here, (), 0.0)
        self.ledger: dict[int, Held] = {}
        self.read_to: dict[int, int] = {}
        self.stopped = False
        self.committed: tuple[int, int] | None = None
        """How much was complete, and how much held, at the last commit."""
        self.loaded = False
        self.began: set[int] = set()

    @property
    def here(self) -> TopicPartition:
        return self.log.here

    def key(self, offset: int) -> Key:
        return (self.here, self.life, offset)

    def fetch(self) -> None:
        """Everything from the committed offset on is delivered."""
        self.offsets = [n for n in self.log.offsets if n >= self.log.committed.offset]
        for offset in self.offsets:
            self.tracker.open(offset)
        self.tracker.advance_to(END)

    def hold(self, found: OffsetMap, now: float, asked_at: float) -> None:
        """What the commit said of it is known."""
        for offset in self.offsets:
            if any(first <= offset < end for first, end in found.done):
                self.end(offset)
        self.inherited = Inherited(GROUP, self.here, found.holds, asked_at)
        self.inherited.pass_gone(END, self.offsets)
        for holds in found.holds:
            whose = (holds.nonce, holds.words_partition, holds.words_from)
            for offset in set(holds.offsets).intersection(self.offsets):
                self.ledger[offset] = Held(whose, now + holds.seconds + CATCH_UP_SECONDS)

    def end(self, offset: int) -> None:
        """The record is complete."""
        if offset in self.offsets and offset not in self.complete:
            self.complete.add(offset)
            self.tracker.complete(offset)


@dataclass(slots=True)
class Giving:
    """Partitions that are being given up."""

    lanes: list[Lane]
    started: float
    step: Step | None = None
    """None while the word that opens the release is to be written."""
    release: Release | None = None
    draining: bool = False
    """Whether everything in flight is finished first, and nothing handed over."""
    sent: set[tuple[TopicPartition, int, str]] = field(default_factory=set)
