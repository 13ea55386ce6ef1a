"""A process with one member of stock aiokafka, which writes what happens to it as ``group_member``.

It needs nothing but aiokafka, of any release since 0.8, whose assignor is ``roundrobin`` if it is
not told otherwise. It commits when it is revoked and when it leaves, which SIGTERM makes it do.
"""

import argparse
import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

POLL_MS = 100


class Member(ConsumerRebalanceListener):
    """aiokafka's consumer, and what it is told."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._name = options.name
        self._topics = options.topics
        self._owned: set[TopicPartition] = set()
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=options.servers,
            group_id=options.group,
            client_id=options.name,
            session_timeout_ms=options.session_ms,
            heartbeat_interval_ms=options.heartbeat_ms,
            rebalance_timeout_ms=options.rebalance_ms,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Read until told to stop."""
        self._consumer.subscribe([self._topics], listener=self)
        await self._consumer.start()
        while not stop.is_set():
            # It is not to be cancelled: records that it has taken would be committed, and lost.
            fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
            for here, records in fetched.items():
                self._say("read", [here], first=records[0].offset, last=records[-1].offset)
        await self._give_back()
        await self._consumer.stop()
        self._say("ended")

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._owned = set(assigned)
        self._say("assigned", self._owned)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._give_back()

    async def _give_back(self) -> None:
        owned, self._owned = self._owned, set()
        self._say("revoking", owned)
        if owned:
            try:
                await self._consumer.commit()
            except KafkaError as error:
                self._say("uncommitted", owned, error=repr(error))
        self._say("revoked", owned)

    def _say(self, what: str, partitions: Iterable[TopicPartition] = (), **more: Any) -> None:
        line = {"at": time.monotonic(), "member": self._name, "what": what, **more}
        line["partitions"] = sorted(number for _, number in partitions)
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


async def _main(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await Member(options).run(stop)


def main() -> None:
    """Run the member that the arguments describe."""
    parser = argparse.ArgumentParser(description=__doc__)
    for text in ("--servers", "--group", "--topics", "--name"):
        parser.add_argument(text, required=True)
    parser.add_argument("--session-ms", type=int, default=10_000)
    parser.add_argument("--heartbeat-ms", type=int, default=1_000)
    parser.add_argument("--rebalance-ms", type=int, default=20_000)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
