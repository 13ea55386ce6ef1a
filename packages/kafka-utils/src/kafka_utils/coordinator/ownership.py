"""Which partitions a member holds, and what a new plan makes of that: no I/O, no protocol."""

from typing import NamedTuple

from aiokafka import TopicPartition

Partitions = frozenset[TopicPartition]
NOTHING: Partitions = frozenset()


class Ownership(NamedTuple):
    """What a member holds and what it is to hold.

    Invariants: ``revoking`` and ``announcing`` are parts of ``held`` and have nothing in common; a
    partition leaves ``held`` only by ``released`` or ``lost``.
    """

    held: Partitions = NOTHING
    """What this member claims. Nobody else may be given these before they are released."""
    target: Partitions = NOTHING
    """What the newest plan gives this member."""
    revoking: Partitions = NOTHING
    """Those whose revoke callback is running; nothing of them is delivered any more."""
    announcing: Partitions = NOTHING
    """Those whose assign callback has not returned; nothing of them is delivered yet."""

    @property
    def to_revoke(self) -> Partitions:
        """Held and not to be held any more; a revoke waits until they have been announced."""
        return self.held - self.target - self.revoking - self.announcing

    @property
    def delivered(self) -> Partitions:
        """Those of which records may be handed to the application."""
        return self.held - self.revoking - self.announcing

    @property
    def settled(self) -> bool:
        """Whether the newest plan is carried out."""
        return self.held == self.target and not self.revoking and not self.announcing

    def planned(self, target: Partitions) -> "Ownership":
        """A new plan: what is added is held, and to be announced, at once."""
        return _taking_up(self, target - self.held)._replace(target=target)

    def announced(self, partitions: Partitions) -> "Ownership":
        """The assign callback for these has returned."""
        return self._replace(announcing=self.announcing - partitions)

    def begin_revoke(self) -> "Ownership":
        """Delivery of what is to be revoked stops; its callback is about to be called."""
        return self._replace(revoking=self.revoking | self.to_revoke)

    def kept(self, partitions: Partitions) -> "Ownership":
        """The newest plan leaves these, and their revoke was taken back: they are delivered again.

        Of those that are not being revoked, or are not left to the member, nothing changes.
        """
        return self._replace(revoking=self.revoking - (partitions & self.target))

    def released(self) -> "Ownership":
        """What was being revoked is given up.

        The newest plan may give some of it back meanwhile: that is a new assignment of it.
        """
        freed = self._replace(held=self.held - self.revoking, revoking=NOTHING)
        return _taking_up(freed, freed.target - freed.held)

    def lost(self) -> "Ownership":
        """Nothing is held any more: others may have it already."""
        return Ownership()


def _taking_up(own: Ownership, partitions: Partitions) -> Ownership:
    return own._replace(held=own.held | partitions, announcing=own.announcing | partitions)
