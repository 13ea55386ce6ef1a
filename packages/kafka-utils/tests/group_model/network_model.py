"""What lies between members and their coordinator: connections that delay, break and lose words.

A broker serves one request of a connection at a time, and what it holds back (a JoinGroup until all
have joined) holds back everything behind it on the same connection.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal, TypeAlias

from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    NotCoordinatorForGroupError,
    RequestTimedOutError,
)
from aiokafka.structs import OffsetAndMetadata

from group_model.coordinator_model import Answer, Coordinator
from group_model.processes import Process, World
from kafka_utils.coordinator.deadlines import join_timeout
from kafka_utils.coordinator.messages import Described, Identity, Joined, MemberIdGiven
from kafka_utils.requests import UnstableOffsetCommitError

Kind: TypeAlias = Literal["join", "sync", "heartbeat", "commit", "committed", "leave", "describe"]
Moment: TypeAlias = Literal["before", "during", "after"]
"""When a connection breaks: before the coordinator has a request, when it has it, or has answered
it. What it holds back is the difference between the last two."""

Operation: TypeAlias = Callable[[Answer], object]


class Network:
    """The brokers as members see them."""

    def __init__(self, world: World, random: Random, *, initial_delay: float = 0.0) -> None:
        self.world = world
        self.random = random
        self.broker = world.process("broker")
        self.coordinator = Coordinator(self.broker, initial_delay)
        self.node: int | None = 0
        """Which broker coordinates the group; None while nobody does."""
        self.told_node: int | None = 0
        self._moves = 0
        """Which one FindCoordinator names."""
        self.quickest, self.slowest = 0.001, 0.004
        self.stored: list[Callable[[str, Mapping[TopicPartition, OffsetAndMetadata]], object]] = []
        """Told of every commit that was stored, and by whom."""
        self.planned: list[Callable[[str, Mapping[str, bytes]], object]] = []
        """Told of every plan that comes into force, and by whom."""

    @property
    def ready(self) -> bool:
        """Whether there is a coordinator to talk to."""
        return self.node is not None and not self.coordinator.loading

    def latency(self) -> float:
        return self.random.uniform(self.quickest, self.slowest)

    def move_coordinator(self, node: int, without: float, lagging: float, loading: float) -> None:
        """Let another broker coordinate: after a while, which not everybody knows at once."""
        if self.node is None or self.coordinator.loading:
            return
        self.coordinator.unload()
        self.node = self.told_node = None
        self._moves += 1
        later = self.broker.call_later
        later(without, self._take_over, node)
        later(without + lagging, self._tell, node, self._moves)
        later(without + loading, self.coordinator.load)

    def _take_over(self, node: int) -> None:
        self.node = node

    def _tell(self, node: int, move: int) -> None:
        if move == self._moves:  # Unless the coordinator has moved again meanwhile.
            self.told_node = node


@dataclass(slots=True)
class _Request:
    operation: Operation
    answer: asyncio.Future[Any]
    fault: Moment | None
    late: "Late"

    def answered(self, answer: Any) -> None:
        """The answer is there, or why there is none; the first one counts."""
        if not self.answer.done():
            self.answer.set_result(answer)


@dataclass(frozen=True, slots=True)
class Late:
    """How much longer than usual a request is under way, and its answer, in seconds.

    What comes behind it on the same connection waits as long.
    """

    there: float = 0.0
    back: float = 0.0


@dataclass(slots=True)
class Connection:
    """One connection of one client to one broker."""

    network: Network
    node: int
    client: Process
    closed: bool = False
    _sent: list[_Request] = field(default_factory=list)
    _inbox: deque[_Request] = field(default_factory=deque)
    _busy: bool = False
    _latest_there: float = 0.0
    _latest_back: float = 0.0

    async def ask(
        self, operation: Operation, seconds: float, fault: Moment | None, late: Late
    ) -> Any:
        """Send a request and return the answer, or raise what it says or why there is none."""
        if self.closed:
            raise KafkaConnectionError("the connection is closed")
        broker = self.network.broker
        request = _Request(operation, self.client.create_future(), fault, late)
        self._sent.append(request)
        arrives = broker.time() + self.network.latency() + late.there
        self._latest_there = max(self._latest_there, arrives)
        broker.call_at(self._latest_there, self._arrive, request)
        timer = self.client.call_later(seconds, self._time_out, request)
        try:
            answered = await request.answer
        finally:
            timer.cancel()
        if isinstance(answered, KafkaError):
            raise answered
        return answered

    def close(self) -> None:
        """Whoever waits for an answer gets an error."""
        self.closed = True
        self._inbox.clear()
        for request in self._sent:
            request.answered(KafkaConnectionError("the connection was closed"))

    def broken(self) -> None:
        """The broker closes it, or something between; the client learns of it."""
        if not self.closed:
            self.closed = True
            self._inbox.clear()
            self._later(self.close)

    def _time_out(self, request: _Request) -> None:
        if not request.answer.done():
            request.answer.set_result(RequestTimedOutError())
            self.close()

    def _arrive(self, request: _Request) -> None:
        if self.closed or self.client.killed:
            return
        if request.fault == "before":
            self.broken()
            return
        self._inbox.append(request)
        self._serve()

    def _serve(self) -> None:
        if self._busy or not self._inbox:
            return
        request = self._inbox.popleft()
        self._busy = True

        def reply(answered: Any) -> None:
            if request.fault == "after":
                self.broken()
            elif not self.closed:
                self._later(lambda: request.answered(answered), request.late.back)
            self._busy = False
            self._serve()

        if self.network.node != self.node:
            reply(NotCoordinatorForGroupError())
        else:
            request.operation(reply)
        if request.fault == "during":
            self.broken()

    def _later(self, act: Callable[[], object], late: float = 0.0) -> None:
        """Do it in the client, which may be stopped: then it waits in its queue."""
        broker = self.network.broker
        self._latest_back = max(self._latest_back, broker.time() + self.network.latency() + late)
        broker.call_at(self._latest_back, self._in_client, act)

    def _in_client(self, act: Callable[[], object]) -> None:
        if not self.client.killed:
            self.client.call_soon(act)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """A member's times, in seconds."""

    session: float = 12.0
    rebalance: float = 20.0
    request: float = 8.0


