"""Writes words, each acknowledged by all replicas in sync."""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Protocol

from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from prometheus_client import Counter

from app_worker.backoff import Backoff
from app_worker.handover.needs import Place
from app_worker.handover.words import Kind, Word, write_word

MOST_TRIES = 4
TRY_SECONDS = 2.0
"""What a single try may take: a producer itself goes on for as long as a request may take."""
BACKOFF = Backoff(first=0.1, longest=1.0)

_log = logging.getLogger(__name__)


class Sender(Protocol):
    """What stores records; RenewableProducer does."""

    async def partitions_for(self, topic: str) -> set[int]:
        """The partitions of a topic. Raises KafkaError."""
        ...

    async def send_to(self, topic: str, partition: int, value: bytes) -> int:
        """Store it there; return its offset. Raises KafkaError."""
        ...

    def renew(self) -> None:
        """Use new connections for what comes next."""


class WordWriter:
    """Writes the words of one hand-over topic."""

    def __init__(
        self,
        topic: str,
        sender: Sender,
        failures: Counter,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """``failures`` has one label: which side, here ``write``."""
        self._topic = topic
        self._sender = sender
        self._failed = failures.labels("write")
        self._jitter = jitter
        self._good: int | None = None
        """The partition that took a word last, and no failure since."""

    async def open(self, group: str, nonce: int, topic: str) -> Place:
        """Write the word that a release begins with, where the last one could be written, or else
        in any partition; return its place.

        Raises KafkaError or OSError.
        """
        there = await self._sender.partitions_for(self._topic)
        partition = self._good if self._good in there else random.choice(sorted(there))
        self._good = None
        value = write_word(Word(Kind.OPENED, group, nonce, topic))
        try:
            offset = await self._sender.send_to(self._topic, partition, value)
        except (KafkaError, OSError):
            self._failed.inc()
            raise
        self._good = partition
        return Place(partition, offset)

    async def tell(self, partition: int, word: Word) -> None:
        """Write a word into this partition, several times if need be.

        Raises KafkaError or OSError: then it is not known whether it stands there.
        """
        value = write_word(word)
        for tries in range(1, MOST_TRIES + 1):
            try:
                async with asyncio.timeout(TRY_SECONDS):
                    await self._send(partition, value)
            except (KafkaError, OSError) as error:
                self._failed.inc()
                self._good = None
                if isinstance(error, TimeoutError):
                    self._sender.renew()
                if tries == MOST_TRIES:
                    raise
                seconds = BACKOFF.seconds(tries, self._jitter())
                detail = {"partition": partition, "error": str(error) or type(error).__name__}
                _log.info("a word could not be written; next try in %.1f s", seconds, extra=detail)
                await asyncio.sleep(seconds)
            else:
                return

    async def _send(self, partition: int, value: bytes) -> None:
        if partition not in await self._sender.partitions_for(self._topic):
            raise UnknownTopicOrPartitionError(f"{self._topic} has no partition {partition}")
        await self._sender.send_to(self._topic, partition, value)
