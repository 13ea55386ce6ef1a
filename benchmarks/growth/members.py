"""Many members of one group in one process: they join, beat and leave, and fetch nothing.

What each rebalance took is noted as a line of JSON, for our members; stock ones tell nothing.
"""

import asyncio
import json
import resource
import signal
import sys
from collections.abc import Collection
from typing import TextIO

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from kafka_utils import ConsumerConfig, create_consumer
from kafka_utils.events import ConsumerEvents, Rebalance

STARTING_AT_ONCE = 20
SESSION_MS, HEARTBEAT_MS = 60_000, 3_000
STOCK = {
    "stock-roundrobin": RoundRobinPartitionAssignor,
    "stock-sticky": StickyPartitionAssignor,
}
KINDS = ("ours", *STOCK)


class _Noting(ConsumerEvents):
    def __init__(self, file: TextIO) -> None:
        self._file = file

    def rebalanced(self, rebalance: Rebalance) -> None:
        told = {
            "generation": rebalance.generation,
            "plan": rebalance.plan_seconds,
            "took": rebalance.join_seconds + rebalance.sync_seconds,
        }
        self._file.write(json.dumps(told) + "\n")


class _Pausing(ConsumerRebalanceListener):
    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._consumer.pause(*assigned)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        pass


def _consumer(
    kind: str, servers: str, group: str, client_id: str, noting: _Noting
) -> AIOKafkaConsumer:
    if kind == "ours":
        config = ConsumerConfig(
            bootstrap_servers=tuple(servers.split(",")),
            group_id=group,
            client_id=client_id,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
        )
        return create_consumer(config, noting)
    return AIOKafkaConsumer(
        bootstrap_servers=servers,
        group_id=group,
        client_id=client_id,
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
        partition_assignment_strategy=(STOCK[kind],),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )


async def main(
    kind: str, servers: str, group: str, topic: str, name: str, count: int, notes: TextIO
) -> None:
    """Be that many members until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    noting = _Noting(notes)
    consumers = [
        _consumer(kind, servers, group, f"{name}-{number}", noting) for number in range(count)
    ]
    places = asyncio.Semaphore(STARTING_AT_ONCE)

    async def begin(consumer: AIOKafkaConsumer) -> None:
        async with places:
            await consumer.start()
        consumer.subscribe([topic], listener=_Pausing(consumer))

    await asyncio.gather(*map(begin, consumers))
    await stopping.wait()
    await asyncio.gather(*(consumer.stop() for consumer in consumers))


if __name__ == "__main__":
    kind, servers, group, topic, name, count, notes = sys.argv[1:]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with open(notes, "a", buffering=1) as opened:  # noqa: PTH123 - a path from the command line
        asyncio.run(main(kind, servers, group, topic, name, int(count), opened))
