"""Real members on a model of everything around them, which checks what they promise as they go.

Each partition is a log of 0, 1, 2, ... that grows with time. A member delivers from where the group
has committed on, as long as the partition is open; the application commits what was delivered.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, KafkaError, KafkaTimeoutError
from aiokafka.structs import OffsetAndMetadata

from group_model.metadata_model import ModelMetadata
from group_model.network_model import ModelTransport, Timeouts
from group_model.truth import Holder, Partitions, Truth
from kafka_utils.assignors import registry
from kafka_utils.assignors.consumer_protocol import decode_subscription
from kafka_utils.coordinator.deadlines import Pulse
from kafka_utils.coordinator.member import GroupMember, MemberSettings
from kafka_utils.coordinator.membership import Phase, Reason
from kafka_utils.coordinator.messages import Identity, Joined, MemberIdGiven
from kafka_utils.coordinator.positions import Positions
from kafka_utils.coordinator.reconciler import CANCEL_SECONDS, Reconciler
from kafka_utils.coordinator.watched_topics import WatchedTopics
from kafka_utils.events import (
    Commit,
    ConsumerEvents,
    Eviction,
    Loss,
    Rebalance,
    Revocation,
)

HEARTBEAT_SECONDS = 3.0
REVOKE_SECONDS = 10.0
MARGIN = 1e-3


@dataclass(slots=True, eq=False)
class _Place:
    """A partition as the member reads it: one object from its assignment to its end."""

    position: int | None = None
    opened: bool = False
    frozen: bool = False
    revoked: bool = False
    """Whether the revoke callback for it has ended, or has had its time."""


class ModelDelivery:
    """Reads the logs. It is a ``reconciler.Delivery``."""

    def __init__(self, member: "ModelMember") -> None:
        self.member = member
        self.places: dict[TopicPartition, _Place] = {}

    @property
    def open_now(self) -> Partitions:
        return frozenset(h for h, p in self.places.items() if p.opened and not p.frozen)

    def add(self, partitions: Partitions) -> None:
        for here in partitions:
            if here in self.places:
                self.member.wrong(f"P11: {here} is added and was there")
            self.places[here] = _Place()
        if partitions:
            self.member.positions.look_up(partitions)

    def open(self, partitions: Partitions) -> None:
        for here in partitions:
            place = self.places[here]
            if here in self.member.kept:
                self.member.kept.remove(here)
                place.frozen = False
            elif place.opened or place.frozen:
                self.member.wrong(f"P11: {here} is opened a second time")
            place.opened = True

    def freeze(self, partitions: Partitions) -> None:
        gives_up_all = self.member.leaving or not self.member.cooperative
        for here in frozenset() if gives_up_all else partitions & self.member.planned:
            if here in self.member.reconciler.held:
                self.member.wrong(f"P11: {here} is retained and was frozen")
        for here in partitions:
            self.places[here].frozen = True

    def remove(self, partitions: Partitions) -> None:
        for here in partitions:
            place = self.places.pop(here)
            lost = here not in self.member.reconciler.held
            if not lost and not (place.frozen and place.revoked):
                self.member.wrong(f"order: {here} is removed before its revoke callback")

    # What Positions asks for.

    def needs_place(self, here: TopicPartition) -> bool:
        return here in self.places and self.places[here].position is None

    def place(self, found: Mapping[TopicPartition, OffsetAndMetadata | KafkaError | None]) -> None:
        for here, kept in found.items():
            if isinstance(kept, KafkaError):
                self.member.wrong(f"{here} cannot be read: {kept!r}")
            elif self.needs_place(here):
                start = kept.offset if kept else 0
                self.member.truth.begins(self.member, here, start)
                self.places[here].position = start


class _Listener(ConsumerRebalanceListener):
    """The application's callbacks."""

    def __init__(self, member: "ModelMember") -> None:
        self.member = member
        self._giving_up: set[TopicPartition] = set()
        """What ``on_partitions_revoked`` is to give up; less, when some of it is kept."""

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        if assigned & self.member.open:
            self.member.wrong(f"order: {assigned} are delivered before they are announced")
        await asyncio.sleep(self.member.assign_seconds)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        member = self.member
        if not revoked:
            return
        member.log.append(("revoked", frozenset(revoked)))
        member.revoking |= revoked
        self._giving_up = revoked
        if revoked & member.open:
            member.wrong(f"order: {revoked & member.open} are revoked and still delivered")
        timer = asyncio.get_running_loop().call_later(
            member.revoke_seconds - MARGIN, self._ended, revoked
        )
        done = False
        try:
            await member.commit(revoked)
            await asyncio.sleep(member.drain_seconds)
            if member.revoke_raises:
                raise RuntimeError("the callback fails")
            await member.commit(revoked)
            done = True
        finally:
            timer.cancel()
            self._ended(revoked)
            if not done:
                member.truth.excuse(revoked, f"the revoke callback of {member.name} failed")

    def on_partitions_kept(self, kept: set[TopicPartition]) -> set[TopicPartition]:
        member = self.member
        if not kept <= member.revoking:
            member.wrong(f"order: {kept - member.revoking} are kept and not being revoked")
        if not member.keeps:
            return set()
        member.log.append(("kept", frozenset(kept)))
        member.kept |= kept
        member.revoking -= kept
        self._giving_up -= kept
        return kept

    async def on_partitions_lost(self, lost: set[TopicPartition]) -> None:
        member = self.member
        member.log.append(("lost", frozenset(lost)))
        theirs = {here for here in lost if here not in member.held}
        if theirs:
            try:
                await member.member.commits.commit(dict.fromkeys(theirs, OffsetAndMetadata(0, "")))
            except CommitFailedError:
                return
            member.wrong(f"{theirs} are lost and could be committed")

    def _ended(self, revoked: set[TopicPartition]) -> None:
        self.member.revoking -= revoked
        for here in revoked:
            if here in self.member.delivery.places:
                self.member.delivery.places[here].revoked = True


