"""What a member and its group's coordinator say to each other, as values, and who carries it."""

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

NO_MEMBER_ID: Final = ""
NO_GENERATION: Final = -1


class Identity(NamedTuple):
    """Who a member is to its group, at the moment in which it says something."""

    member_id: str = NO_MEMBER_ID
    generation: int = NO_GENERATION


NOBODY: Final = Identity()
"""Who has never joined, or is no longer known."""


class MemberIdGiven(NamedTuple):
    """The coordinator wants the member to join again, with this id (KIP-394)."""

    member_id: str


class Joined(NamedTuple):
    """The coordinator let the member into a new generation of the group."""

    identity: Identity
    leader_id: str
    protocol: str
    """The name of the assignor that all members have in common."""
    members: Mapping[str, bytes]
    """Each member's subscription, for the leader only."""


class Described(NamedTuple):
    """A whole group, as its coordinator sees it."""

    protocol: str | None
    """The assignor that its members use; None if there is none."""
    members: Mapping[str, tuple[bytes, bytes]] | None
    """Each member's subscription and assignment; None while the group rebalances."""


class Transport(Protocol):
    """Carries a member's words to its coordinator. One coordinator, one group, one member.

    Every method raises the KafkaError that the coordinator answered with, or that kept it from
    answering. A join may take as long as the slowest member of the group, and keeps nothing else
    waiting.
    """

    async def find(self) -> None:
        """Find the coordinator, if it is not known; returns when it can be talked to."""

    def forget(self, reason: str) -> None:
        """The coordinator is another broker, or gone: the next ``find`` asks for it."""

    async def join(
        self, member_id: str, protocols: Collection[tuple[str, bytes]]
    ) -> Joined | MemberIdGiven:
        """Join with a subscription for each assignor, by preference."""

    async def sync(self, identity: Identity, assignments: Mapping[str, bytes]) -> bytes:
        """Return this member's assignment; the leader brings that of every member."""

    async def heartbeat(self, identity: Identity) -> None:
        """Tell that the member is alive."""

    async def commit(
        self, identity: Identity, offsets: Mapping[TopicPartition, OffsetAndMetadata]
    ) -> None:
        """Store offsets; raises the first error if any partition was refused."""

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, OffsetAndMetadata | KafkaError | None]:
        """Return what the group has committed of each partition; None for nothing.

        A partition's own error stands in its place, and one without a word is left out.
        """

    async def leave(self, identity: Identity) -> None:
        """Leave the group, even while a join is pending."""

    async def describe(self) -> Described:
        """Return what the coordinator says of the whole group."""
