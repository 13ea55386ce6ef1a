"""Who owns which partition before and after a change of members; pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

Owners = Mapping[int, str]
"""The client id of each partition's owner. A consumer keeps it when it becomes a new member."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group as its coordinator describes it."""

    state: str
    members: tuple[str, ...]
    """Their client ids; one that appears twice has left a ghost behind."""
    owners: Owners

    def is_balanced(self, members: int, partitions: int) -> bool:
        """Whether these members, and no ghost, own everything in equal shares."""
        shares = Counter(self.owners.values())
        return (
            self.state == "Stable"
            and len(self.members) == len(set(self.members)) == members
            and len(self.owners) == partitions
            and max(shares.values()) - min(shares[member] for member in self.members) <= 1
        )


def retained(before: Owners, after: Owners) -> frozenset[int]:
    """The partitions with the same owner before and after."""
    return frozenset(p for p, owner in before.items() if after.get(p) == owner)


def staying(before: Owners, members: frozenset[str]) -> frozenset[int]:
    """The partitions whose owners are still members."""
    return frozenset(p for p, owner in before.items() if owner in members)


def moved(before: Owners, after: Owners) -> frozenset[int]:
    """The partitions that went from one owner to another, or to nobody."""
    return frozenset(before) - retained(before, after)


def must_move(before: Owners, members: frozenset[str]) -> int:
    """How many partitions have to move, at the least, for these members to own equal shares.

    The largest shares stay the largest: each member keeps what it owns up to its new share.
    """
    owned = sorted((Counter(before.values())[member] for member in members), reverse=True)
    share, larger = divmod(len(before), len(members))
    kept = sum(min(have, share + (rank < larger)) for rank, have in enumerate(owned))
    return len(before) - kept