class _Events(ConsumerEvents):
    def __init__(self, member: "ModelMember") -> None:
        self.member = member

    def rebalanced(self, rebalance: Rebalance) -> None:
        self.member.rebalances.append(rebalance)
        self.member.planned = rebalance.owned_after

    def revoked(self, revocation: Revocation) -> None:
        self.member.revocations.append(revocation)
        self.member.log.append(("released", revocation.partitions))

    def lost(self, loss: Loss) -> None:
        self.member.losses.append(loss)
        known = self.member.truth.network.coordinator.counts_on(self.member.transport.known_as)
        if known and self.member.name not in self.member.truth.disturbed:
            self.member.wrong(f"all is lost though the group counts on it: {loss.reason}")
        self.member.planned = frozenset()
        self.member.truth.excuse(loss.partitions, f"{self.member.name} lost it: {loss.reason}")

    def committed(self, commit: Commit) -> None:
        self.member.commits.append(commit)

    def evicted(self, eviction: Eviction) -> None:
        self.member.evictions.append(eviction)


class _Transport(ModelTransport):
    """Checks what the member says while it says it."""

    member: "ModelMember"
    known_as: str = ""
    last_sign: float = 0.0
    """When the coordinator last had a reason to take the member for alive."""
    troubled: bool = False
    """Whether something else than the member kept a heartbeat from coming."""

    async def find(self) -> None:
        if self.network.told_node is None or self.network.node != self._node:
            self.troubled = True
        await super().find()

    async def join(
        self, member_id: str, protocols: Collection[tuple[str, bytes]]
    ) -> Joined | MemberIdGiven:
        member = self.member
        member.log.append(("join", member.held))
        for name, metadata in protocols:
            claims = decode_subscription(metadata).owned
            if claims != (member.held if member.cooperative else frozenset()):
                member.wrong(f"order: {name} claims {claims} and holds {member.held}")
        if not member.cooperative and member.delivery.places:
            member.wrong(f"an eager member joins with {member.delivery.places}")
        try:
            answer = await super().join(member_id, protocols)
        finally:
            self._sign()
        if isinstance(answer, Joined):
            self.known_as = answer.identity.member_id
            self.member.ids.add(self.known_as)
        return answer

    async def heartbeat(self, identity: Identity) -> None:
        gap = self.member.process.time() - self.last_sign
        find_and_answer = 4 * self.network.slowest
        if gap > HEARTBEAT_SECONDS + find_and_answer + 0.2 and not self.troubled:
            self.member.wrong(f"heartbeats paused for {gap:.3f} s")
        self.troubled = "heartbeat" in self.faults
        self._sign()
        self.member.beats.append(self.last_sign)
        try:
            await super().heartbeat(identity)
        except KafkaError as error:
            self.troubled |= error.retriable
            raise
        finally:
            self._sign()

    async def sync(self, identity: Identity, assignments: Mapping[str, bytes]) -> bytes:
        try:
            return await super().sync(identity, assignments)
        finally:
            self._sign()

    def _sign(self) -> None:
        self.last_sign = self.member.process.time()


