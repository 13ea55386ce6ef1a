"""What really is, which no member knows: it says what is wrong with what they do.

Each partition is a log of 0, 1, 2, ... that grows with time.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from group_model.network_model import Network
from group_model.processes import World
from kafka_utils.assignors.consumer_protocol import decode_assignment

Partitions = frozenset[TopicPartition]


@dataclass(slots=True)
class Delivered:
    """Records that the application was given."""

    at: float
    member: str
    partition: TopicPartition
    first: int
    behind: int


class Holder:
    """Somebody who may have partitions."""

    name: str
    topics: frozenset[str] | None

    @property
    def member_id(self) -> str:
        raise NotImplementedError

    @property
    def is_member(self) -> bool:
        """Whether it takes itself for a member of the group."""
        return True

    @property
    def held(self) -> Partitions:
        """What it would say that it owns."""
        raise NotImplementedError

    @property
    def open(self) -> Partitions:
        """What it delivers."""
        raise NotImplementedError


class Truth:
    """What really is, which no member knows; says what is wrong with what they do."""

    def __init__(self, world: World, network: Network, topics: Mapping[str, int]) -> None:
        self.world = world
        self.network = network
        self.topics = dict(topics)
        self.records_a_second = 4
        self.holders: list[Holder] = []
        self.delivered: list[Delivered] = []
        self.reached: dict[TopicPartition, int] = {}
        """Behind the last record of each partition that a member of the group has delivered."""
        self.excused: dict[TopicPartition, str] = {}
        """Of what records may be delivered again, and why."""
        self.violations: list[str] = []
        self.disturbed: set[str] = set()
        """Members to which something happened that may cost them their membership."""
        network.stored.append(self._stored)
        network.planned.append(self._planned)

    @property
    def now(self) -> float:
        return self.world.clock.now

    def wrong(self, sentence: str) -> None:
        self.violations.append(f"{self.now:.3f}: {sentence}")

    def partitions(self, topics: Collection[str]) -> Partitions:
        return frozenset(
            TopicPartition(topic, number)
            for topic in topics
            for number in range(self.topics.get(topic, 0))
        )

    def log_end(self) -> int:
        return int(self.now * self.records_a_second)

    def counts(self, holder: Holder) -> bool:
        """Whether the group takes this for one of its members, and not for one that is gone."""
        return self.network.coordinator.counts_on(holder.member_id)

    def delivers(self, member: Holder, here: TopicPartition, first: int, behind: int) -> None:
        """A member hands records over, from the first up to what is behind them."""
        self.delivered.append(Delivered(self.now, member.name, here, first, behind))
        if not member.is_member:
            self.wrong(f"P1: {member.name} delivers {here} and is no member, as it knows")
        if not self.counts(member):
            return
        self.reached[here] = max(self.reached.get(here, 0), behind)
        for other in self.holders:
            if other is not member and here in other.open and self.counts(other):
                self.wrong(f"P1: {here} is delivered by {member.name} and by {other.name}")

    def begins(self, member: Holder, here: TopicPartition, start: int) -> None:
        """A member knows where to read on. Who is out may hear late of what is no longer true."""
        if not self.counts(member):
            return
        reached = self.reached.get(here, 0)
        if start > reached:
            self.wrong(f"P12: {here} was delivered to {reached}, {member.name} begins at {start}")
        for holder in self.holders:
            if holder is not member and here in holder.held and not self.counts(holder):
                self.excuse([here], f"{holder.name} is out")
        if start < reached and here not in self.excused:
            self.wrong(f"P12: {here} was delivered to {reached} and begins again at {start}")

    def excuse(self, partitions: Collection[TopicPartition], why: str) -> None:
        self.excused |= dict.fromkeys(partitions, why)

    def _stored(self, member_id: str, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        for here, kept in offsets.items():
            if kept.offset >= self.reached.get(here, 0):
                self.excused.pop(here, None)
            for holder in self.holders:
                other = holder.member_id != member_id
                if other and here in holder.held and self.counts(holder):
                    self.wrong(f"P10: {member_id} commits {here}, which {holder.name} holds")

    def _planned(self, leader: str, assignments: Mapping[str, bytes]) -> None:
        """A plan is good if nobody is given what somebody else has, whatever was said of that."""
        given: dict[TopicPartition, str] = {}
        for member_id, data in assignments.items():
            for here in decode_assignment(data).partitions:
                if given.setdefault(here, member_id) != member_id:
                    self.wrong(f"P2: {leader} gives {here} to {member_id} and {given[here]}")
        for holder in self.holders:
            for here in holder.held & given.keys():
                if given[here] != holder.member_id and self.counts(holder):
                    self.wrong(
                        f"P2: {leader} gives {here} to {given[here]} while {holder.name} holds it"
                    )

    def watch_commits(self) -> Callable[[], None]:
        """Return a check that no committed offset went back since the last time it was called."""
        before: dict[TopicPartition, int] = {}

        def check() -> None:
            for here, kept in self.network.coordinator.offsets.items():
                if kept.offset < before.get(here, 0):
                    self.wrong(f"P10: {here} goes back from {before[here]} to {kept.offset}")
                before[here] = kept.offset

        return check
