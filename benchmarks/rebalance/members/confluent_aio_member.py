"""A pod of confluent-kafka's AIOConsumer with cooperative-sticky, all on one event loop."""

import asyncio
import signal
import sys
import time
from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.aio import AIOConsumer

from benchmarks.rebalance.arguments import Arguments
from benchmarks.rebalance.members.confluent_settings import (
    LEAVE_POLL_SECONDS,
    LEAVE_SECONDS,
    POLL_SECONDS,
    Hand,
    settings,
)
from benchmarks.rebalance.notes import Kind, Notebook

WORKERS = 2
"""Threads of a consumer: a call, and a call from within a callback of that call."""


class Member:
    """One consumer, written as a careful user would: what is revoked is drained and committed."""

    def __init__(self, arguments: Arguments, number: int, notebook: Notebook) -> None:
        self._arguments = arguments
        self._hand = Hand(arguments, number, notebook)
        self._consumer = AIOConsumer(settings(arguments, number), max_workers=WORKERS)
        self._waiting: list[Any] = []
        self._next_commit = 0.0

    async def run(self, stopping: asyncio.Event) -> None:
        """Consume until told to stop, then drain, commit and leave."""
        if self._arguments.idle:
            await self._consumer.list_topics(self._arguments.topic)
            await stopping.wait()
            return
        await self._consumer.subscribe(
            [self._arguments.topic],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )
        while not stopping.is_set():
            await self._turn()
        await self._leave()

    async def _leave(self) -> None:
        # A commit is refused while a rebalance goes on, and one proceeds in poll only.
        work = self._hand.work
        work.close(work.partitions)
        give_up = time.monotonic() + LEAVE_SECONDS
        while time.monotonic() < give_up and (
            self._hand.seconds_until_drained(work.partitions)
            or not await self._commit(work.partitions)
        ):
            await self._consumer.pause(await self._consumer.assignment())
            await self._consumer.poll(LEAVE_POLL_SECONDS)
        await self._consumer.close()

    async def _turn(self) -> None:
        wait = self._hand.seconds_until_free()
        if wait:
            # Polled all the same, since a rebalance proceeds in poll only.
            await self._consumer.pause(await self._consumer.assignment())
            await self._take(min(wait, POLL_SECONDS))
            await self._consumer.resume(await self._consumer.assignment())
        elif self._waiting:
            self._hand.begin(self._waiting.pop(0))
        else:
            await self._take(POLL_SECONDS)
        if time.monotonic() >= self._next_commit:
            await self._commit(self._hand.work.partitions)
            self._next_commit = time.monotonic() + self._arguments.commit_ms / 1000

    async def _take(self, seconds: float) -> None:
        message = await self._consumer.poll(seconds)
        if message is not None:
            self._waiting.append(message)

    async def _assigned(self, _: AIOConsumer, partitions: list[TopicPartition]) -> None:
        self._hand.work.open(self._hand.told(Kind.ASSIGNED, partitions))

    async def _revoked(self, _: AIOConsumer, partitions: list[TopicPartition]) -> None:
        await self._finish(self._hand.told(Kind.REVOKED, partitions))

    async def _lost(self, _: AIOConsumer, partitions: list[TopicPartition]) -> None:
        self._forget(self._hand.told(Kind.LOST, partitions))

    def _forget(self, partitions: Iterable[int]) -> None:
        gone = set(partitions)
        self._hand.work.forget(gone)
        self._waiting = [m for m in self._waiting if m.partition() not in gone]

    async def _finish(self, partitions: Iterable[int]) -> None:
        self._hand.work.close(partitions)
        await asyncio.sleep(self._hand.seconds_until_drained(partitions))
        await self._commit(partitions)
        self._forget(partitions)

    async def _commit(self, partitions: Iterable[int]) -> bool:
        offsets = self._hand.work.committable(partitions, time.monotonic_ns())
        if not offsets:
            return True
        topic = self._arguments.topic
        wanted = [TopicPartition(topic, p, offset) for p, offset in offsets.items()]
        try:
            done = await self._consumer.commit(offsets=wanted, asynchronous=False)
        except KafkaException as error:
            return self._hand.commit_failed(error)
        return self._hand.committed(offsets, done or [])


async def run(arguments: Arguments) -> None:
    """Run the pod until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    notebook = Notebook(arguments.notes)
    members = [Member(arguments, number, notebook) for number in range(arguments.members)]
    await asyncio.gather(*(member.run(stopping) for member in members))


if __name__ == "__main__":
    asyncio.run(run(Arguments.parse(sys.argv[1:])))
