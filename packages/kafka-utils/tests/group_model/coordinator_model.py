"""A group's coordinator as Kafka 2.8 has it, without bytes and disks: the classic protocol.

Each request takes a callback for its answer, since answers may come much later, or never. What is
stored in the offsets topic is kept apart, so that another broker can take over from it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import Any, Final, TypeAlias

from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupLoadInProgressError,
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    KafkaError,
    NotCoordinatorForGroupError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata

from kafka_utils.coordinator.messages import Described, Identity, Joined, MemberIdGiven
from kafka_utils.requests import FencedInstanceIdError

NEW_MEMBER_JOIN_SECONDS: Final = 300.0
Protocols: TypeAlias = tuple[tuple[str, bytes], ...]
Answer: TypeAlias = Callable[[Any], object]
"""Takes what is answered: a value, or a KafkaError."""


class State(Enum):
    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"


@dataclass(slots=True)
class Member:
    """One member, as the coordinator knows it."""

    member_id: str
    instance_id: str | None
    session: float
    rebalance: float
    protocols: Protocols
    assignment: bytes = b""
    join_answer: Answer | None = None
    sync_answer: Answer | None = None
    is_new: bool = True
    timer: asyncio.TimerHandle | None = None
    took_part_in: int = -1
    """The last generation that it joined; not Kafka's, for checks."""

    def metadata(self, protocol: str) -> bytes:
        return dict(self.protocols)[protocol]


