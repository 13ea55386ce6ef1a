"""What a member is to its group, and what each answer of the coordinator makes of it: no I/O.

    UNJOINED --JOIN_SENT--> JOINING --JOINED--> SYNCING --SYNCED--> STABLE
       ^                       |                   |                  | WANTED, REBALANCE
       |                       | ID_GIVEN,         | REBALANCE        v
       |<--ID_GIVEN, CUT_OFF---+ CUT_OFF           +------------> PREPARING --JOIN_SENT--> JOINING
       |
       +<--CUT_OFF (in SYNCING), GENERATION_LOST, MEMBER_LOST, PARTED (from anywhere)

LEFT and FAILED are the ends.
"""

from enum import Enum
from typing import Final, NamedTuple

from aiokafka import errors
from aiokafka.errors import KafkaError

from kafka_utils.coordinator.messages import NO_GENERATION, NOBODY, Identity
from kafka_utils.requests import FencedInstanceIdError, GroupMaxSizeReachedError


class Phase(Enum):
    """Where a member stands in the group protocol."""

    UNJOINED = "unjoined"
    """In no generation, or cut off in the middle of entering one."""
    PREPARING = "preparing"
    """A member that is to join again and has not yet said so."""
    JOINING = "joining"
    SYNCING = "syncing"
    STABLE = "stable"
    LEFT = "left"
    FAILED = "failed"


class Trigger(Enum):
    """What may happen to a member."""

    WANTED = "a rejoin is wanted"
    JOIN_SENT = "JoinGroup is sent"
    ID_GIVEN = "the coordinator gave a member id"
    JOINED = "JoinGroup is answered"
    SYNCED = "SyncGroup is answered"
    REBALANCE = "the group rebalances"
    CUT_OFF = "no answer came"
    GENERATION_LOST = "the generation is over"
    MEMBER_LOST = "the group does not know the member"
    PARTED = "the member leaves, and may come back"
    LEAVE = "the member leaves for good"
    REFUSED = "the group cannot be joined"


class Reason(Enum):
    """Why a member joins (again)."""

    FIRST = "first join"
    SUBSCRIPTION = "the subscription changed"
    METADATA = "topics or partitions changed"
    GROUP = "the group rebalances"
    RELEASED = "revoked partitions are released"
    RELIEF = "asks to be relieved of its partitions"
    LOST = "membership was lost"
    CUT_OFF = "the coordinator did not answer"
    STALE = "the assignment does not fit the subscription"
    LEADER = "a static leader is back"


ALIVE: Final = frozenset({Phase.PREPARING, Phase.SYNCING, Phase.STABLE})
"""Where heartbeats are due. While a JoinGroup is pending the coordinator holds the member by it."""

ENDED: Final = frozenset({Phase.LEFT, Phase.FAILED})

_FROM_ANYWHERE: Final = {
    Trigger.GENERATION_LOST: Phase.UNJOINED,
    Trigger.MEMBER_LOST: Phase.UNJOINED,
    Trigger.PARTED: Phase.UNJOINED,
    Trigger.LEAVE: Phase.LEFT,
    Trigger.REFUSED: Phase.FAILED,
}

TRANSITIONS: Final[dict[tuple[Phase, Trigger], Phase]] = {
    (Phase.UNJOINED, Trigger.WANTED): Phase.UNJOINED,
    (Phase.UNJOINED, Trigger.JOIN_SENT): Phase.JOINING,
    (Phase.PREPARING, Trigger.WANTED): Phase.PREPARING,
    (Phase.PREPARING, Trigger.REBALANCE): Phase.PREPARING,
    (Phase.PREPARING, Trigger.JOIN_SENT): Phase.JOINING,
    (Phase.JOINING, Trigger.WANTED): Phase.JOINING,
    (Phase.JOINING, Trigger.ID_GIVEN): Phase.UNJOINED,
    (Phase.JOINING, Trigger.CUT_OFF): Phase.UNJOINED,
    (Phase.JOINING, Trigger.JOINED): Phase.SYNCING,
    (Phase.SYNCING, Trigger.WANTED): Phase.SYNCING,
    # The coordinator's refusal of the SyncGroup; a heartbeat's word of it is WANTED.
    (Phase.SYNCING, Trigger.REBALANCE): Phase.PREPARING,
    (Phase.SYNCING, Trigger.CUT_OFF): Phase.UNJOINED,
    (Phase.SYNCING, Trigger.SYNCED): Phase.STABLE,
    (Phase.STABLE, Trigger.WANTED): Phase.PREPARING,
    (Phase.STABLE, Trigger.REBALANCE): Phase.PREPARING,
    **{
        (phase, trigger): target
        for phase in Phase
        if phase not in ENDED
        for trigger, target in _FROM_ANYWHERE.items()
    },
}
"""The whole state machine. What is not here does not happen, or comes too late to matter."""


class Membership(NamedTuple):
    """What a member is to its group now."""

    phase: Phase = Phase.UNJOINED
    identity: Identity = NOBODY
    wanted: Reason | None = None
    """Why another join is due; kept while one is under way, which it came too late for."""

    @property
    def is_member(self) -> bool:
        """Whether what this member holds is its own by a generation of the group."""
        return self.identity.generation != NO_GENERATION