@dataclass(slots=True)
class Habits:
    """How the application around a member behaves."""

    poll_seconds: float = 0.25
    commit_seconds: float = 1.0


class ModelMember(Holder):
    """One real member in a process of its own."""

    def __init__(
        self,
        truth: Truth,
        name: str,
        *,
        topics: Collection[str] = ("t",),
        assignors: Collection[str] = ("cooperative-sticky",),
        instance_id: str | None = None,
        timeouts: Timeouts | None = None,
        habits: Habits | None = None,
        revoke_seconds: float = REVOKE_SECONDS,
    ) -> None:
        self.truth = truth
        self.name = name
        self.topics: frozenset[str] | None = frozenset(topics)
        self.instance_id = instance_id
        self.habits = habits or Habits()
        self.drain_seconds = self.assign_seconds = 0.0
        self.revoke_seconds = revoke_seconds
        self.revoke_raises = False
        self.keeps = False
        """Whether it can take a revoke back."""
        self.kept: set[TopicPartition] = set()
        """Those whose revoke was just taken back, and that are not yet delivered again."""
        self.planned: Partitions = frozenset()
        self.revoking: set[TopicPartition] = set()
        self.log: list[tuple[str, Partitions]] = []
        self.rebalances: list[Rebalance] = []
        self.revocations: list[Revocation] = []
        self.losses: list[Loss] = []
        self.commits: list[Commit] = []
        self.commit_errors: list[KafkaError] = []
        self.evictions: list[Eviction] = []
        self.beats: list[float] = []
        self.ids: set[str] = set()
        """Every member id that it has had."""
        self.leaving = self.ended = False
        times = timeouts or Timeouts()
        self.process = truth.world.process(name)
        with self.process.inside():
            self._build(times, [registry.resolve(each) for each in assignors])
        truth.holders.append(self)
        self._working = [self.process.spawn(self.member.run())]
        self._working += [self.process.spawn(work) for work in (self._poll(), self._commit())]

    def _build(self, times: Timeouts, assignors: list[Any]) -> None:
        events = _Events(self)
        self.transport = _Transport(self.truth.network, self.process, self.instance_id, times)
        self.transport.member = self
        self.cooperative = all(each.cooperative for each in assignors)
        self.delivery = ModelDelivery(self)
        self.positions = Positions(self.transport, cast(Any, self.delivery), events)
        listener = _Listener(self)
        self.reconciler = Reconciler(
            self.delivery,
            lambda: listener,
            self.revoke_seconds,
            events,
            self._released,
        )
        self.metadata = ModelMetadata(self.truth, self.process, self.topics or ())
        by_name: Any = SimpleNamespace(by_pattern=False)
        self.watched = WatchedTopics(
            cast(Any, self.metadata), by_name, self._topics_changed, lambda: self.member.leads
        )
        self.metadata.heard = cast(Any, self.watched.look)
        self.member = GroupMember(
            MemberSettings(
                group_id="g",
                group_instance_id=self.instance_id,
                rack=None,
                pulse=Pulse(
                    interval=HEARTBEAT_SECONDS,
                    session=times.session,
                    near=self.revoke_seconds + CANCEL_SECONDS,
                ),
                request_seconds=times.request,
                max_poll_seconds=600.0,
            ),
            self.transport,
            self.reconciler,
            assignors,
            self.watched,
            lambda: self.topics,
            lambda: 0.0,
            events,
        )

    def _released(self) -> None:
        self.member.released()

    def _topics_changed(self) -> None:
        if self.member.leads:
            self.member.want(Reason.METADATA)

    # As others see it.

    @property
    def member_id(self) -> str:
        return self.member.membership.identity.member_id

    @property
    def held(self) -> Partitions:
        return frozenset(self.delivery.places) if not self.process.killed else frozenset()

    @property
    def open(self) -> Partitions:
        return self.delivery.open_now if not self.process.killed else frozenset()

    @property
    def is_member(self) -> bool:
        return self.member.membership.is_member

    @property
    def lives(self) -> bool:
        return not self.process.killed and not self.ended

    @property
    def stable(self) -> bool:
        return self.member.membership.phase is Phase.STABLE and self.reconciler.settled

    def wrong(self, sentence: str) -> None:
        if not self.process.killed:
            self.truth.wrong(f"{self.name}: {sentence}")

    # What the application does.

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self.habits.poll_seconds)
            self.poll()

    def poll(self) -> None:
        """Hand over what there is, as a consumer's ``getmany`` does."""
        self.member.look()
        end = self.truth.log_end()
        for here in sorted(self.open):
            place = self.delivery.places[here]
            if place.position is not None and place.position < end:
                self.truth.delivers(self, here, place.position, end)
                place.position = end

    async def _commit(self) -> None:
        while True:
            await asyncio.sleep(self.habits.commit_seconds)
            try:
                await self.commit(self.open)
            except (CommitFailedError, KafkaTimeoutError) as error:
                self.commit_errors.append(error)

    async def commit(self, partitions: Collection[TopicPartition]) -> None:
        """Commit what was delivered of these."""
        offsets = {
            here: OffsetAndMetadata(place.position, "")
            for here in partitions
            if (place := self.delivery.places.get(here)) and place.position
        }
        if offsets:
            await self.member.commits.commit(offsets)

    def subscribe(self, topics: Collection[str]) -> None:
        self.topics = frozenset(topics)
        with self.process.inside():
            self.member.want(Reason.SUBSCRIPTION)

    # What befalls it.

    async def leaves(self, *, relinquish: bool) -> None:
        """Stop in order."""
        self.leaving = True
        await (self.member.relinquish() if relinquish else self.member.leave())
        self.positions.close()
        self.watched.close()
        await self.reconciler.close()
        for task in self._working:
            task.cancel()
        self.ended = True

    async def unsubscribes(self) -> None:
        """Leave the group until something is subscribed again."""
        self.leaving = True
        await self.member.part()
        self.topics = None
        self.leaving = False

    def stop(self, *, relinquish: bool) -> "asyncio.Task[None]":
        return self.process.spawn(self.leaves(relinquish=relinquish))

    def crash(self) -> None:
        """It is gone in the middle of whatever it did."""
        self.truth.excuse(self.held, f"{self.name} crashed")
        self.process.killed = True
        self.transport.vanish()

    def freeze(self) -> None:
        """It does not run for a while, and does not know (SIGSTOP)."""
        self.truth.disturbed.add(self.name)
        self.process.stopped = True

    def cut_off(self, *, silent: bool) -> None:
        """Its words do not come through any more, or do again."""
        self.truth.disturbed.add(self.name)
        self.transport.troubled = True
        self.transport.silent = silent

    def thaw(self) -> None:
        self.transport.troubled = True
        self.process.stopped = False
