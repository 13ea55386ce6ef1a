"""Finds out where added partitions are to be read from: what the group has committed of them.

Each is looked for until it is found or no longer assigned, whatever rebalances come meanwhile: a
lookup that a rebalance cut short would leave a partition that is kept and never read.
"""

import asyncio
import logging
import random
from collections.abc import Collection, Mapping
from typing import TypeGuard

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, UnknownError
from aiokafka.structs import OffsetAndMetadata

from kafka_utils.aiokafka_internals import IncrementalFetcher
from kafka_utils.coordinator.deadlines import backoff
from kafka_utils.coordinator.membership import Request, Trigger, judge
from kafka_utils.coordinator.messages import Transport
from kafka_utils.coordinator.ownership import Partitions
from kafka_utils.events import ConsumerEvents, Retry, tell

Found = OffsetAndMetadata | KafkaError | None

_log = logging.getLogger(__name__)


class Positions:
    """Looks up committed offsets, for one consumer."""

    def __init__(
        self, transport: Transport, fetcher: IncrementalFetcher, events: ConsumerEvents
    ) -> None:
        self._transport = transport
        self._fetcher = fetcher
        self._events = events
        self._tasks: set[asyncio.Task[None]] = set()
        self._newest: dict[TopicPartition, asyncio.Task[None]] = {}

    def look_up(self, partitions: Partitions) -> None:
        """Find out where these are to be read from, in the background.

        What an earlier call for the same partition may still find does not count: the partition may
        have been another member's since, and that one has committed.
        """
        task = asyncio.create_task(self._place(partitions))
        self._newest.update(dict.fromkeys(partitions, task))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return what is committed; partitions of which nothing is are left out."""
        known: dict[TopicPartition, OffsetAndMetadata] = {}
        missing = set(partitions)
        failures = 0
        while missing:
            found, passing = await self._ask(missing)
            for here, kept in found.items():
                missing.discard(here)
                if isinstance(kept, KafkaError):
                    raise kept
                if kept is not None:
                    known[here] = kept
            if passing:
                failures += 1
                await self._pause(failures, passing)
        return known

    def close(self) -> None:
        """Look for nothing any more."""
        for task in self._tasks:
            task.cancel()

    async def _place(self, partitions: Partitions) -> None:
        failures = 0
        while wanted := self._wanted(partitions):
            passing = None
            try:
                found, passing = await self._ask(wanted)
            except KafkaError as error:
                found = dict.fromkeys(wanted, error)
            except Exception as error:
                # Whoever asks for records hears of it: else they would wait, and nobody know why.
                _log.exception("committed offsets could not be looked up")
                found = dict.fromkeys(wanted, KafkaError(repr(error)))
            self._fetcher.place({here: found[here] for here in self._wanted(found)})
            partitions -= found.keys()
            if passing:
                failures += 1
                await self._pause(failures, passing)

    def _wanted(self, partitions: Collection[TopicPartition]) -> list[TopicPartition]:
        this = asyncio.current_task()
        return [
            here
            for here in partitions
            if self._newest[here] is this and self._fetcher.needs_place(here)
        ]

    async def _ask(
        self, partitions: Collection[TopicPartition]
    ) -> tuple[Mapping[TopicPartition, Found], KafkaError | None]:
        """Ask once; return what is known, and what keeps others from being known for now.

        Raises what stays wrong.
        """
        try:
            await self._transport.find()
            answer = await self._transport.committed(partitions)
        except KafkaError as error:
            verdict = judge(Request.JOIN, error)
            if verdict.coordinator_moved:
                self._transport.forget(f"OffsetFetch: {type(error).__name__}")
            if verdict.trigger is not Trigger.CUT_OFF:
                raise
            return {}, error
        found = {here: kept for here, kept in answer.items() if not _passes(kept)}
        if found.keys() >= set(partitions):
            return found, None
        return found, next(filter(_passes, answer.values()), UnknownError("not answered"))

    async def _pause(self, failures: int, passing: KafkaError) -> None:
        seconds = backoff(failures, random.random())
        retry = Retry(
            request="OffsetFetch",
            error=type(passing).__name__,
            failures=failures,
            pause_seconds=seconds,
        )
        tell(self._events.retried, retry)
        await asyncio.sleep(seconds)


def _passes(kept: Found) -> TypeGuard[KafkaError]:
    return isinstance(kept, KafkaError) and kept.retriable