class ModelTransport:
    """Speaks to the coordinator as ``BrokerTransport`` does. It is a ``messages.Transport``."""

    def __init__(
        self, network: Network, client: Process, instance_id: str | None, timeouts: Timeouts
    ) -> None:
        self.network = network
        self.client = client
        self.instance_id = instance_id
        self.timeouts = timeouts
        self.faults: dict[Kind, Moment] = {}
        """What shall happen to the next request of a kind."""
        self.late: dict[Kind, Late] = {}
        """How late the next request of a kind shall be."""
        self.silent = False
        """Whether nothing comes through to the brokers, and nobody is told that it does not."""
        self._node: int | None = None
        self._connections: dict[tuple[int, str], Connection] = {}

    async def find(self) -> None:
        if self._node is not None:
            return
        await asyncio.sleep(2 * self.network.latency())
        if self.silent:
            await asyncio.sleep(1.0)
            raise NodeNotReadyError
        told = self.network.told_node
        if told is None:
            await asyncio.sleep(0.1)
            raise GroupCoordinatorNotAvailableError
        self._node = told

    def forget(self, reason: str) -> None:
        self._node = None

    async def join(
        self, member_id: str, protocols: Collection[tuple[str, bytes]]
    ) -> Joined | MemberIdGiven:
        times = self.timeouts
        answer: Joined | MemberIdGiven = await self._ask(
            "join",
            lambda reply: self._coordinator.join(
                member_id,
                self.instance_id,
                times.session,
                times.rebalance,
                tuple(protocols),
                reply,
            ),
        )
        return answer

    async def sync(self, identity: Identity, assignments: Mapping[str, bytes]) -> bytes:
        def operation(reply: Answer) -> None:
            if assignments and self._coordinator.awaits_plan(identity):
                for observer in self.network.planned:
                    observer(identity.member_id, assignments)
            self._coordinator.sync(identity, self.instance_id, assignments, reply)

        assignment: bytes = await self._ask("sync", operation)
        return assignment

    async def heartbeat(self, identity: Identity) -> None:
        await self._ask(
            "heartbeat",
            lambda reply: self._coordinator.heartbeat(identity, self.instance_id, reply),
        )

    async def commit(
        self, identity: Identity, offsets: Mapping[TopicPartition, OffsetAndMetadata]
    ) -> None:
        def operation(reply: Answer) -> None:
            def told(answered: Any) -> None:
                if answered is None:
                    for observer in self.network.stored:
                        observer(identity.member_id, offsets)
                reply(answered)

            self._coordinator.commit(identity, self.instance_id, offsets, told)

        await self._ask("commit", operation)

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, OffsetAndMetadata | KafkaError | None]:
        def operation(reply: Answer) -> None:
            coordinator = self._coordinator
            if coordinator.loading:
                reply(GroupLoadInProgressError())
                return
            unstable = {here: UnstableOffsetCommitError() for here in coordinator.unstable}
            reply({here: unstable.get(here) or coordinator.offsets.get(here) for here in wanted})

        wanted = list(partitions)
        answer: Mapping[TopicPartition, OffsetAndMetadata | KafkaError | None] = await self._ask(
            "committed", operation
        )
        return answer

    async def leave(self, identity: Identity) -> None:
        await self._ask(
            "leave", lambda reply: self._coordinator.leave(identity, self.instance_id, reply)
        )

    async def describe(self) -> Described:
        described: Described = await self._ask(
            "describe", lambda reply: reply(self._coordinator.described())
        )
        return described

    def vanish(self) -> None:
        """The process is gone, and its connections with it."""
        for connection in self._connections.values():
            connection.closed = True

    @property
    def _coordinator(self) -> Coordinator:
        return self.network.coordinator

    async def _ask(self, kind: Kind, operation: Operation) -> Any:
        if self._node is None:
            raise GroupCoordinatorNotAvailableError
        joins = kind in ("join", "sync")
        key = self._node, "joins" if joins else "others"
        connection = self._connections.get(key)
        if connection is None or connection.closed:
            connection = Connection(self.network, self._node, self.client)
            self._connections[key] = connection
        request = self.timeouts.request
        seconds = join_timeout(request, self.timeouts.rebalance) if joins else request
        if self.silent:
            await asyncio.sleep(seconds)
            connection.close()
            raise RequestTimedOutError
        fault, late = self.faults.pop(kind, None), self.late.pop(kind, Late())
        return await connection.ask(operation, seconds, fault, late)
