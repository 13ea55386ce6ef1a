"""One group with its members, and what must hold of it at every moment and when it rests."""

from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any

from aiokafka import TopicPartition

from group_model.coordinator_model import State
from group_model.foreign_model import ForeignMember, Form
from group_model.member_model import ModelMember
from group_model.network_model import Network
from group_model.processes import World
from group_model.truth import Holder, Truth
from kafka_utils.coordinator.membership import Phase

STEP_SECONDS = 0.5
REST_SECONDS = 12.0
"""Longer than a request may hang: everybody has heard of what there is by then."""


class Simulation:
    """The group."""

    def __init__(
        self,
        topics: Mapping[str, int] | None = None,
        *,
        seed: int = 0,
        initial_delay: float = 0.0,
    ) -> None:
        self.world = World()
        self.network = Network(self.world, Random(seed), initial_delay=initial_delay)
        self.truth = Truth(self.world, self.network, topics or {"t": 4})
        self._check_commits = self.truth.watch_commits()
        self._names = 0
        self._expelled_seen = 0
        self.events = 0

    @property
    def coordinator(self) -> Any:
        return self.network.coordinator

    @property
    def now(self) -> float:
        return self.world.clock.now

    @property
    def members(self) -> list[ModelMember]:
        return [member for member in self.ever if member.lives]

    @property
    def ever(self) -> list[ModelMember]:
        """Every real member that there has been."""
        return [holder for holder in self.truth.holders if isinstance(holder, ModelMember)]

    @property
    def foreign(self) -> list[ForeignMember]:
        return [o for o in self.truth.holders if isinstance(o, ForeignMember) and not o.ended]

    def start(self, name: str | None = None, **how: Any) -> ModelMember:
        self._names += 1
        return ModelMember(self.truth, name or f"m{self._names}", **how)

    def start_foreign(self, form: Form) -> ForeignMember:
        self._names += 1
        return ForeignMember(self.truth, f"f{self._names}", form)

    def change_topics(self, topics: Mapping[str, int]) -> None:
        """Let there be other topics. Who leads hears of it a little later; nobody else does."""
        self.truth.topics = dict(topics)
        for member in self.members:
            if member.member.leads:
                soon = self.network.random.uniform(0.05, 1.0)
                member.process.call_later(soon, member.metadata.force_metadata_update)

    def move_coordinator(
        self, node: int, without: float = 0.5, lagging: float = 0.0, loading: float = 0.3
    ) -> None:
        """Let another broker coordinate. Who joined there last is not known to it."""
        self.truth.disturbed |= {member.name for member in self.members}
        self.network.move_coordinator(node, without, lagging, loading)

    def run(self, seconds: float) -> None:
        """Let time pass, and check all the while."""
        until = self.now + seconds
        while self.now < until:
            self.world.pass_time(min(STEP_SECONDS, until - self.now))
            self.check()

    def check(self) -> None:
        """What holds at every moment."""
        self._check_commits()
        self._check_ownership()
        self._check_sessions()
        errors = [error for process in self.world.processes for error in process.errors]
        found = self.truth.violations + errors
        assert not found, "\n".join(found)

    def _check_ownership(self) -> None:
        owners: dict[TopicPartition, str] = {}
        for holder in self.truth.holders:
            if self.truth.counts(holder):
                for here in holder.open:
                    if here in owners:
                        self.truth.wrong(f"P1: {owners[here]} and {holder.name} have {here}")
                    owners[here] = holder.name

    def _check_sessions(self) -> None:
        """Nobody whose process ran all the time is expelled, or leaves a ghost behind that is."""
        expelled = self.coordinator.log.expelled
        for _, member_id, why in expelled[self._expelled_seen :]:
            for member in self.members:
                undisturbed = member.name not in self.truth.disturbed
                if why != "left" and undisturbed and member_id in member.ids:
                    self.truth.wrong(f"{member.name} is expelled as {member_id}: {why}")
        self._expelled_seen = len(expelled)

    def ghosts(self) -> set[str]:
        """Members that nobody is."""
        living = {m.member_id for m in self.members} | {f.member_id for f in self.foreign}
        return {*self.coordinator.members, *self.coordinator.pending} - living

    def settled(self) -> bool:
        """Whether everybody has what the newest plan gives him, and nothing is to come."""
        return all(
            member.stable and not member.member.membership.wanted
            for member in self.members
            if member.member.failure is None
        )

    def settle(self, seconds: float = 120.0) -> None:
        """Wait until the group rests, and check what holds then."""
        until = self.now + seconds
        quiet = 0.0
        generation = -1
        while quiet < REST_SECONDS:
            assert self.now < until, f"it does not come to rest: {self.ghosts()}\n{self.portrait()}"
            self.run(1.0)
            calm = self.settled() and self.coordinator.generation == generation
            rests = self.coordinator.state in (State.STABLE, State.EMPTY) and self.network.ready
            calm &= rests and not self.ghosts()
            generation = self.coordinator.generation
            quiet = quiet + 1.0 if calm else 0.0
        self.check_at_rest()

    def check_at_rest(self) -> None:
        """What holds when nothing has happened for a while."""
        truth = self.truth
        working = [member for member in self.members if member.member.failure is None]
        wanted = frozenset[str]()
        readable: list[Holder] = [*working, *self.foreign_readable]
        for holder in readable:
            wanted |= holder.topics or frozenset()
        owners = Counter(here for h in [*working, *self.foreign] for here in h.open)
        missing = truth.partitions(wanted) - owners.keys()
        assert not missing, f"P3: nobody has {sorted(missing)}\n{self.portrait()}"
        for member in working:
            strange = member.open - truth.partitions(member.topics or ())
            assert not strange, f"P3: {member.name} has {strange}"
            assert member.held == member.open
            self._check_progress(member)
        self._check_balance(working)

    def _check_progress(self, member: ModelMember) -> None:
        due = int((self.now - 3 * member.habits.poll_seconds - 0.5) * self.truth.records_a_second)
        committed = int(
            (self.now - 3 * member.habits.commit_seconds - 0.5) * self.truth.records_a_second
        )
        for here in member.open:
            position = member.delivery.places[here].position
            assert position is not None, f"P12: {here} is not read"
            assert position >= due, f"P12: {here} is read to {position} of {due}"
            kept = self.coordinator.offsets.get(here)
            assert kept, f"P12: {here} is never committed"
            assert kept.offset >= committed, f"P12: {here}: {kept.offset} of {committed}"

    def _check_balance(self, working: list[ModelMember]) -> None:
        loads = [len(m.open) for m in working] + [len(f.owned) for f in self.foreign_readable]
        if loads and len({member.topics for member in working}) <= 1 and not self._mixed_topics():
            assert max(loads) - min(loads) <= 1, f"P4: {loads}\n{self.portrait()}"

    @property
    def foreign_readable(self) -> list[ForeignMember]:
        return [foreign for foreign in self.foreign if foreign.form is not Form.GARBAGE]

    def _mixed_topics(self) -> bool:
        return any(
            foreign.topics != member.topics
            for foreign in self.foreign_readable
            for member in self.members
        )

    def portrait(self) -> str:
        """How everything stands, for the reader of a failure."""
        coordinator = self.coordinator
        lines = [
            f"{self.now:.3f}: {coordinator.state} {coordinator.generation} {coordinator.protocol} "
            f"leader {coordinator.leader} awaited {sorted(coordinator.awaited)} "
            f"pending {sorted(coordinator.pending)}"
        ]
        for member in self.ever:
            state = member.member.membership
            lines.append(
                f"  {member.name}: {state} stopped={member.process.stopped} "
                f"killed={member.process.killed} ended={member.ended} "
                f"failure={member.member.failure} own={member.reconciler._own}"
            )
        lines += [f"  {f.name}: {f.form} {f.identity} {sorted(f.owned)}" for f in self.foreign]
        return "\n".join(lines)

    def failed(self) -> list[ModelMember]:
        return [m for m in self.ever if m.member.membership.phase is Phase.FAILED]

    def end(self) -> None:
        self.world.end()
