"""The balance among members whose subscriptions differ.

What counts is the sum of the squares of the members' loads (numbers of partitions): the smaller it
is, the better the balance. It is at its smallest when no chain of moves leads from a member to one
that has two partitions fewer, where each member of the chain gives one to the next (Harvey, Ladner,
Lovasz and Tamir, "Semi-matchings for bipartite graphs and load balancing", 2006). Chains that move
only what nobody owns are used up before the first that takes from an owner. So a group that has
released what was asked of it finds the same sum again without asking for more: it comes to rest
after one such round (the endless or needless rounds of KAFKA-8767, KAFKA-10987 and KAFKA-15106).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from aiokafka import TopicPartition


def balance(
    partition_counts: Mapping[str, int],
    topics: Mapping[str, frozenset[str]],
    owner: Mapping[TopicPartition, str],
) -> dict[str, list[TopicPartition]]:
    """Share the topics' partitions out among the members that subscribe to them.

    ``topics`` has what each member subscribes to and ``owner`` which member has a partition now.
    No move and no chain of moves would balance the result better.
    """
    shares = _Shares(topics, owner)
    unowned = []
    for topic in sorted(shares.subscribers):
        for partition in (TopicPartition(topic, n) for n in range(partition_counts.get(topic, 0))):
            holder = owner.get(partition, "")
            if topic in topics.get(holder, ()):
                shares.give(partition, holder)
            else:
                unowned.append(partition)
    for partition in unowned:
        shares.give(partition, shares.lightest(shares.subscribers[partition.topic]))
    while chain := shares.improving_chain(from_owners=False):
        shares.shift(chain)
    shares.level()
    while chain := shares.improving_chain(from_owners=True):
        shares.shift(chain)
    return shares.result()


_ByTopic = dict[str, list[TopicPartition]]


class _Move(NamedTuple):
    giver: str
    topic: str
    taker: str


class _Search:
    """Finds who can be reached by moves; nobody is visited and no topic is tried twice."""

    def __init__(self, subscribers: Mapping[str, list[str]]) -> None:
        self._subscribers = subscribers
        self._tried = set[str]()
        self._arrival: dict[str, _Move | None] = {}

    def begin(self, source: str) -> list[str]:
        """Visit a member from which moves may begin; nobody if it was reached before."""
        if source in self._arrival:
            return []
        self._arrival[source] = None
        return [source]

    def step(self, giver: str, topics: Iterable[str]) -> list[str]:
        """Visit who can take a partition of one of the topics from the giver."""
        reached = []
        for topic in topics:
            if topic not in self._tried:
                self._tried.add(topic)
                for taker in self._subscribers[topic]:
                    if taker not in self._arrival:
                        self._arrival[taker] = _Move(giver, topic, taker)
                        reached.append(taker)
        return reached

    def chain_to(self, member: str) -> list[_Move]:
        """The moves that lead to a member; their order does not matter."""
        chain = []
        while move := self._arrival[member]:
            chain.append(move)
            member = move.giver
        return chain


class _Shares:
    """What each member has so far; members and topics are tried in their sorted order."""

    def __init__(
        self, topics: Mapping[str, frozenset[str]], owner: Mapping[TopicPartition, str]
    ) -> None:
        self._topics = topics
        self._owner = owner
        self._load = dict.fromkeys(sorted(topics), 0)
        self._at_owner: dict[str, _ByTopic] = {member: {} for member in self._load}
        self._elsewhere: dict[str, _ByTopic] = {member: {} for member in self._load}
        self.subscribers: defaultdict[str, list[str]] = defaultdict(list)
        for member in self._load:
            for topic in topics[member]:
                self.subscribers[topic].append(member)

    def lightest(self, members: list[str]) -> str:
        return min(members, key=self._load.__getitem__)

    def give(self, partition: TopicPartition, member: str) -> None:
        kind = self._at_owner if self._owner.get(partition) == member else self._elsewhere
        kind[member].setdefault(partition.topic, []).append(partition)
        self._load[member] += 1

    def shift(self, chain: list[_Move]) -> None:
        for giver, topic, taker in chain:
            self.give(self._take(giver, topic, taker), taker)

    def level(self) -> None:
        """Make the single moves that improve the balance, from the heaviest to the lightest.

        That is most of the work, and much cheaper than to search for chains.
        """
        least = min(self._load.values())
        queue = [(-load, giver) for giver, load in self._load.items() if load - least > 1]
        heapify(queue)
        while queue:
            said, giver = heappop(queue)
            if -said == self._load[giver]:
                move = self._relief(giver)
                if move is None:
                    continue
                self.shift([move])
            heappush(queue, (-self._load[giver], giver))

    def _relief(self, giver: str) -> _Move | None:
        held = {
            topic: len(partitions)
            for kind in (self._at_owner, self._elsewhere)
            for topic, partitions in kind[giver].items()
        }
        limit = self._load[giver] - 2
        for taker in sorted(self._load, key=self._load.__getitem__):
            if self._load[taker] > limit:
                return None
            wanted = self._topics[taker]
            common = [topic for topic in held if topic in wanted]
            if common:
                # Of the topic that the giver has most of, so that topics stay spread.
                return _Move(giver, min(common, key=lambda topic: (-held[topic], topic)), taker)
        return None

    def result(self) -> dict[str, list[TopicPartition]]:
        return {
            member: [
                partition
                for kind in (self._at_owner, self._elsewhere)
                for partitions in kind[member].values()
                for partition in partitions
            ]
            for member in self._load
        }

    def improving_chain(self, *, from_owners: bool) -> list[_Move]:
        """Find moves from a member to one that has at least two partitions fewer; none if empty.

        The heaviest member that can be relieved is, by a chain that takes as few partitions from
        their owners as possible (none unless ``from_owners``). Whatever a heavier member reached in
        vain is not visited again: it is too heavy for a lighter one too.
        """
        least = min(self._load.values(), default=0)
        search = _Search(self.subscribers)
        for source in sorted(self._load, key=self._load.__getitem__, reverse=True):
            limit = self._load[source] - 2
            if limit < least:
                break
            reached = search.begin(source)
            while reached:
                for giver in reached:  # which grows on the way
                    reached += search.step(giver, self._elsewhere[giver])
                taker = self.lightest(reached)
                if self._load[taker] <= limit:
                    return search.chain_to(taker)
                givers = reached if from_owners else []
                reached = [
                    each for giver in givers for each in search.step(giver, self._at_owner[giver])
                ]
        return []

    def _take(self, giver: str, topic: str, taker: str) -> TopicPartition:
        free = self._elsewhere[giver].get(topic)
        kind = self._elsewhere if free else self._at_owner
        partitions = kind[giver][topic]
        returning = (p for p in partitions if self._owner.get(p) == taker)
        partition = next(returning, partitions[-1])
        partitions.remove(partition)
        if not partitions:
            del kind[giver][topic]
        self._load[giver] -= 1
        return partition
