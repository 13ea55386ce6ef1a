"""The model of a coordinator and real brokers are asked the same, and answer the same."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from random import Random
from typing import Any, Protocol, TypeAlias

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
    RebalanceInProgressError,
)
from aiokafka.structs import OffsetAndMetadata
from group_model.network_model import ModelTransport, Network, Timeouts
from group_model.processes import World

from kafka_utils import Admin, TopicSpec
from kafka_utils.coordinator.messages import Described, Identity, Joined, MemberIdGiven, Transport
from kafka_utils.coordinator.transport import BrokerTransport, Member
from kafka_utils.events import ConsumerEvents

NewTransport: TypeAlias = Callable[[str | None], Awaitable[Transport]]
Protocols: TypeAlias = Collection[tuple[str, bytes]]
SESSION_MS, REBALANCE_MS, REQUEST_MS = 10_000, 20_000, 10_000
UNSETTLED = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
A: Protocols = [("a", b"1")]
OTHER_A: Protocols = [("a", b"2")]


class Brokers(Protocol):
    @property
    def bootstrap_servers(self) -> str: ...


class Dialogue:
    """Asks a coordinator through any transport, and notes what it says, with names for ids."""

    def __init__(self, new: NewTransport, here: TopicPartition) -> None:
        self.new = new
        self.here = here
        self.notes: list[str] = []
        self._names: dict[str, str] = {}

    def name(self, member_id: str) -> str:
        return self._names.setdefault(member_id, f"member {len(self._names)}")

    def note(self, what: str, answer: Any) -> None:
        match answer:
            case KafkaError():
                said = type(answer).__name__
            case MemberIdGiven(member_id):
                said = f"given {self.name(member_id)}"
            case Joined(identity, leader_id, protocol, members):
                everybody = sorted((self.name(who), data) for who, data in members.items())
                who = self.name(identity.member_id)
                said = f"{who} {identity.generation} {self.name(leader_id)} {protocol} {everybody}"
            case Described(protocol, members):
                each = sorted((self.name(who), *told) for who, told in (members or {}).items())
                said = f"{protocol} {members is not None} {each}"
            case _:
                said = repr(answer)
        self.notes.append(f"{what}: {said}")

    async def ask(self, what: str, asked: Awaitable[Any]) -> Any:
        """Note the answer, or the error, and return it."""
        try:
            answer = await asked
        except KafkaError as error:
            answer = error
        self.note(what, answer)
        return answer

    async def given(self, transport: Transport, protocols: Protocols = A) -> str:
        answer = await self.ask("first join", transport.join("", protocols))
        assert isinstance(answer, MemberIdGiven)
        return answer.member_id

    async def join(self, transport: Transport, who: str, protocols: Protocols = A) -> Identity:
        answer = await self.ask("join", transport.join(who, protocols))
        assert isinstance(answer, Joined), answer
        return answer.identity

    async def every_request(self, what: str, transport: Transport, who: Identity) -> None:
        """What a member is answered to all but a join."""
        await self.ask(f"{what}, heartbeat", transport.heartbeat(who))
        await self.ask(f"{what}, commit", self.commit(transport, who))
        await self.ask(f"{what}, sync", transport.sync(who, {}))

    async def commit(self, transport: Transport, who: Identity) -> None:
        await transport.commit(who, {self.here: OffsetAndMetadata(who.generation + 1, "")})

    async def committed(self, transport: Transport) -> None:
        kept = await transport.committed([self.here])
        self.note("committed", kept[self.here])

    async def until_it_rebalances(self, transport: Transport, who: Identity) -> None:
        """Wait until a join of somebody else has arrived."""
        for _ in range(500):
            try:
                await transport.heartbeat(who)
            except RebalanceInProgressError:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it does not rebalance")

    async def pair(
        self, instance_id: str | None = None
    ) -> tuple[Transport, Identity, Transport, Identity]:
        """A stable group of a leader and a follower, which may be static."""
        first, second = await self.new(None), await self.new(instance_id)
        leads = await self.join(first, await self.given(first))
        self.note("sync", await first.sync(leads, {leads.member_id: b"all"}))
        follows_id = "" if instance_id else await self.given(second)
        joining = asyncio.create_task(second.join(follows_id, A))
        await self.until_it_rebalances(first, leads)
        leads = await self.join(first, leads.member_id)
        joined = await self.ask("follower", joining)
        plan = {leads.member_id: b"one", joined.identity.member_id: b"two"}
        syncing = asyncio.create_task(second.sync(joined.identity, {}))
        self.note("sync", await first.sync(leads, plan))
        self.note("sync", await syncing)
        return first, leads, second, joined.identity


Script: TypeAlias = Callable[[Dialogue], Coroutine[Any, Any, None]]


async def a_life(talk: Dialogue) -> None:
    one = await talk.new(None)
    await talk.committed(one)
    await talk.ask("commit of nobody", talk.commit(one, Identity()))
    who = await talk.join(one, await talk.given(one))
    await talk.ask("sync", one.sync(who, {who.member_id: b"plan"}))
    await talk.every_request("stable", one, who)
    await talk.committed(one)
    await talk.ask("described", one.describe())
    await talk.ask("leave", one.leave(who))
    await talk.every_request("left", one, who)
    await talk.ask("join again", one.join(who.member_id, A))


async def a_second_member(talk: Dialogue) -> None:
    first, second = await talk.new(None), await talk.new(None)
    leads = await talk.join(first, await talk.given(first))
    await talk.ask("sync", first.sync(leads, {leads.member_id: b"all"}))
    second_id = await talk.given(second)
    joining = asyncio.create_task(second.join(second_id, A))
    await talk.until_it_rebalances(first, leads)
    await talk.every_request("preparing", first, leads)
    await talk.committed(first)
    leads = await talk.join(first, leads.member_id)
    joined = await talk.ask("second", joining)
    await talk.ask("completing, heartbeat", first.heartbeat(leads))
    await talk.ask("completing, commit", talk.commit(first, leads))
    await talk.ask("same join again", second.join(second_id, A))
    await talk.ask("same join again", first.join(leads.member_id, A))
    plan = {leads.member_id: b"half"}
    await talk.ask("sync", first.sync(leads, plan))
    await talk.ask("sync", second.sync(joined.identity, {}))


async def late_and_unknown_words(talk: Dialogue) -> None:
    first, leads, *_ = await talk.pair()
    late = Identity(leads.member_id, leads.generation - 1)
    await talk.every_request("late", first, late)
    early = Identity(leads.member_id, leads.generation + 1)
    await talk.every_request("early", first, early)
    await talk.every_request("nobody", first, Identity("nobody", leads.generation))
    await talk.ask("nobody joins", first.join("nobody", A))
    await talk.committed(first)


async def joins_in_a_stable_group(talk: Dialogue) -> None:
    first, leads, second, follows = await talk.pair()
    await talk.ask("follower, same again", second.join(follows.member_id, A))
    await talk.ask("sync again", second.sync(follows, {}))
    joining = asyncio.create_task(first.join(leads.member_id, A))
    await talk.until_it_rebalances(second, follows)
    await talk.ask("leave", second.leave(follows))
    await talk.ask("leader, same again", joining)


async def a_follower_that_changes_its_mind(talk: Dialogue) -> None:
    first, leads, second, follows = await talk.pair()
    joining = asyncio.create_task(second.join(follows.member_id, OTHER_A))
    await talk.until_it_rebalances(first, leads)
    leads = await talk.join(first, leads.member_id)
    await talk.ask("follower", joining)
    joining = asyncio.create_task(second.join(follows.member_id, A))
    await talk.until_it_rebalances(first, leads)
    await talk.ask("sync", first.sync(leads, {}))


async def nothing_in_common(talk: Dialogue) -> None:
    await talk.pair()
    stranger = await talk.new(None)
    await talk.ask("stranger", stranger.join("", [("b", b"")]))
    await talk.ask("described", stranger.describe())
    await talk.ask("one of two", stranger.join("", [("b", b""), ("a", b"")]))


async def leaving_while_a_join_is_pending(talk: Dialogue) -> None:
    first, leads, second, follows = await talk.pair()
    joining = asyncio.create_task(first.join(leads.member_id, A))
    await talk.until_it_rebalances(second, follows)
    await talk.ask("leave", first.leave(leads))
    await talk.ask("the join of who left", joining)
    await talk.join(second, follows.member_id)


async def an_id_that_is_not_used(talk: Dialogue) -> None:
    first, second = await talk.new(None), await talk.new(None)
    unused = await talk.given(second)
    joining = asyncio.create_task(first.join(await talk.given(first), A))
    await talk.ask("leave", second.leave(Identity(unused)))
    await talk.ask("who waited", joining)
    await talk.ask("too late", second.join(unused, A))


async def a_static_member(talk: Dialogue) -> None:
    first, leads, static, who = await talk.pair("i")
    again = await talk.new("i")
    back = await talk.ask("back", again.join("", A))
    await talk.ask("sync", again.sync(back.identity, {}))
    await talk.every_request("fenced", static, who)
    await talk.ask("fenced, join", static.join(who.member_id, A))
    await talk.every_request("back", again, back.identity)
    await talk.ask("described", first.describe())
    joining = asyncio.create_task(again.join(back.identity.member_id, OTHER_A))
    await talk.until_it_rebalances(first, leads)
    await talk.ask("described while it waits", first.describe())
    third = await talk.new("i")
    joining_too = asyncio.create_task(third.join("", A))
    await talk.ask("replaced while it waits", joining)
    await talk.join(first, leads.member_id)
    await talk.ask("third", joining_too)


async def a_static_leader(talk: Dialogue) -> None:
    static, again = await talk.new("i"), await talk.new("i")
    who = await talk.join(static, "")
    await talk.ask("sync", static.sync(who, {who.member_id: b"all"}))
    await talk.ask("leave", static.leave(Identity("nobody")))
    back = await talk.ask("back", again.join("", A))
    await talk.ask("sync", again.sync(back.identity, {back.identity.member_id: b"other"}))
    await talk.ask("rejoin", again.join(back.identity.member_id, A))
    await talk.ask("fenced", static.heartbeat(who))


async def votes(talk: Dialogue) -> None:
    lists = [[("a", b"1"), ("b", b"2")], [("b", b"3"), ("a", b"4")], [("b", b"5"), ("a", b"6")]]
    transports = [await talk.new(None) for _ in lists]
    leads = await talk.join(transports[0], await talk.given(transports[0], lists[0]), lists[0])
    await talk.ask("sync", transports[0].sync(leads, {}))
    ids = [await talk.given(transports[n], lists[n]) for n in (1, 2)]
    joining = [asyncio.create_task(transports[n].join(ids[n - 1], lists[n])) for n in (1, 2)]
    await talk.until_it_rebalances(transports[0], leads)
    await talk.join(transports[0], leads.member_id, lists[0])
    for each in joining:
        await talk.ask("join", each)


SCRIPTS = [
    a_life,
    a_second_member,
    late_and_unknown_words,
    joins_in_a_stable_group,
    a_follower_that_changes_its_mind,
    nothing_in_common,
    leaving_while_a_join_is_pending,
    an_id_that_is_not_used,
    a_static_member,
    a_static_leader,
    votes,
]


def asked_of_the_model(script: Script) -> list[str]:
    world = World()
    network = Network(world, Random(0))
    process = world.process("all")
    timeouts = Timeouts(
        session=SESSION_MS / 1000, rebalance=REBALANCE_MS / 1000, request=REQUEST_MS / 1000
    )

    async def new(instance_id: str | None) -> Transport:
        transport = ModelTransport(network, process, instance_id, timeouts)
        await transport.find()
        return transport

    talk = Dialogue(new, TopicPartition("t", 0))
    try:
        world.run(process, script(talk))
    finally:
        world.end()
    return talk.notes


@pytest.fixture
async def topic(cluster: Brokers) -> AsyncIterator[str]:
    name = f"coordinator-model.{uuid.uuid4().hex}"
    async with Admin(tuple(cluster.bootstrap_servers.split(","))) as admin:
        await admin.create([TopicSpec(name=name, partitions=1, replication=1)])
        yield name


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
async def test_brokers_and_the_model_answer_alike(
    script: Script, cluster: Brokers, topic: str
) -> None:
    group = uuid.uuid4().hex
    clients: list[AIOKafkaClient] = []

    async def new(instance_id: str | None) -> Transport:
        client = AIOKafkaClient(
            bootstrap_servers=cluster.bootstrap_servers, request_timeout_ms=REQUEST_MS
        )
        clients.append(client)
        await client.bootstrap()
        transport = BrokerTransport(
            client,
            Member(
                group_id=group,
                group_instance_id=instance_id,
                session_timeout_ms=SESSION_MS,
                rebalance_timeout_ms=REBALANCE_MS,
                request_timeout_ms=REQUEST_MS,
            ),
            ConsumerEvents(),
        )
        await _ready(transport, topic)
        return transport

    talk = Dialogue(new, TopicPartition(topic, 0))
    try:
        await script(talk)
    finally:
        for client in clients:
            await client.close()
    assert talk.notes == asked_of_the_model(script)


async def _ready(transport: Transport, topic: str) -> None:
    """Wait until the brokers have made the offsets topic, and its leader has read it."""
    while True:
        try:
            await transport.find()
            await transport.committed([TopicPartition(topic, 0)])
        except UNSETTLED as error:
            transport.forget(repr(error))
            await asyncio.sleep(0.1)
        else:
            return
