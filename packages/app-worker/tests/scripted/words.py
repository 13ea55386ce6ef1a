"""A hand-over topic in memory: a writer and readers of words, with faults on command."""

import asyncio
from collections.abc import Collection, Mapping

from aiokafka.errors import KafkaError

from app_worker.handover import Kind, Word
from app_worker.handover.inherited import place_to_read
from app_worker.handover.needs import Deliver, Mode, Place, Words

READ_SECONDS = 0.01
"""From a word's being written to its being read."""


class ScriptedTopic:
    """The words of all workers of a test, in two partitions; words begin to stand at offset 50."""

    def __init__(self) -> None:
        self.starts = {0: 50, 1: 50}
        self.logs: dict[int, list[Word]] = {0: [], 1: []}
        self.readers: list[ScriptedReader] = []
        self.refuse_open: Exception | None = None
        self.open_seconds = 0.002
        self.refuse_tell: Exception | None = None
        self.refuse_ends: Exception | None = None
        self.silent = False
        """Whether readers get nothing at present."""

    def words(self, why_not: Mode | None = None) -> Words:
        return Words(why_not or Mode(None), self, self._reader)

    def _reader(self, deliver: Deliver) -> "ScriptedReader":
        self.readers.append(ScriptedReader(self, deliver))
        return self.readers[-1]

    @property
    def told(self) -> list[tuple[int, int]]:
        """Partition and offset of every record that was told of, in order."""
        return [pair for log in self.logs.values() for word in log for pair in word.settled]

    def end(self, partition: int) -> int:
        return self.starts[partition] + len(self.logs[partition])

    def add(self, partition: int, word: Word) -> Place:
        place = Place(partition, self.end(partition))
        self.logs[partition].append(word)
        for reader in self.readers:
            reader.wake()
        return place

    # As a writer.

    async def open(self, group: str, nonce: int, topic: str) -> Place:
        await asyncio.sleep(self.open_seconds)
        if self.refuse_open:
            raise self.refuse_open
        return self.add(nonce % 2, Word(Kind.OPENED, group, nonce, topic))

    async def tell(self, partition: int, word: Word) -> None:
        await asyncio.sleep(0.002)
        if self.refuse_tell:
            raise self.refuse_tell
        self.add(partition, word)


class ScriptedReader:
    """Reads as long as it is wanted."""

    def __init__(self, topic: ScriptedTopic, deliver: Deliver) -> None:
        self.places: dict[int, int] = {}
        self.rested = 0
        self._topic = topic
        self._deliver = deliver

    def read_from(self, places: Mapping[int, int]) -> None:
        topic = self._topic
        for partition, wanted in places.items():
            place = place_to_read(wanted, topic.starts[partition], topic.end(partition))
            self.places[partition] = min(place, self.places.get(partition, place))
        self.wake(at_first=True)

    def rest(self) -> None:
        self.rested += 1
        self.places = {}

    async def ends(self, partitions: Collection[int]) -> dict[int, int]:
        await asyncio.sleep(0.002)
        if self._topic.refuse_ends:
            raise self._topic.refuse_ends
        return {partition: self._topic.end(partition) for partition in partitions}

    async def close(self) -> None:
        self.places = {}

    def wake(self, *, at_first: bool = False) -> None:
        asyncio.get_running_loop().call_later(READ_SECONDS, self._read, at_first)

    def _read(self, at_first: bool) -> None:
        topic = self._topic
        for partition, place in list(self.places.items()):
            words = topic.logs[partition][place - topic.starts[partition] :]
            if (words or at_first) and not topic.silent:
                self.places[partition] = topic.end(partition)
                self._deliver(partition, words, topic.end(partition))


class UnwritableError(KafkaError):
    """What the brokers say in a test."""
