"""The balance among members that all subscribe to the same topics."""

from collections import deque
from collections.abc import Collection, Mapping

from aiokafka import TopicPartition


def balance(
    partitions: Collection[TopicPartition],
    members: Collection[str],
    owner: Mapping[TopicPartition, str],
) -> dict[str, list[TopicPartition]]:
    """Share the partitions out so that the members' numbers differ by one at most.

    ``owner`` tells which of the members has a partition now. As few as possible move: a member
    gives up only what exceeds its quota, and the larger quotas go to those who can use them to keep
    something. With no members nobody gets anything.
    """
    if not members:
        return {}
    shares: dict[str, list[TopicPartition]] = {member: [] for member in sorted(members)}
    # By partition before topic: the surplus then comes from all topics alike (KAFKA-16277).
    for partition in sorted(partitions, key=lambda each: (each.partition, each.topic)):
        if owner.get(partition) in shares:
            shares[owner[partition]].append(partition)
    unfilled = deque[str]()
    kept = set[TopicPartition]()
    quotas = _quotas(len(partitions), {member: len(share) for member, share in shares.items()})
    for member, quota in quotas.items():
        del shares[member][quota:]
        kept.update(shares[member])
        if len(shares[member]) < quota:
            unfilled.append(member)
    # By topic before partition, and in turn: a topic's partitions then go to many members.
    for partition in sorted(set(partitions) - kept):
        member = unfilled.popleft()
        shares[member].append(partition)
        if len(shares[member]) < quotas[member]:
            unfilled.append(member)
    return shares


def _quotas(partitions: int, owned: Mapping[str, int]) -> dict[str, int]:
    """How many partitions each member is to have; the order of the members is kept."""
    least, larger = divmod(partitions, len(owned))
    in_need = sorted(owned, key=lambda member: owned[member] <= least)
    having_more = set(in_need[:larger])
    return {member: least + (member in having_more) for member in owned}
