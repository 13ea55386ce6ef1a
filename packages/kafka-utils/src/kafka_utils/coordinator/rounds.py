"""What a member says when it joins, plans when it leads, and makes of the plan: one round."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from kafka_utils.assignors.base import Assignor
from kafka_utils.assignors.consumer_protocol import Assignment, MalformedMetadata, decode_assignment
from kafka_utils.coordinator import leader
from kafka_utils.coordinator.membership import Reason
from kafka_utils.coordinator.messages import Identity, Joined
from kafka_utils.coordinator.ownership import NOTHING, Partitions
from kafka_utils.coordinator.reconciler import Reconciler
from kafka_utils.events import ConsumerEvents, Rebalance, tell

LARGE_PLAN = 20_000
"""Members times partitions from which on a plan is made in a thread: heartbeats must go on."""

_log = logging.getLogger(__name__)


class Cluster(Protocol):
    """What the leader knows of topics."""

    async def partition_counts(self, topics: frozenset[str]) -> Mapping[str, int]:
        """Return how many partitions these have, as of now; watch them from now on."""


class Round:
    """One passage through the protocol, and when each of its phases began, in seconds."""

    def __init__(self, reason: Reason, due: float) -> None:
        self.reason = reason
        self.due = due
        self.topics: frozenset[str] = frozenset()
        self.relief = False
        """Whether the member asks for a plan without it."""
        self.first = False
        """Whether the member comes from no generation."""
        self.owned_before: Partitions = NOTHING
        self.sent = self.joined = self.planned = self.ended = 0.0


class Rounds:
    """The rounds of one member."""

    def __init__(
        self,
        rack: str | None,
        reconciler: Reconciler,
        assignors: Sequence[Assignor],
        cluster: Cluster,
        events: ConsumerEvents,
    ) -> None:
        self._rack = rack
        self._reconciler = reconciler
        self._assignors = {assignor.name: assignor for assignor in assignors}
        self._cluster = cluster
        self._events = events
        self.cooperative = all(assignor.cooperative for assignor in assignors)
        """Whether the member joins while it works: all of its assignors allow it (Java's rule)."""

    @property
    def assignors(self) -> list[str]:
        """Their names, the preferred one first."""
        return list(self._assignors)

    def protocols(self, this: Round, generation: int) -> list[tuple[str, bytes]]:
        """Return what the member says in JoinGroup: a subscription for each assignor."""
        this.owned_before = self._reconciler.held
        claims = this.owned_before if self.cooperative else NOTHING
        return [
            (
                name,
                assignor.subscription(
                    this.topics, claims, generation, self._rack, relief=this.relief
                ),
            )
            for name, assignor in self._assignors.items()
        ]

    async def plan(self, answer: Joined) -> Mapping[str, bytes]:
        """Make the plan for all members, as their leader."""
        subscriptions = leader.subscriptions(answer.members)
        counts = await self._cluster.partition_counts(leader.topics_of(subscriptions.values()))
        assignor = self._assignors[answer.protocol]
        if len(subscriptions) * sum(counts.values()) < LARGE_PLAN:
            return leader.draw_up(assignor, counts, subscriptions)
        return await asyncio.to_thread(leader.draw_up, assignor, counts, subscriptions)

    def read(self, data: bytes) -> Assignment:
        """Read a plan. One that cannot be read leaves everything as it is."""
        try:
            return decode_assignment(data)
        except MalformedMetadata as error:
            _log.error("the leader's plan is not used: %s", error)
            return Assignment(self._reconciler.held)

    def carry_out(
        self,
        this: Round,
        answer: Joined,
        assignment: Assignment,
        target: Partitions,
        lost: Partitions,
    ) -> None:
        """Begin to make the plan true, and tell of the rebalance."""
        identity: Identity = answer.identity
        self._assignors[answer.protocol].on_assignment(target, identity.generation)
        added, revoked = self._reconciler.carry_out(target, identity.generation)
        leads = answer.leader_id == identity.member_id
        rebalance = Rebalance(
            reason=this.reason.value,
            generation=identity.generation,
            protocol=answer.protocol,
            leader=leads,
            another_round=assignment.another_round,
            prepare_seconds=this.sent - this.due,
            join_seconds=this.joined - this.sent,
            plan_seconds=this.planned - this.joined if leads else 0.0,
            sync_seconds=this.ended - this.planned,
            owned_before=this.owned_before,
            owned_after=target,
            added=added,
            revoked=revoked,
            lost=lost,
        )
        tell(self._events.rebalanced, rebalance)
