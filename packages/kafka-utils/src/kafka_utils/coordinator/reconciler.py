"""Carries out what a plan gives a member: adds, revokes, releases, loses. Knows no group protocol.

Order on a revoke: delivery stops, ``on_partitions_revoked`` is awaited (for a bounded time), the
partitions are released, and only then is the owner of this told. Added partitions start at once,
beside a revoke that still waits. Of the callbacks, those for added and lost partitions run one
after another, and those for revoked ones do; a revoke begins when its partitions are announced.

A newer plan may leave to the member what it is giving up. If its listener can take the revoke back
these go on where they stopped; if not they are given up first, and then come as added ones.
"""

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, NamedTuple, Protocol

from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener

from kafka_utils.coordinator.ownership import NOTHING, Ownership, Partitions
from kafka_utils.events import ConsumerEvents, Loss, Revocation, tell
from kafka_utils.listener import KeepsPartitions

CANCEL_SECONDS = 1.0
"""How long a callback that was cancelled may take to end before it is left to itself."""

Kind = Literal["assigned", "revoked", "lost"]
Outcome = Literal["done", "timeout", "failed"]

_log = logging.getLogger(__name__)


class Delivery(Protocol):
    """What reads partitions and hands their records to the application."""

    def add(self, partitions: Partitions) -> None:
        """Find out where to read these from; hand nothing over yet."""

    def open(self, partitions: Partitions) -> None:
        """Hand over what was fetched of these."""

    def freeze(self, partitions: Partitions) -> None:
        """Hand over nothing more of these; they may still be committed."""

    def remove(self, partitions: Partitions) -> None:
        """Forget these."""


class _Call(NamedTuple):
    """A callback that is due."""

    partitions: Partitions
    lost: bool = False


