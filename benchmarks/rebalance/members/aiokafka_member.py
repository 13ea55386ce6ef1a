"""A pod of aiokafka's consumers, stock or ours."""

import asyncio
import signal
import sys
import time
from collections.abc import Collection, Coroutine
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError

from benchmarks.rebalance.arguments import Arguments
from benchmarks.rebalance.notes import Kind, Note, Notebook
from benchmarks.rebalance.work import PAYLOAD, Work

STOCK = {
    "stock-roundrobin": RoundRobinPartitionAssignor,
    "stock-sticky": StickyPartitionAssignor,
}
OURS = {"ours": "cooperative-sticky", "ours-roundrobin": "roundrobin"}
POLL_MS = 200
RELINQUISH_SECONDS = 25.0


def create(arguments: Arguments, number: int) -> AIOKafkaConsumer:
    """A consumer that is neither started nor subscribed."""
    client_id = f"{arguments.pod}-{number}"
    if arguments.client in OURS:
        from kafka_utils import ConsumerConfig, create_consumer

        return create_consumer(
            ConsumerConfig(
                bootstrap_servers=tuple(arguments.servers.split(",")),
                group_id=arguments.group,
                client_id=client_id,
                assignors=(OURS[arguments.client],),
                session_timeout_ms=arguments.session_ms,
                heartbeat_interval_ms=arguments.heartbeat_ms,
                rebalance_timeout_ms=arguments.rebalance_ms,
            )
        )
    return AIOKafkaConsumer(
        bootstrap_servers=arguments.servers,
        group_id=arguments.group,
        client_id=client_id,
        partition_assignment_strategy=(STOCK[arguments.client],),
        session_timeout_ms=arguments.session_ms,
        heartbeat_interval_ms=arguments.heartbeat_ms,
        rebalance_timeout_ms=arguments.rebalance_ms,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )


class Member(ConsumerRebalanceListener):
    """One consumer, written as a careful user would: what is revoked is drained and committed."""

    def __init__(self, arguments: Arguments, number: int, notebook: Notebook) -> None:
        self._arguments = arguments
        self._number = number
        self._notebook = notebook
        self._work = Work(arguments.slots)
        self._consumer = create(arguments, number)
        # A join that overtakes a commit would make the commit one of an older generation.
        self._committing = asyncio.Lock()
        self._kept = asyncio.Event()

    async def run(self, stopping: asyncio.Event) -> None:
        """Consume until told to stop, then drain, commit and leave."""
        await self._consumer.start()
        if not self._arguments.idle:
            self._consumer.subscribe([self._arguments.topic], listener=self)
            await self._until(self._may_end(stopping), self._poll(), self._commit_regularly())
            await self._finish(self._work.partitions)
        else:
            await stopping.wait()
        await self._consumer.stop()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """As aiokafka calls it."""
        self._work.open(self._told(Kind.ASSIGNED, assigned))

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """As aiokafka calls it."""
        await self._finish(self._told(Kind.REVOKED, revoked))

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        """As our consumer calls it: others may own them, so nothing is committed."""
        self._work.forget(self._told(Kind.LOST, lost))

    def on_partitions_kept(self, kept: Collection[TopicPartition]) -> Collection[TopicPartition]:
        """As our consumer calls it: the next plan has left these here, while they drained."""
        mine = {here for here in kept if self._work.closing([here.partition])}
        self._work.reopen(self._told(Kind.KEPT, mine))
        self._kept.set()
        return mine

    def _told(self, kind: Kind, partitions: Collection[TopicPartition]) -> list[int]:
        for partition in partitions:
            self._note(kind, partition.partition)
        return [partition.partition for partition in partitions]

    def _note(self, kind: Kind, partition: int, offset: int = 0, produced_ns: int = 0) -> None:
        now = time.monotonic_ns()
        self._notebook.note(Note(kind, self._number, partition, offset, produced_ns, now))

    async def _may_end(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        relinquish = getattr(self._consumer, "relinquish", None)
        if relinquish is not None:
            # Only ours has it: it goes on working until others are to have its partitions.
            with suppress(TimeoutError):
                await asyncio.wait_for(relinquish(), RELINQUISH_SECONDS)

    @staticmethod
    async def _until(end: Coroutine[Any, Any, None], *loops: Coroutine[Any, Any, None]) -> None:
        tasks = [asyncio.create_task(loop) for loop in loops]
        stop = asyncio.create_task(end)
        ended, _ = await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in (stop, *tasks):
            task.cancel()
        await asyncio.wait({stop, *tasks})
        for task in ended:
            task.result()

    async def _poll(self) -> None:
        while True:
            now = time.monotonic_ns()
            free = self._work.free(now)
            if free:
                await self._take(free)
            else:
                await asyncio.sleep((self._work.next_free() - now) / 1e9)

    async def _take(self, most: int) -> None:
        fetched = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=most)
        for partition, records in fetched.items():
            for record in records:
                produced_ns, work_us = PAYLOAD.unpack(record.value or b"")
                begun = self._work.begin(
                    partition.partition, record.offset, work_us, time.monotonic_ns()
                )
                if begun is not False:
                    kind = Kind.BEGAN if begun else Kind.STRAY
                    self._note(kind, partition.partition, record.offset, produced_ns)

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._arguments.commit_ms / 1000)
            await self._commit(self._work.partitions)

    async def _finish(self, partitions: Collection[int]) -> None:
        self._work.close(partitions)
        while left := self._left(partitions):
            self._kept.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._kept.wait()
        await self._commit(self._work.closing(partitions))
        self._work.forget(self._work.closing(partitions))

    def _left(self, partitions: Collection[int]) -> float:
        """How many seconds until those that are closing are drained."""
        end = self._work.drained(self._work.closing(partitions))
        return max(0, end - time.monotonic_ns()) / 1e9

    async def _commit(self, partitions: Collection[int]) -> None:
        async with self._committing:
            offsets = self._work.committable(partitions, time.monotonic_ns())
            if not offsets:
                return
            topic = self._arguments.topic
            try:
                await self._consumer.commit(
                    {TopicPartition(topic, p): offset for p, offset in offsets.items()}
                )
            except KafkaError as error:
                print(f"{self._arguments.pod}-{self._number}: {error!r}", file=sys.stderr)
                self._note(Kind.COMMIT_FAILED, 0)
            else:
                self._work.committed(offsets)


async def run(arguments: Arguments) -> None:
    """Run the pod until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    notebook = Notebook(arguments.notes)
    members = [Member(arguments, number, notebook) for number in range(arguments.members)]
    await asyncio.gather(*(member.run(stopping) for member in members))


if __name__ == "__main__":
    asyncio.run(run(Arguments.parse(sys.argv[1:])))