@dataclass(frozen=True, slots=True)
class Stored:
    """What the offsets topic has of a group."""

    generation: int = 0
    protocol: str | None = None
    leader: str | None = None
    members: tuple[tuple[str, str | None, float, float, bytes, bytes, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Barrier:
    """A generation began; for checks."""

    generation: int
    at: float
    members: frozenset[str]


@dataclass(slots=True)
class Log:
    """What happened, for checks."""

    barriers: list[Barrier] = field(default_factory=list)
    expelled: list[tuple[float, str, str]] = field(default_factory=list)


class Coordinator:
    """The group, at the broker that coordinates it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, initial_delay: float = 0.0) -> None:
        self._loop = loop
        self._initial_delay = initial_delay
        self._ids = count(1)
        self.node = 0
        self.loading = False
        self.offsets: dict[TopicPartition, OffsetAndMetadata] = {}
        self.unstable: set[TopicPartition] = set()
        self.log = Log()
        self.stored = Stored()
        self._clear()

    def _clear(self) -> None:
        self.state = State.EMPTY
        self.generation = 0
        self.protocol: str | None = None
        self.leader: str | None = None
        self.members: dict[str, Member] = {}
        self.pending: dict[str, asyncio.TimerHandle] = {}
        self._pending_sync: set[str] = set()
        self._barrier: asyncio.TimerHandle | None = None
        self._sync_expiry: asyncio.TimerHandle | None = None
        self._held_until = 0.0

    # What members ask for.

    def join(
        self,
        member_id: str,
        instance_id: str | None,
        session: float,
        rebalance: float,
        protocols: Protocols,
        answer: Answer,
    ) -> None:
        """JoinGroup v5."""
        if self.loading:
            answer(GroupLoadInProgressError())
        elif member_id and not self.members and not self.pending and self.state is State.EMPTY:
            answer(UnknownMemberIdError())
        elif not self._supports(protocols):
            answer(InconsistentGroupProtocolError())
        elif not member_id:
            new = Member(self._new_id(instance_id), instance_id, session, rebalance, protocols)
            self._unknown_joins(new, answer)
        elif member_id in self.pending:
            self.pending.pop(member_id).cancel()
            self._add(Member(member_id, None, session, rebalance, protocols), answer)
        else:
            self._known_joins(member_id, instance_id, protocols, answer)
        if self.state is State.PREPARING:
            self._try_barrier()

    def sync(
        self, who: Identity, instance_id: str | None, plan: Mapping[str, bytes], answer: Answer
    ) -> None:
        """SyncGroup v3."""
        refusal = self._refusal(who, instance_id)
        if refusal is not None:
            answer(refusal)
        elif self.state is State.PREPARING:
            answer(RebalanceInProgressError())
        elif self.state is State.STABLE:
            self._synced(who.member_id)
            answer(self.members[who.member_id].assignment)
            self._beat(who.member_id)
        else:
            self.members[who.member_id].sync_answer = answer
            self._synced(who.member_id)
            if who.member_id == self.leader:
                self._take_plan(plan)

    def heartbeat(self, who: Identity, instance_id: str | None, answer: Answer) -> None:
        """Heartbeat v3."""
        if self.loading:
            answer(None)  # Kafka's coordinator answers blindly then.
            return
        refusal = self._refusal(who, instance_id)
        if refusal is not None:
            answer(refusal)
            return
        self._beat(who.member_id)
        answer(RebalanceInProgressError() if self.state is State.PREPARING else None)

    def commit(
        self,
        who: Identity,
        instance_id: str | None,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        answer: Answer,
    ) -> None:
        """OffsetCommit v7. Nobody asks who has the partitions."""
        simple = who.generation < 0 and self.state is State.EMPTY
        refusal = None if simple and not self.loading else self._refusal(who, instance_id)
        if refusal is not None:
            answer(refusal)
        elif self.state is State.COMPLETING:
            answer(RebalanceInProgressError())
        else:
            if not simple:
                self._beat(who.member_id)
            self.offsets.update(offsets)
            answer(None)

    def leave(self, who: Identity, instance_id: str | None, answer: Answer) -> None:
        """LeaveGroup v3, whose errors about members no client looks at."""
        if self.loading:
            answer(GroupLoadInProgressError())
            return
        if who.member_id in self.pending:
            self.pending.pop(who.member_id).cancel()
            if self.state is State.PREPARING:
                self._try_barrier()
        elif who.member_id in self.members and not self._fenced(who, instance_id):
            self._remove(who.member_id, "left")
        answer(None)

    # What befalls the broker.

    def described(self) -> Described | KafkaError:
        """What DescribeGroups says."""
        if self.loading:
            return GroupLoadInProgressError()
        if self.state is not State.STABLE:
            return Described(None, None)
        protocol = self.protocol or ""
        members = {
            who: (each.metadata(protocol), each.assignment) for who, each in self.members.items()
        }
        return Described(protocol, members)

    def unload(self) -> None:
        """Another broker is to coordinate from now on; who waits is told."""
        members = [*self.members.values()]
        for member in members:
            self._cancel(member)
            _answer(member, NotCoordinatorForGroupError())
        for timer in [*self.pending.values(), self._barrier, self._sync_expiry]:
            if timer is not None:
                timer.cancel()
        self._clear()
        self.loading = True

    def load(self) -> None:
        """Go on from what was stored."""
        self.loading = False
        stored = self.stored
        self.generation, self.protocol, self.leader = (
            stored.generation,
            stored.protocol,
            stored.leader,
        )
        for (
            member_id,
            instance_id,
            session,
            rebalance,
            metadata,
            assignment,
            took,
        ) in stored.members:
            protocols = ((stored.protocol or "", metadata),)
            loaded = Member(member_id, instance_id, session, rebalance, protocols, assignment)
            loaded.is_new = False
            loaded.took_part_in = took
            self.members[member_id] = loaded
            self._beat(member_id)
        self.state = State.STABLE if self.members else State.EMPTY

    # Questions of checks.

    def counts_on(self, member_id: str) -> bool:
        """Whether the group takes this for a member that knows of its generation."""
        if self.loading:
            kept = {stored[0]: stored[-1] for stored in self.stored.members}
            return kept.get(member_id) == self.stored.generation
        member = self.members.get(member_id)
        return member is not None and member.took_part_in == self.generation

    def awaits_plan(self, who: Identity) -> bool:
        """Whether this member's SyncGroup will bring the group's plan."""
        leads = self.state is State.COMPLETING and who.member_id == self.leader
        return leads and who.generation == self.generation and not self.loading

    @property
    def awaited(self) -> frozenset[str]:
        return frozenset(m.member_id for m in self.members.values() if m.join_answer is None)

    # Joining.

    def _new_id(self, instance_id: str | None) -> str:
        return f"{instance_id or 'client'}-{next(self._ids):036d}"

    def _supports(self, protocols: Protocols) -> bool:
        if self.state is State.EMPTY and not self.members:
            return bool(protocols)
        votes = Counter(name for member in self.members.values() for name, _ in member.protocols)
        return any(votes[name] == len(self.members) for name, _ in protocols)

    def _static(self, instance_id: str | None) -> Member | None:
        if instance_id is None:
            return None
        return next((m for m in self.members.values() if m.instance_id == instance_id), None)

    def _fenced(self, who: Identity, instance_id: str | None) -> bool:
        static = self._static(instance_id)
        return static is not None and static.member_id != who.member_id

    def _unknown_joins(self, new: Member, answer: Answer) -> None:
        static = self._static(new.instance_id)
        if static is not None:
            self._replace(static, new, answer)
        elif new.instance_id is None:
            expire = self._loop.call_later(new.session, self._pending_expires, new.member_id)
            self.pending[new.member_id] = expire
            answer(MemberIdGiven(new.member_id))
        else:
            self._add(new, answer)

    def _known_joins(
        self, member_id: str, instance_id: str | None, protocols: Protocols, answer: Answer
    ) -> None:
        if self._fenced(Identity(member_id), instance_id):
            answer(FencedInstanceIdError())
            return
        no_such_instance = instance_id is not None and self._static(instance_id) is None
        if member_id not in self.members or no_such_instance or self.state is State.EMPTY:
            answer(UnknownMemberIdError())
            return
        member = self.members[member_id]
        same = member.protocols == protocols
        leads = self.leader == member_id
        if self.state is State.COMPLETING and same:
            answer(self._join_answer(member_id, with_members=leads))
        elif self.state is State.STABLE and same and not leads:
            answer(self._join_answer(member_id, with_members=False))
        else:
            member.protocols = protocols
            member.join_answer = answer
            self._rebalance()

    def _add(self, member: Member, answer: Answer) -> None:
        member.join_answer = answer
        self.members[member.member_id] = member
        if self.leader is None:
            self.leader = member.member_id
        self._expire_in(member, NEW_MEMBER_JOIN_SECONDS)
        self._held_until = self._loop.time() + self._initial_delay
        self._rebalance()

    def _replace(self, old: Member, new: Member, answer: Answer) -> None:
        """A static member came back, or a second one with its instance id came."""
        old_id, leader_named = old.member_id, self.leader
        self._cancel(old)
        _answer(old, FencedInstanceIdError())
        del self.members[old_id]
        old.member_id = new.member_id
        self.members[new.member_id] = old
        if self.leader == old_id:
            self.leader = new.member_id
        old.protocols = new.protocols
        old.join_answer = answer
        self._beat(new.member_id)
        if self.state is State.STABLE and self._selected() == self.protocol:
            self._store()
            old.took_part_in = self.generation
            old.join_answer = None
            answer(
                Joined(
                    identity=Identity(new.member_id, self.generation),
                    leader_id=leader_named or "",
                    protocol=self.protocol or "",
                    members={},
                )
            )
        elif self.state is not State.PREPARING:
            self._rebalance()

    def _join_answer(self, member_id: str, *, with_members: bool) -> Joined:
        protocol = self.protocol or ""
        everybody = {who: each.metadata(protocol) for who, each in self.members.items()}
        return Joined(
            identity=Identity(member_id, self.generation),
            leader_id=self.leader or "",
            protocol=protocol,
            members=everybody if with_members else {},
        )

    def _selected(self) -> str:
        """The protocol with the most votes among those that all members list."""
        lists = [[name for name, _ in member.protocols] for member in self.members.values()]
        candidates = set.intersection(*map(set, lists))
        if not candidates:
            raise AssertionError("the members have no protocol in common")
        votes = Counter(next(n for n in names if n in candidates) for names in lists)
        return votes.most_common(1)[0][0]

    # The rebalance.

    def _rebalance(self) -> None:
        if self.state is State.PREPARING:
            return
        if self.state is State.COMPLETING:
            for member in self.members.values():
                member.assignment = b""
                if member.sync_answer is not None:
                    sync_answer, member.sync_answer = member.sync_answer, None
                    self._beat(member.member_id)
                    sync_answer(RebalanceInProgressError())
        self._stop_sync_expiry()
        if self.state is not State.EMPTY:
            self._held_until = 0.0
        self.state = State.PREPARING
        self._set_barrier()

    def _set_barrier(self) -> None:
        if self._barrier is not None:
            self._barrier.cancel()
        longest = max((member.rebalance for member in self.members.values()), default=0.0)
        self._barrier = self._loop.call_later(longest, self._open_barrier)

    def _try_barrier(self) -> None:
        now = self._loop.time()
        if now < self._held_until:
            self._loop.call_later(self._held_until - now, self._try_barrier)
        elif self.state is State.PREPARING and not self.pending and not self.awaited:
            self._open_barrier()

    def _open_barrier(self) -> None:
        """All have joined, or the time for it is over."""
        if self._barrier is not None:
            self._barrier.cancel()
            self._barrier = None
        for member_id in self.awaited:
            if self.members[member_id].instance_id is None:
                self._forget(member_id, "did not join in time")
        joined = [member for member in self.members.values() if member.join_answer is not None]
        if self.members and not joined:
            self._set_barrier()  # Static members only, none of which came: their sessions decide.
            return
        if self.leader is not None and self.members[self.leader].join_answer is None:
            self.leader = joined[0].member_id
        self.generation += 1
        if not self.members:
            self.state, self.protocol, self.leader = State.EMPTY, None, None
            self._store()
            return
        self.protocol = self._selected()
        self.state = State.COMPLETING
        began = Barrier(self.generation, self._loop.time(), frozenset(self.members))
        self.log.barriers.append(began)
        self._pending_sync = set(self.members)
        longest = max(member.rebalance for member in self.members.values())
        self._sync_expiry = self._loop.call_later(longest, self._sync_expires)
        for member in [*self.members.values()]:
            answer, member.join_answer = member.join_answer, None
            self._beat(member.member_id)
            member.is_new = False
            if answer is not None:
                member.took_part_in = self.generation
                leads = member.member_id == self.leader
                answer(self._join_answer(member.member_id, with_members=leads))

    def _take_plan(self, plan: Mapping[str, bytes]) -> None:
        self.state = State.STABLE
        for member in self.members.values():
            member.assignment = plan.get(member.member_id, b"")
        self._store()
        for member in [*self.members.values()]:
            if member.sync_answer is not None:
                answer, member.sync_answer = member.sync_answer, None
                self._beat(member.member_id)
                answer(member.assignment)

    # The ends of members.

    def _refusal(self, who: Identity, instance_id: str | None) -> KafkaError | None:
        if self.loading:
            return GroupLoadInProgressError()
        if self._fenced(who, instance_id):
            return FencedInstanceIdError()
        if who.member_id not in self.members or self.state is State.EMPTY:
            return UnknownMemberIdError()
        if who.generation != self.generation:
            return IllegalGenerationError()
        return None

    def _beat(self, member_id: str) -> None:
        member = self.members[member_id]
        self._expire_in(member, member.session)

    def _expire_in(self, member: Member, seconds: float) -> None:
        self._cancel(member)
        member.timer = self._loop.call_later(seconds, self._expires, member)

    @staticmethod
    def _cancel(member: Member) -> None:
        if member.timer is not None:
            member.timer.cancel()

    def _expires(self, member: Member) -> None:
        waits = member.join_answer is not None or member.sync_answer is not None
        if self.members.get(member.member_id) is member and (member.is_new or not waits):
            self._remove(member.member_id, "its session is over")

    def _pending_expires(self, member_id: str) -> None:
        self.pending.pop(member_id, None)
        if self.state is State.PREPARING:
            self._try_barrier()

    def _sync_expires(self) -> None:
        """Who joined and did not sync is no member any more (KAFKA-12890)."""
        late = [who for who in self._pending_sync if who in self.members]
        for member_id in late:
            self._forget(member_id, "did not sync in time")
        if late:
            self._rebalance()
            self._try_barrier()

    def _synced(self, member_id: str) -> None:
        self._pending_sync.discard(member_id)
        if not self._pending_sync:
            self._stop_sync_expiry()

    def _stop_sync_expiry(self) -> None:
        if self._sync_expiry is not None:
            self._sync_expiry.cancel()
            self._sync_expiry = None

    def _remove(self, member_id: str, why: str) -> None:
        member = self.members[member_id]
        if member.join_answer is not None:
            answer, member.join_answer = member.join_answer, None
            answer(UnknownMemberIdError())
        self._forget(member_id, why)
        self._rebalance()
        self._try_barrier()

    def _forget(self, member_id: str, why: str) -> None:
        member = self.members.pop(member_id)
        self._cancel(member)
        self.log.expelled.append((self._loop.time(), member_id, why))
        if self.leader == member_id:
            self.leader = next(iter(self.members), None)

    def _store(self) -> None:
        self.stored = Stored(
            self.generation,
            self.protocol,
            self.leader,
            tuple(
                (
                    each.member_id,
                    each.instance_id,
                    each.session,
                    each.rebalance,
                    each.metadata(self.protocol or ""),
                    each.assignment,
                    each.took_part_in,
                )
                for each in self.members.values()
            ),
        )


def _answer(member: Member, error: KafkaError) -> None:
    """Whoever waits for this member's join or sync gets an error."""
    join_answer, member.join_answer = member.join_answer, None
    sync_answer, member.sync_answer = member.sync_answer, None
    for answer in (join_answer, sync_answer):
        if answer is not None:
            answer(error)
