"""Commits offsets of what a member holds, across any number of rebalances.

The coordinator checks who commits and in which generation, never which partitions (KIP-429 leaves
that to clients): so what this member has released must not be in any commit of its own, first or
repeated. And a commit that meets the next generation is no failure: what is still held is sent
again when that generation has begun.
"""

import asyncio
import random
from collections.abc import Callable, Mapping

from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    KafkaError,
    KafkaTimeoutError,
    RebalanceInProgressError,
)
from aiokafka.structs import OffsetAndMetadata

from kafka_utils.coordinator.deadlines import backoff
from kafka_utils.coordinator.membership import Membership, Phase, Request, judge
from kafka_utils.coordinator.messages import Identity, Transport
from kafka_utils.events import Commit, ConsumerEvents, tell

Offsets = Mapping[TopicPartition, OffsetAndMetadata]

SETTLE_SECONDS = 1.0
"""How long a JoinGroup waits for commits under way: they would meet the generation after."""


class _Commit:
    """One commit, and how far it has come."""

    def __init__(self, offsets: Offsets, assignments: Mapping[TopicPartition, int]) -> None:
        self.offsets = offsets
        self.assignments = assignments
        """By which assignment each partition was held when it was begun."""
        self.requests = self.failures = 0


class Commits:
    """The commits of one member. ``held`` numbers the assignment by which each is held."""

    def __init__(
        self,
        transport: Transport,
        member: Callable[[], Membership],
        held: Callable[[], Mapping[TopicPartition, int]],
        refused: Callable[[Request, KafkaError, Identity], None],
        request_seconds: float,
        events: ConsumerEvents,
    ) -> None:
        self._transport = transport
        self._member = member
        self._held = held
        self._refused = refused
        self._request_seconds = request_seconds
        self._events = events
        self._under_way: set[asyncio.Future[None]] = set()
        self._changed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    def membership_changed(self) -> None:
        """Commits that wait for the next generation look whether it has begun."""
        self._changed.set()

    async def settle(self) -> None:
        """Wait a little for requests under way, so that they do not meet the next generation."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=SETTLE_SECONDS)

    async def commit(self, offsets: Offsets) -> None:
        """Store the offsets. One commit goes after another: a repeated one overtakes none.

        Raises CommitFailedError if a partition is not held (any more) or the membership is lost,
        KafkaTimeoutError if that could not be found out in time, and what the coordinator says
        about the offsets themselves.
        """
        clock = asyncio.get_running_loop().time
        began, seconds = clock(), self._request_seconds
        commit = _Commit(offsets, self._assignments_of(offsets))
        said: str | None = None
        try:
            async with asyncio.timeout(seconds), self._one_at_a_time:
                while not await self._attempt(commit):
                    pass
        except TimeoutError:
            said = KafkaTimeoutError.__name__
            raise KafkaTimeoutError(f"the commit was not answered in {seconds:g} s") from None
        except BaseException as error:
            said = type(error).__name__
            raise
        finally:
            ended = Commit(
                partitions=len(offsets),
                seconds=clock() - began,
                requests=commit.requests,
                error=said,
            )
            tell(self._events.committed, ended)

    async def _attempt(self, commit: "_Commit") -> bool:
        """Try once; return whether it is done. Whatever passes is waited for."""
        self._check(commit)
        if self._member().phase is Phase.SYNCING:
            # The coordinator would refuse it until the generation's plan is known.
            await self._next_change()
            return False
        spoken_as = self._member().identity
        try:
            await self._transport.find()
            self._check(commit)
            spoken_as = self._member().identity
            commit.requests += 1
            await self._send(spoken_as, commit.offsets)
        except (IllegalGenerationError, RebalanceInProgressError) as error:
            if self._member().identity == spoken_as:
                if self._member().phase is Phase.STABLE:
                    self._refused(Request.COMMIT, error, spoken_as)
                else:
                    await self._next_change()
            return False
        except KafkaError as error:
            verdict = judge(Request.COMMIT, error)
            self._refused(Request.COMMIT, error, spoken_as)
            if verdict.trigger is not None:
                raise CommitFailedError(str(error)) from error
            if not verdict.coordinator_moved and not error.retriable:
                raise
            commit.failures += 1
            await asyncio.sleep(backoff(commit.failures, random.random()))
            return False
        return True

    async def _send(self, spoken_as: Identity, offsets: Offsets) -> None:
        sending = asyncio.ensure_future(self._transport.commit(spoken_as, offsets))
        self._under_way.add(sending)
        sending.add_done_callback(self._under_way.discard)
        try:
            await sending
        finally:
            sending.cancel()

    def _check(self, commit: "_Commit") -> None:
        """Raise unless all of it is held, and has been ever since the commit was begun."""
        gone = commit.assignments.items() - self._assignments_of(commit.offsets).items()
        if gone or len(commit.assignments) < len(commit.offsets):
            released = commit.offsets.keys() - commit.assignments.keys() | {one for one, _ in gone}
            names = ", ".join(f"{topic}-{number}" for topic, number in sorted(released))
            raise CommitFailedError(f"not held (any more): {names}")
        if not self._member().is_member:
            raise CommitFailedError("not a member of the group")

    def _assignments_of(self, offsets: Offsets) -> dict[TopicPartition, int]:
        held = self._held()
        return {here: held[here] for here in offsets if here in held}

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
