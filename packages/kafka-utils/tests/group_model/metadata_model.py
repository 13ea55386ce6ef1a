"""What a member's client knows of topics: what there was when it last asked."""

import asyncio
from collections.abc import Callable, Collection

from group_model.processes import Process
from group_model.truth import Truth


class ModelMetadata:
    """A client, and its cluster, as far as ``WatchedTopics`` asks for them.

    It never asks by itself: its metadata may grow older than any schedule is long.
    """

    def __init__(self, truth: Truth, process: Process, topics: Collection[str]) -> None:
        self.cluster = self
        self.heard: Callable[[ModelMetadata], object] = lambda _: None
        self._truth = truth
        self._process = process
        self._topics = set(topics)
        self._known = self._there()
        self._asked: asyncio.Task[bool] | None = None

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self._known.get(topic, 0)))

    def set_topics(self, topics: Collection[str]) -> asyncio.Future[bool]:
        known = self._topics.issuperset(topics)  # Then aiokafka's client asks for nothing.
        self._topics = set(topics)
        return _done() if known else self.force_metadata_update()

    def force_metadata_update(self) -> asyncio.Future[bool]:
        if self._asked is None or self._asked.done():
            self._asked = self._process.spawn(self._ask())
        return asyncio.shield(self._asked)

    async def _ask(self) -> bool:
        await asyncio.sleep(self._truth.network.latency())
        self._known = self._there()
        self.heard(self)
        return True

    def _there(self) -> dict[str, int]:
        return {topic: self._truth.topics.get(topic, 0) for topic in self._topics}


def _done() -> asyncio.Future[bool]:
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    done.set_result(True)
    return done
