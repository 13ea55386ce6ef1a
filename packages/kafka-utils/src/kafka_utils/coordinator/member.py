"""Takes part in a group: joins, syncs, plans as its leader, leaves. The loop around ``membership``.

One JoinGroup carries every assignor. A cooperative member (all of its assignors are) joins while it
works, and claims what it holds; an eager one gives everything back first (KIP-429).
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import NamedTuple

from aiokafka.errors import KafkaError

from kafka_utils.assignors.base import Assignor
from kafka_utils.assignors.consumer_protocol import Assignment
from kafka_utils.coordinator.commits import Commits
from kafka_utils.coordinator.deadlines import Pulse, backoff
from kafka_utils.coordinator.heartbeats import Heartbeats
from kafka_utils.coordinator.leaving import say_leave
from kafka_utils.coordinator.membership import (
    ENDED,
    Membership,
    Phase,
    Reason,
    Request,
    Trigger,
    is_own_word,
    judge,
    returned_as_leader,
    step,
)
from kafka_utils.coordinator.messages import NOBODY, Identity, Joined, MemberIdGiven, Transport
from kafka_utils.coordinator.owed_rounds import is_round_owed
from kafka_utils.coordinator.ownership import Partitions
from kafka_utils.coordinator.reconciler import Reconciler
from kafka_utils.coordinator.refusals import agreed_protocol, explain
from kafka_utils.coordinator.rounds import Cluster, Round, Rounds
from kafka_utils.errors import GroupError
from kafka_utils.events import ConsumerEvents, Eviction, Retry, tell

_log = logging.getLogger(__name__)

POLL_WATCH_SECONDS = 0.5
"""Between two looks whether an application that had stopped asks for records again."""

KNOWN_SECONDS = 1.0
"""How long leaving waits for a member id that the coordinator is about to give."""


class MemberSettings(NamedTuple):
    """How one member takes part."""

    group_id: str
    group_instance_id: str | None
    rack: str | None
    pulse: Pulse
    request_seconds: float
    max_poll_seconds: float


class GroupMember:
    """One member of one group."""

    def __init__(
        self,
        settings: MemberSettings,
        transport: Transport,
        reconciler: Reconciler,
        assignors: Sequence[Assignor],
        cluster: Cluster,
        topics: Callable[[], frozenset[str] | None],
        idle_seconds: Callable[[], float],
        events: ConsumerEvents,
    ) -> None:
        self._settings = settings
        self._group = settings.group_id
        self._static = settings.group_instance_id is not None
        self._now = asyncio.get_running_loop().time
        self._transport = transport
        self._reconciler = reconciler
        self._rounds = Rounds(settings.rack, reconciler, assignors, cluster, events)
        self._cluster = cluster
        self._topics = topics
        self._idle_seconds = idle_seconds
        self._events = events
        self._member = Membership(wanted=Reason.FIRST)
        self._due_at = self._now()
        self._leaving = False
        self._to_hand_back = NOBODY
        self._unheard = False
        self._lost: Partitions = frozenset()
        self._failures = 0
        self._beside: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self.failure: GroupError | None = None
        """Why this member has failed for good."""
        self.leads = False
        """Whether the member is the group's leader, who watches the topics for all."""
        self.commits = Commits(
            transport,
            lambda: self._member,
            lambda: reconciler.assignments,
            self._refused,
            settings.request_seconds,
            events,
        )
        self._heartbeats = Heartbeats(
            transport, settings.pulse, lambda: self._member, self._refused, self._slept
        )

    @property
    def membership(self) -> Membership:
        """What the member is to its group now."""
        return self._member

    def look(self) -> None:
        """Before records are handed over: if this process stood still too long, all is lost."""
        self._heartbeats.look()

    def want(self, reason: Reason) -> None:
        """Ask for another join."""
        if not self._leaving:
            self._step(Trigger.WANTED, reason=reason)

    def released(self) -> None:
        """Revoked partitions are free: the group is to learn of it."""
        self.want(Reason.RELEASED)
        self._changed.set()

    async def run(self) -> None:
        """Take part until the end; raises nothing, see ``failure``."""
        self._run_beside(self._heartbeats.run())
        self._run_beside(self._watch_polls())
        try:
            while self._member.phase not in ENDED:
                if self._is_join_due():
                    await self._join()
                else:
                    self._changed.clear()
                    await self._changed.wait()
        except Exception as error:
            self._fail(error)
        finally:
            for task in tuple(self._beside):
                task.cancel()

    def _run_beside(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._ended_beside)

    def _ended_beside(self, task: asyncio.Task[None]) -> None:
        self._beside.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Something is wrong with this program: better an end than a member that half works."""
        _log.critical("group %r: taking part has failed", self._group, exc_info=error)
        self.failure = GroupError(f"taking part in group {self._group!r} has failed: {error!r}")
        self._step(Trigger.REFUSED, why=repr(error))

    async def relinquish(self) -> None:
        """Ask to be relieved of all partitions, and return when they are given up in order.

        They are delivered until the plan is there that gives them to others. A leader of another
        kind does not hear the wish, and its plan leaves everything as it is: then they are given up
        as when leaving. So they are at once with an eager assignor, which stops everybody in any
        case, and by a static member, which is meant to come back.
        """
        self._leaving = True
        if self._can_be_relieved():
            self._step(Trigger.WANTED, reason=Reason.RELIEF)
            while self._reconciler.held and not self._unheard and self._member.phase not in ENDED:
                self._changed.clear()
                await self._changed.wait()
        await self.leave()

    def _can_be_relieved(self) -> bool:
        works = self._reconciler.held and self._member.is_member
        return bool(self._rounds.cooperative and works and not self._static)

    async def leave(self) -> None:
        """Give up everything in order and leave; a static member stays, to come back."""
        if self._member.phase not in ENDED:
            self._leaving = True
            await self._reconciler.give_up_all()
            await self._known()
            self._to_hand_back = self._member.identity
            self._step(Trigger.LEAVE)
        await self._send_leave(self._to_hand_back)
        self._to_hand_back = NOBODY  # Not reached by who gives up waiting, and leaves once more.

    async def part(self) -> None:
        """Give up everything in order and leave, until ``want`` is called."""
        self._leaving = True
        await self._reconciler.give_up_all()
        await self._known()
        identity = self._member.identity
        self._step(Trigger.PARTED)
        await self._send_leave(identity)
        self._leaving = False

    async def _known(self) -> None:
        """Wait a little for a member id that was asked for: it is to be handed back."""
        asked = self._member.phase is Phase.JOINING and not self._member.identity.member_id
        if asked and not self._static:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KNOWN_SECONDS):
                    while self._member.phase is Phase.JOINING:
                        self._changed.clear()
                        await self._changed.wait()

    async def _send_leave(self, identity: Identity) -> None:
        if not identity.member_id or self._static:
            return
        await say_leave(self._transport, self._group, identity)

    def _is_join_due(self) -> bool:
        """A member that leaves joins again only while it holds something that others wait for."""
        takes_part = self._reconciler.held if self._leaving else self._topics() is not None
        return bool(
            self._member.wanted is not None
            and takes_part
            and self._member.phase not in (Phase.JOINING, Phase.SYNCING)
        )

    async def _join(self) -> None:
        """Go once through the protocol; whatever went wrong, the next call goes on from there."""
        if await self._rests():
            return
        this = Round(self._member.wanted or Reason.GROUP, self._due_at)
        if not self._rounds.cooperative:
            await self._reconciler.give_up_all()
        await self.commits.settle()
        try:
            await self._transport.find()
            if not self._is_join_due():
                return
            answer = await self._send_join(this)
            if isinstance(answer, MemberIdGiven):
                self._step(Trigger.ID_GIVEN, identity=Identity(answer.member_id))
                return
            self.look()
            if self._member.phase is not Phase.JOINING:
                return  # It was lost, or left, while it waited.
            this.joined = self._now()
            self._step(Trigger.JOINED, identity=answer.identity)
            self._heartbeats.heard(this.joined)
            await self._sync(this, answer)
        except KafkaError as error:
            await self._join_failed(error)
        else:
            self._failures = 0

    async def _rests(self) -> bool:
        """Whether the application has stopped to ask for records: then nobody is to wait for it."""
        if self._leaving or self._idle_seconds() < self._settings.max_poll_seconds:
            return False
        await asyncio.sleep(POLL_WATCH_SECONDS)
        return True

    async def _watch_polls(self) -> None:
        """Leave the group for others to work while the application asks for nothing."""
        while True:
            left = self._settings.max_poll_seconds - self._idle_seconds()
            await asyncio.sleep(max(POLL_WATCH_SECONDS, left))
            idle = self._idle_seconds() >= self._settings.max_poll_seconds
            if idle and self._member.is_member and not self._leaving:
                identity = self._member.identity
                self._step(Trigger.MEMBER_LOST, why="no records were asked for in too long a time")
                await self._send_leave(identity)

    async def _send_join(self, this: Round) -> Joined | MemberIdGiven:
        identity = self._member.identity
        this.topics, this.first = self._topics() or frozenset(), not self._member.is_member
        # A static member stays in the group: nobody would start the round that gives its own away.
        this.relief = self._leaving and not self._static
        protocols = self._rounds.protocols(this, identity.generation)
        this.sent = self._now()
        self._step(Trigger.JOIN_SENT)
        return await self._transport.join(identity.member_id, protocols)

    async def _sync(self, this: Round, answer: Joined) -> None:
        identity = answer.identity
        self.leads = answer.leader_id == identity.member_id
        plan = await self._rounds.plan(answer) if self.leads and answer.members else {}
        this.planned = self._now()
        if self._member.identity != identity:
            return
        data = await self._transport.sync(identity, plan)
        self.look()
        if self._member.identity != identity or self._member.phase is not Phase.SYNCING:
            return
        this.ended = self._now()
        self._step(Trigger.SYNCED)
        assignment = self._rounds.read(data)
        self._apply(this, answer, assignment)
        if returned_as_leader(self._settings.group_instance_id, identity, answer.leader_id):
            # The group goes on with the plan of before, and nobody watches the topics for it.
            self.want(Reason.LEADER)
        elif self._static and this.first and self._rounds.cooperative:
            # It may be back in the plan of before, and owe the round that was to follow.
            if assignment.another_round:
                self.want(Reason.RELEASED)
            else:
                self._run_beside(self._settle_up(identity))

    async def _settle_up(self, identity: Identity) -> None:
        def goes_on() -> bool:
            return self._member.identity == identity and self._member.phase is Phase.STABLE

        if await is_round_owed(self._transport, self._cluster, self._group, goes_on):
            self.want(Reason.RELEASED)

    def _apply(self, this: Round, answer: Joined, assignment: Assignment) -> None:
        target = assignment.partitions
        if self._leaving:
            target &= self._reconciler.held  # Nothing new.
            self._unheard = this.relief and bool(target)
        elif strange := {here.topic for here in target} - (self._topics() or frozenset()):
            # It was made for an earlier subscription. The next one will fit.
            _log.warning("group %r: a plan with %s is not used", self._group, sorted(strange))
            self._later(Reason.STALE)
            return
        self._heartbeats.new_plan(another_round=assignment.another_round)
        lost, self._lost = self._lost, frozenset()
        self._rounds.carry_out(this, answer, assignment, target, lost)
        self._changed.set()

    async def _join_failed(self, error: KafkaError) -> None:
        request = Request.JOIN if self._member.phase is not Phase.SYNCING else Request.SYNC
        self._failures += 1
        verdict = judge(request, error)
        if verdict.trigger is Trigger.REFUSED:
            agreed = await agreed_protocol(self._transport, self._settings.request_seconds)
            self.failure = self._in_words(error, agreed)
        self._refused(request, error, self._member.identity)
        if verdict.trigger is Trigger.CUT_OFF:
            pause = backoff(self._failures, random.random())
            retry = Retry(
                request=request.value,
                error=type(error).__name__,
                failures=self._failures,
                pause_seconds=pause,
            )
            tell(self._events.retried, retry)
            _log.info("group %r: %s is made again after %r", self._group, request.value, error)
            await asyncio.sleep(pause)

    def _refused(self, request: Request, error: KafkaError, spoken_as: Identity) -> None:
        """An answer (or none) to something that was said as ``spoken_as``."""
        verdict = judge(request, error)
        if verdict.coordinator_moved:
            self._transport.forget(f"{request.value}: {type(error).__name__}")
        if verdict.trigger is None or not is_own_word(self._member, spoken_as):
            return
        joining = self._member.phase is Phase.JOINING and request is not Request.JOIN
        if joining and verdict.trigger is not Trigger.REFUSED:
            return  # It was said before the JoinGroup, whose own answer will tell.
        if verdict.trigger is Trigger.REFUSED and self.failure is None:
            self.failure = self._in_words(error, None)
        self._step(verdict.trigger, why=f"{request.value}: {type(error).__name__}")

    def _slept(self) -> None:
        """The process stood still past its session: others have what it held."""
        self._step(Trigger.GENERATION_LOST, why="this process stood still for a whole session")

    def _step(
        self,
        trigger: Trigger,
        *,
        identity: Identity | None = None,
        reason: Reason | None = None,
        why: str = "",
    ) -> None:
        before = self._member
        self._member = step(before, trigger, identity=identity, reason=reason)
        if self._member.wanted and not before.wanted:
            self._due_at = self._now()
        if trigger in (Trigger.GENERATION_LOST, Trigger.MEMBER_LOST, Trigger.REFUSED):
            self._lost |= self._reconciler.lose_all(why)
            if before.is_member:
                who = before.identity
                eviction = Eviction(reason=why, member_id=who.member_id, generation=who.generation)
                tell(self._events.evicted, eviction)
        self.commits.membership_changed()
        self._changed.set()

    def _later(self, reason: Reason) -> None:
        pause = backoff(1, random.random())
        asyncio.get_running_loop().call_later(pause, self.want, reason)

    def _in_words(self, error: KafkaError, agreed: str | None) -> GroupError:
        instance = self._settings.group_instance_id
        return explain(error, self._group, instance, self._rounds.assignors, agreed)
