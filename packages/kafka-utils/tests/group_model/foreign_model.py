"""Members that other clients might be, by what they say of themselves: they join, sync and obey."""

import asyncio
import struct
from collections.abc import Mapping
from enum import Enum

from aiokafka.errors import (
    IllegalGenerationError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from group_model.network_model import ModelTransport, Timeouts
from group_model.truth import Holder, Partitions, Truth
from kafka_utils.assignors import registry
from kafka_utils.assignors.consumer_protocol import (
    Assignment,
    Subscription,
    decode_assignment,
    encode_assignment,
    encode_subscription,
)
from kafka_utils.coordinator.leader import subscriptions, topics_of
from kafka_utils.coordinator.messages import NOBODY, Identity, MemberIdGiven

BEAT_SECONDS = 1.0


class Form(Enum):
    """How a member tells what it has."""

    EAGER_V0 = "version 0, and it gives everything back before it joins"
    NO_GENERATION_V1 = "version 1, as kafka-python"
    LIBRDKAFKA_V3 = "version 3, with the eager sticky's user data"
    GARBAGE = "bytes that mean nothing"


class ForeignMember(Holder):
    """A member that is not ours, in a process of its own."""

    def __init__(self, truth: Truth, name: str, form: Form) -> None:
        self.truth = truth
        self.name = name
        self.form = form
        self.topics: frozenset[str] = frozenset({"t"})
        self.owned: Partitions = frozenset()
        self.identity: Identity = NOBODY
        self.ended = False
        self._planned_for: frozenset[str] = frozenset()
        self._planned_with: dict[str, int] = {}
        """What it made the group's plan with, if it is the leader: it watches the topics then."""
        self.process = truth.world.process(name)
        with self.process.inside():
            self.transport = ModelTransport(truth.network, self.process, None, Timeouts())
        truth.holders.append(self)
        self._working = self.process.spawn(self._take_part())

    @property
    def member_id(self) -> str:
        return self.identity.member_id

    @property
    def held(self) -> Partitions:
        return self.owned

    @property
    def open(self) -> Partitions:
        return self.owned

    def stop(self) -> "asyncio.Task[None]":
        return self.process.spawn(self._leave())

    async def _leave(self) -> None:
        self._working.cancel()
        self._give_up(self.owned)
        self.ended = True
        try:
            await self.transport.find()
            await self.transport.leave(self.identity)
        except KafkaError:
            return

    def _give_up(self, partitions: Partitions) -> None:
        # It delivers nothing that is recorded, so what was committed by others is still true.
        self.owned -= partitions

    def _metadata(self) -> bytes:
        generation = self.identity.generation
        match self.form:
            case Form.GARBAGE:
                return b"\x7f garbage"
            case Form.EAGER_V0:
                return encode_subscription(Subscription(tuple(self.topics), version=0))
            case Form.NO_GENERATION_V1:
                told = Subscription(tuple(self.topics), self.owned, version=1, user_data=b"")
            case _:
                told = Subscription(
                    tuple(self.topics),
                    self.owned,
                    generation,
                    user_data=_sticky_user_data(self.owned, generation),
                )
        return encode_subscription(told)

    async def _take_part(self) -> None:
        while True:
            try:
                await self.transport.find()
                if await self._join():
                    await self._beat()
            except UnknownMemberIdError:
                self._give_up(self.owned)
                self.identity = NOBODY
            except IllegalGenerationError:
                self._give_up(self.owned)
                self.identity = Identity(self.identity.member_id)
            except RebalanceInProgressError:
                continue
            except KafkaError as error:
                self.transport.forget(repr(error))
                await asyncio.sleep(0.2)

    async def _join(self) -> bool:
        """Go through the protocol; return whether there is nothing to join again for."""
        if self.form is Form.EAGER_V0:
            self._give_up(self.owned)
        answer = await self.transport.join(
            self.identity.member_id, [("cooperative-sticky", self._metadata())]
        )
        if isinstance(answer, MemberIdGiven):
            self.identity = Identity(answer.member_id)
            return False
        self.identity = answer.identity
        self._planned_with = {}
        plan = self._plan(answer.members) if answer.leader_id == self.member_id else {}
        data = await self.transport.sync(self.identity, plan)
        assigned = decode_assignment(data).partitions
        revoked = self.owned - assigned
        self.owned = assigned
        return not revoked

    def _plan(self, members: Mapping[str, bytes]) -> dict[str, bytes]:
        understood = subscriptions(members)
        self._planned_for = topics_of(understood.values())
        self._planned_with = counts = self._known()
        plan = registry.resolve("cooperative-sticky").plan(counts, understood)
        return {who: encode_assignment(Assignment(what)) for who, what in plan.assignment.items()}

    def _known(self) -> dict[str, int]:
        known = self.truth.topics
        return {topic: known.get(topic, 0) for topic in sorted(self._planned_for)}

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            if self._planned_with not in ({}, self._known()):
                return
            await self.transport.heartbeat(self.identity)


def _sticky_user_data(owned: Partitions, generation: int) -> bytes:
    by_topic: dict[str, list[int]] = {}
    for topic, number in sorted(owned):
        by_topic.setdefault(topic, []).append(number)
    packed = struct.pack(">i", len(by_topic))
    for topic, numbers in by_topic.items():
        name = topic.encode()
        packed += struct.pack(">h", len(name)) + name
        packed += struct.pack(f">i{len(numbers)}i", len(numbers), *numbers)
    return packed + struct.pack(">i", generation)
