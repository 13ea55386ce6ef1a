"""Decides which fetches may wait for long: where nothing has happened for a while.

A fetch every half second is most of what an idle consumer costs, and a broker answers at once when
a record comes, however long it may wait. But it looks at nothing that the fetch does not name, and
answers the requests of one connection in order. So a fetch that waits for long names all that is
read from its broker, and goes over a connection of its own. When something changes it is left to
itself: what is new, was moved or has another leader is fetched beside it, as if it were not there.
"""

from asyncio import CancelledError
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient

WAIT_MS = 10_000
"""How long a broker may hold back the answer, but for at most half of what a request may take."""

STILL_SECONDS = 1.0
"""After the last change. With records about every second, nothing is gained by waiting."""

CHANNEL = "long fetches"


class Place(NamedTuple):
    """Where a partition is read, and from whom."""

    state: object
    """That of its assignment: another one if it went and came back."""
    position: int
    node: int | None


class LongFetches:
    """Those that are under way, and whether others may begin; times are in seconds."""

    def __init__(self) -> None:
        self._under_way: dict[int, dict[TopicPartition, Place]] = {}
        self._seen: dict[TopicPartition, Place] = {}
        self._since = 0.0

    def stir(self, now: float) -> None:
        """Something happens."""
        self._since = now

    def due(
        self, places: dict[TopicPartition, Place], busy: Collection[int], now: float
    ) -> Mapping[int, Mapping[TopicPartition, Place]]:
        """What to fetch, by broker, with a long wait from now on.

        ``places`` are those of all partitions that could be fetched; brokers that are ``busy`` have
        another fetch of ours.
        """
        if places != self._seen:
            self._seen = places
            self._since = now
        if now - self._since < STILL_SECONDS:
            return {}
        by_node: dict[int, dict[TopicPartition, Place]] = {}
        for here, place in places.items():
            node = place.node
            if node is not None and node >= 0 and node not in busy and node not in self._under_way:
                by_node.setdefault(node, {})[here] = place
        return by_node

    @property
    def nodes(self) -> Collection[int]:
        """The brokers that have one."""
        return self._under_way.keys()

    def begun(self, node: int, places: Mapping[TopicPartition, Place]) -> None:
        """One is sent to this broker."""
        self._under_way[node] = dict(places)

    def ended(self, node: int, _: object = None) -> None:
        """It has been answered, or has failed."""
        self._under_way.pop(node, None)

    def others(self, places: Mapping[TopicPartition, Place]) -> list[TopicPartition]:
        """Those that no fetch under way would bring."""
        if not self._under_way:
            return list(places)
        return [here for here, place in places.items() if not self._bring(here, place)]

    def _bring(self, here: TopicPartition, place: Place) -> bool:
        asked = self._under_way.get(-1 if place.node is None else place.node, {})
        return asked.get(here) == place


class OwnConnection:
    """What a fetcher asks of a client, over a connection for long fetches."""

    def __init__(self, client: AIOKafkaClient) -> None:
        self._client = client

    async def send(self, node_id: int, request: Any) -> Any:
        """See aiokafka's client.

        One that is cancelled closes the connection: the broker would answer it first.
        """
        try:
            return await self._client.send(node_id, request, group=CHANNEL)
        except CancelledError:
            connection = self._client._conns.pop((node_id, CHANNEL), None)
            if connection is not None:
                connection.close()
            raise

    def force_metadata_update(self) -> Any:
        """See aiokafka's client."""
        return self._client.force_metadata_update()