class Reconciler:
    """The partitions of one consumer."""

    def __init__(
        self,
        delivery: Delivery,
        listener: Callable[[], ConsumerRebalanceListener | None],
        revoke_seconds: float,
        events: ConsumerEvents,
        on_released: Callable[[], None],
    ) -> None:
        self._delivery = delivery
        self._listener = listener
        self._revoke_seconds = revoke_seconds
        self._events = events
        self._on_released = on_released
        self._own = Ownership()
        self._generation = -1
        self._assignments: dict[TopicPartition, int] = {}
        self._number = 0
        self._calls: deque[_Call] = deque()
        self._announcing: asyncio.Task[None] | None = None
        self._assigning = False
        self._revoking: asyncio.Task[None] | None = None
        self._interrupted: set[asyncio.Task[None]] = set()
        self._waiting = NOTHING
        """What a revoke callback was called with that has begun, and may still return in time."""
        self._giving_up_all = False
        self._changed = asyncio.Event()

    @property
    def held(self) -> Partitions:
        """What this member claims: everything that it has not released."""
        return self._own.held

    @property
    def assignments(self) -> Mapping[TopicPartition, int]:
        """What is held, with the number of the assignment by which it is: an epoch."""
        return self._assignments

    @property
    def settled(self) -> bool:
        """Whether the newest plan is carried out."""
        return self._own.settled

    def carry_out(self, target: Partitions, generation: int) -> tuple[Partitions, Partitions]:
        """Begin to make a plan true; return what it adds and what it revokes."""
        before = self._own
        wanted = NOTHING if self._giving_up_all else target
        self._own = before.planned(wanted)
        self._generation = generation
        self._keep(before.revoking & wanted)
        added = wanted - before.held
        self._take_up(added)  # Also when it is nothing: the application learns that it has joined.
        self._start_revoking()
        self._changed.set()
        return added, before.held - target

    async def give_up_all(self) -> None:
        """Revoke everything; returns when all of it is released or lost.

        A plan that comes meanwhile is not carried out, nor is a revoke taken back for it.
        """
        self._own = self._own.planned(NOTHING)
        self._start_revoking()
        self._giving_up_all = True
        try:
            while self._own.held:
                self._changed.clear()
                await self._changed.wait()
        finally:
            self._giving_up_all = False

    def lose_all(self, reason: str) -> Partitions:
        """Nothing is held from now on; ``on_partitions_lost`` is called soon. Return what was."""
        own, self._own = self._own, Ownership()
        unheard = NOTHING.union(*(call.partitions for call in self._calls if not call.lost))
        self._calls = deque(call for call in self._calls if call.lost)
        self._delivery.freeze(own.held)
        self._delivery.remove(own.held)
        self._assignments.clear()
        self._waiting = NOTHING
        self._interrupt()
        if own.held:
            _log.warning("%d partitions are lost: %s", len(own.held), reason)
            tell(self._events.lost, Loss(partitions=own.held, reason=reason))
        if own.held - unheard:
            self._calls.append(_Call(own.held - unheard, lost=True))
        self._start_announcing()
        self._changed.set()
        return own.held

    async def close(self) -> None:
        """Wait until the callbacks under way have ended; they are bounded in time."""
        tasks = [task for task in (self._announcing, self._revoking) if task]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._revoke_seconds + CANCEL_SECONDS)
            for task in late:
                task.cancel()

    def _take_up(self, partitions: Partitions) -> None:
        self._number += 1
        self._assignments.update(dict.fromkeys(partitions, self._number))
        self._delivery.add(partitions)
        self._calls.append(_Call(partitions))
        self._start_announcing()

    def _interrupt(self) -> None:
        """End the callbacks under way, but not one for lost partitions: it is called only once."""
        if self._revoking:
            self._interrupted.add(self._revoking)
        if self._announcing and self._assigning:
            self._interrupted.add(self._announcing)
            self._announcing, self._assigning = None, False
        self._revoking = None
        for task in self._interrupted:
            task.cancel()

    def _start_announcing(self) -> None:
        if self._calls and (self._announcing is None or self._announcing.done()):
            self._announcing = asyncio.create_task(self._announce())

    async def _announce(self) -> None:
        while self._calls:
            if self._interrupted:
                ending, self._interrupted = self._interrupted, set()
                await asyncio.wait(ending, timeout=CANCEL_SECONDS)
                continue
            call = self._calls.popleft()
            self._assigning = not call.lost
            await self._call("lost" if call.lost else "assigned", call.partitions)
            self._assigning = False
            if not call.lost:
                self._own = self._own.announced(call.partitions)
                self._delivery.open(call.partitions)
                self._start_revoking()
            self._changed.set()

    def _start_revoking(self) -> None:
        if self._own.to_revoke and (self._revoking is None or self._revoking.done()):
            self._revoking = asyncio.create_task(self._revoke())

    def _keep(self, partitions: Partitions) -> None:
        """Go on with these, of which a revoke is under way, as far as the listener can."""
        partitions &= self._waiting
        listener: object = self._listener()
        if not partitions or not isinstance(listener, KeepsPartitions):
            return
        try:
            kept = partitions & frozenset(listener.on_partitions_kept(set(partitions)))
        except Exception:
            _log.exception("on_partitions_kept failed on %s", _named(partitions))
            return
        self._own = self._own.kept(kept)
        self._delivery.open(kept)

    async def _revoke(self) -> None:
        clock = asyncio.get_running_loop().time
        while batch := self._own.to_revoke:
            self._own = self._own.begin_revoke()
            self._delivery.freeze(batch)
            began = clock()
            outcome = await self._call("revoked", batch)
            given_up = self._own.revoking
            self._release(given_up)
            if not given_up:
                continue  # All of it was kept.
            revocation = Revocation(
                generation=self._generation,
                partitions=given_up,
                seconds=clock() - began,
                outcome=outcome,
            )
            tell(self._events.revoked, revocation)

    def _release(self, batch: Partitions) -> None:
        self._delivery.remove(batch)
        for here in batch:
            del self._assignments[here]
        self._own = self._own.released()
        given_back = batch & self._own.held
        if given_back:
            self._take_up(given_back)
        self._changed.set()
        if batch - given_back:
            self._on_released()

    async def _call(self, kind: Kind, partitions: Partitions) -> Outcome:
        """Call the listener and wait for it, as long as a revoke may take."""
        listener = self._listener()
        method = getattr(listener, f"on_partitions_{kind}", None)
        if method is None and kind == "lost":
            # As Java does for listeners that do not know the difference (KIP-429).
            method = getattr(listener, "on_partitions_revoked", None)
        if method is None:
            return "done"
        running = asyncio.ensure_future(self._awaited(kind, method, partitions))
        try:
            ended, _ = await asyncio.wait({running}, timeout=self._revoke_seconds)
        except asyncio.CancelledError:
            running.cancel()
            await asyncio.wait({running}, timeout=CANCEL_SECONDS)
            raise
        if not ended:
            _log.error(
                "on_partitions_%s did not return within %g s: %s",
                kind,
                self._revoke_seconds,
                _named(partitions),
            )
            if kind == "revoked":
                self._waiting = NOTHING  # It ends, or is left to itself: nothing is taken back.
            running.cancel()
            await asyncio.wait({running}, timeout=CANCEL_SECONDS)
            return "timeout"
        if running.cancelled() or running.exception():
            _log.error(
                "on_partitions_%s failed on %s",
                kind,
                _named(partitions),
                exc_info=None if running.cancelled() else running.exception(),
            )
            return "failed"
        return "done"

    async def _awaited(
        self,
        kind: Kind,
        method: Callable[[set[TopicPartition]], Awaitable[None] | None],
        partitions: Partitions,
    ) -> None:
        if kind == "revoked":
            self._waiting = partitions
        try:
            answer = method(set(partitions))
            if inspect.isawaitable(answer):
                await answer
        finally:
            if self._waiting is partitions:
                self._waiting = NOTHING


def _named(partitions: Partitions) -> str:
    return ", ".join(f"{topic}-{number}" for topic, number in sorted(partitions)) or "no partitions"