def step(
    member: Membership,
    trigger: Trigger,
    *,
    identity: Identity | None = None,
    reason: Reason | None = None,
) -> Membership:
    """Return what the trigger makes of a member.

    ``identity`` comes with JOINED and ID_GIVEN, ``reason`` with what makes another join due. A
    trigger that has no place in the member's phase changes nothing: it comes too late.
    """
    target = TRANSITIONS.get((member.phase, trigger))
    if target is None:
        return member
    wanted = member.wanted
    who = member.identity
    match trigger:
        case Trigger.JOIN_SENT | Trigger.LEAVE | Trigger.REFUSED:
            wanted = None
        case Trigger.ID_GIVEN if identity is not None:
            who, wanted = who._replace(member_id=identity.member_id), wanted or Reason.FIRST
        case Trigger.JOINED if identity is not None:
            who = identity
        case Trigger.SYNCED:
            target = Phase.PREPARING if wanted else Phase.STABLE
        case Trigger.GENERATION_LOST:
            who, wanted = who._replace(generation=NO_GENERATION), reason or Reason.LOST
        case Trigger.MEMBER_LOST:
            who, wanted = NOBODY, reason or Reason.LOST
        case Trigger.PARTED:
            who, wanted = NOBODY, None
        case Trigger.WANTED | Trigger.REBALANCE | Trigger.CUT_OFF:
            wanted = wanted or reason or _DEFAULT[trigger]
        case _:
            pass
    return Membership(target, who, wanted)


_DEFAULT: Final = {
    Trigger.WANTED: Reason.GROUP,
    Trigger.REBALANCE: Reason.GROUP,
    Trigger.CUT_OFF: Reason.CUT_OFF,
}


class Request(Enum):
    """The requests whose answers decide about a membership."""

    JOIN = "JoinGroup"
    SYNC = "SyncGroup"
    HEARTBEAT = "Heartbeat"
    COMMIT = "OffsetCommit"


class Verdict(NamedTuple):
    """What an error says of a membership, and of who gave it."""

    trigger: Trigger | None
    """None: it says nothing about the membership; the request is to be made again later."""
    coordinator_moved: bool = False


_VERDICTS: Final[dict[type[KafkaError], Verdict]] = {
    errors.RebalanceInProgressError: Verdict(Trigger.REBALANCE),
    # The member id stays: dropping it leaves a ghost behind that the group waits for (KAFKA-13419).
    errors.IllegalGenerationError: Verdict(Trigger.GENERATION_LOST),
    errors.UnknownMemberIdError: Verdict(Trigger.MEMBER_LOST),
    errors.NotCoordinatorForGroupError: Verdict(None, coordinator_moved=True),
    errors.GroupCoordinatorNotAvailableError: Verdict(None, coordinator_moved=True),
    errors.GroupLoadInProgressError: Verdict(None),
    FencedInstanceIdError: Verdict(Trigger.REFUSED),
    GroupMaxSizeReachedError: Verdict(Trigger.REFUSED),
    errors.GroupAuthorizationFailedError: Verdict(Trigger.REFUSED),
    errors.InconsistentGroupProtocolError: Verdict(Trigger.REFUSED),
    errors.InvalidSessionTimeoutError: Verdict(Trigger.REFUSED),
    errors.InvalidGroupIdError: Verdict(Trigger.REFUSED),
    errors.IncompatibleBrokerVersion: Verdict(Trigger.REFUSED),
}

_CUTTING: Final = frozenset({Request.JOIN, Request.SYNC})
"""Requests without whose answer it is unknown which generation the member is in."""


def judge(request: Request, error: KafkaError) -> Verdict:
    """Return what an error answer (or the lack of an answer) to a request says.

    A commit may be refused for itself, which says nothing about the membership.
    """
    verdict = next((v for kind, v in _VERDICTS.items() if isinstance(error, kind)), None)
    if verdict is None:
        passing = error.retriable or isinstance(error, errors.UnknownError)
        verdict = Verdict(None if passing else Trigger.REFUSED, coordinator_moved=passing)
    if request in _CUTTING and verdict.trigger is None:
        return verdict._replace(trigger=Trigger.CUT_OFF)
    if request is Request.JOIN and verdict.trigger is Trigger.REBALANCE:
        # What brokers say when their own log was too slow for a join: it is to be made again.
        return Verdict(Trigger.CUT_OFF)
    if request in (Request.HEARTBEAT, Request.COMMIT) and verdict.trigger is Trigger.REBALANCE:
        return Verdict(Trigger.WANTED)
    for_itself = not isinstance(error, FencedInstanceIdError)
    if request is Request.COMMIT and verdict.trigger is Trigger.REFUSED and for_itself:
        return verdict._replace(trigger=None)
    return verdict


def is_own_word(member: Membership, spoken_as: Identity) -> bool:
    """Whether an answer to what was said as ``spoken_as`` still concerns the member.

    An answer of an earlier generation, or to an earlier member id, comes too late (KAFKA-9823).
    """
    return member.identity == spoken_as and member.phase not in ENDED


def returned_as_leader(instance_id: str | None, identity: Identity, leader_id: str) -> bool:
    """Whether a static member that came back without a rebalance is the group's leader.

    The coordinator then names the leader by the id which that member had before (KAFKA-13435), and
    makes such ids of the instance id, a hyphen and a UUID of 36 characters.
    """
    if instance_id is None or leader_id == identity.member_id:
        return False
    prefix = f"{instance_id}-"
    return leader_id.startswith(prefix) and len(leader_id) == len(prefix) + 36
