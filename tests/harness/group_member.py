"""A process with members of one group, which writes what happens to them as lines of JSON.

Each line has the time (the machine's monotonic clock), the member and what happened. SIGTERM makes
it leave in order; SIGUSR1 makes it relinquish first; SIGUSR2 makes it stop as SIGSTOP does; SIGHUP
ends its drains, the one under way and those to come.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, NoOffsetForPartitionError

from kafka_utils import ConsumerConfig, ConsumerEvents, GroupError, create_consumer
from kafka_utils.events import (
    CoordinatorChange,
    Eviction,
    Loss,
    Rebalance,
    Revocation,
)

POLL_MS = 200


class Voice(ConsumerEvents, ConsumerRebalanceListener):
    """Writes down what one member is told, and drains as long as it is told to, or until told."""

    def __init__(self, name: str, drain_seconds: float, drained: asyncio.Event) -> None:
        self.name = name
        self.drain_seconds = drain_seconds
        self._drained = drained
        self.at_work: set[TopicPartition] = set()
        self.in_hand = asyncio.Lock()
        """Held from when records are handed over until they are committed."""
        self._giving_up: set[TopicPartition] = set()

    def say(self, what: str, partitions: Iterable[TopicPartition] = (), **more: Any) -> None:
        line = {"at": time.monotonic(), "member": self.name, "what": what, **more}
        line["partitions"] = sorted(number for _, number in partitions)
        sys.stdout.write(json.dumps(line) + "\n")

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.at_work |= assigned
        self.say("assigned", assigned)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self.say("revoking", revoked)
        self._giving_up = revoked
        with suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), self.drain_seconds)
        async with self.in_hand:
            self.at_work -= revoked
        self.say("revoked", revoked)

    def on_partitions_kept(self, kept: set[TopicPartition]) -> set[TopicPartition]:
        self._giving_up -= kept
        self.say("kept", kept)
        return kept

    async def on_partitions_lost(self, lost: set[TopicPartition]) -> None:
        self.at_work -= lost
        self.say("lost", lost)

    def rebalanced(self, rebalance: Rebalance) -> None:
        self.say(
            "rebalanced",
            rebalance.owned_after,
            generation=rebalance.generation,
            reason=rebalance.reason,
            leader=rebalance.leader,
            added=len(rebalance.added),
            revoked=len(rebalance.revoked),
        )

    def revoked(self, revocation: Revocation) -> None:
        self.say("released", revocation.partitions, outcome=revocation.outcome)

    def lost(self, loss: Loss) -> None:
        self.say("losing", loss.partitions, reason=loss.reason)

    def evicted(self, eviction: Eviction) -> None:
        self.say("evicted", reason=eviction.reason)

    def coordinator_changed(self, change: CoordinatorChange) -> None:
        self.say("coordinator", node=change.node_id)


class Worker:
    """One member that reads, and commits what it has read."""

    def __init__(self, name: str, options: argparse.Namespace, drained: asyncio.Event) -> None:
        self.voice = Voice(name, options.drain, drained)
        self._options = options
        instance = f"{options.instance}-{name}" if options.instance else None
        config = ConsumerConfig(
            bootstrap_servers=tuple(options.servers.split(",")),
            group_id=options.group,
            client_id=name,
            group_instance_id=instance,
            assignors=tuple(options.assignors.split(",")),
            session_timeout_ms=options.session_ms,
            heartbeat_interval_ms=options.heartbeat_ms,
            rebalance_timeout_ms=options.rebalance_ms,
            revoke_timeout_ms=options.rebalance_ms // 2,
            metadata_max_age_ms=2_000,
        )
        self.consumer = create_consumer(config, self.voice)
        self._enough = False

    async def run(self, stop: asyncio.Event, relinquish: asyncio.Event) -> None:
        """Read until told to stop."""
        waiting = asyncio.create_task(stop.wait())
        try:
            await self.consumer.start()
            self.consumer.subscribe(self._options.topics.split(","), listener=self.voice)
            reading = asyncio.create_task(self._read())
            await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done() and relinquish.is_set():
                await self.consumer.relinquish()
            self._enough = True  # What is in hand is committed first.
            await reading
        except GroupError as error:
            self.voice.say("failed", error=f"{type(error).__name__}: {error}")
        finally:
            waiting.cancel()
            await self.consumer.stop()
        self.voice.say("ended")

    async def _read(self) -> None:
        while not self._enough:
            try:
                fetched = await self.consumer.getmany(timeout_ms=POLL_MS)
            except NoOffsetForPartitionError as error:
                self.consumer.seek(error.args[0], 0)
                continue
            if fetched:
                async with self.voice.in_hand:
                    await self._commit(fetched)

    async def _commit(self, fetched: Mapping[TopicPartition, list[Any]]) -> None:
        for here, records in fetched.items():
            first, last = records[0].offset, records[-1].offset
            mine = here in self.voice.at_work
            self.voice.say("read", [here], first=first, last=last, mine=mine)
        reached = {here: records[-1].offset + 1 for here, records in fetched.items()}
        try:
            await self.consumer.commit(reached)
        except (CommitFailedError, IllegalStateError) as error:
            self.voice.say("uncommitted", reached, error=str(error))


def _both(first: asyncio.Event, second: asyncio.Event) -> None:
    first.set()
    second.set()


async def _main(options: argparse.Namespace) -> None:
    stop, relinquish, drained = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, _both, relinquish, stop)
    loop.add_signal_handler(signal.SIGHUP, drained.set)
    loop.add_signal_handler(signal.SIGUSR2, os.kill, os.getpid(), signal.SIGSTOP)
    names = [f"{options.name}{number}" for number in range(options.members)]
    await asyncio.gather(*(Worker(name, options, drained).run(stop, relinquish) for name in names))


def main() -> None:
    """Run the members that the arguments describe."""
    parser = argparse.ArgumentParser(description=__doc__)
    for text in ("--servers", "--group", "--topics", "--name"):
        parser.add_argument(text, required=True)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--assignors", default="cooperative-sticky")
    parser.add_argument("--instance", help="static members, of instance ids that begin so")
    parser.add_argument("--session-ms", type=int, default=10_000)
    parser.add_argument("--heartbeat-ms", type=int, default=1_000)
    parser.add_argument("--rebalance-ms", type=int, default=20_000)
    parser.add_argument("--drain", type=float, default=0.0, help="most seconds of a revoke")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
