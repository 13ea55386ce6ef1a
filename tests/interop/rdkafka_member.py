"""A process with one member of librdkafka, which writes what happens to it like ``group_member``.

SIGTERM makes it leave in order.
"""

import argparse
import json
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

POLL_SECONDS = 0.1
AT_ONCE = 500


class Member:
    """librdkafka's consumer, and what it is told."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._name = options.name
        self._stopping = False
        self._consumer = Consumer(
            {
                "bootstrap.servers": options.servers,
                "group.id": options.group,
                "client.id": options.name,
                "partition.assignment.strategy": options.strategy,
                "session.timeout.ms": options.session_ms,
                "heartbeat.interval.ms": options.heartbeat_ms,
                # It is librdkafka's rebalance timeout too.
                "max.poll.interval.ms": options.rebalance_ms,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "debug": "cgrp",
            }
        )
        self._consumer.subscribe(
            [options.topics],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )

    def stop(self, *_: object) -> None:
        """Leave soon."""
        self._stopping = True

    def run(self) -> None:
        """Read, and commit what was read, until told to stop."""
        while not self._stopping:
            messages = self._consumer.consume(AT_ONCE, POLL_SECONDS)
            if messages:
                self._take(messages)
        self._consumer.close()
        self._say("ended")

    def _take(self, messages: Iterable[Message]) -> None:
        read: defaultdict[int, list[int]] = defaultdict(list)
        for message in messages:
            partition, offset = message.partition(), message.offset()
            if message.error() is None and partition is not None and offset is not None:
                read[partition].append(offset)
        for partition, offsets in read.items():
            self._say("read", [partition], first=offsets[0], last=offsets[-1])
        topic = next(iter(messages)).topic() or ""
        reached = [
            TopicPartition(topic, partition, offsets[-1] + 1) for partition, offsets in read.items()
        ]
        try:
            self._consumer.commit(offsets=reached, asynchronous=False)
        except KafkaException as error:
            self._say("uncommitted", read, error=str(error))

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._say("assigned", (each.partition for each in partitions))
        consumer.incremental_assign(partitions)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Before it takes effect: after it the line could come later than another member's.
        self._say("revoked", (each.partition for each in partitions))
        consumer.incremental_unassign(partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._say("lost", (each.partition for each in partitions))
        consumer.incremental_unassign(partitions)

    def _say(self, what: str, partitions: Iterable[int] = (), **more: Any) -> None:
        line = {"at": time.monotonic(), "member": self._name, "what": what, **more}
        line["partitions"] = sorted(partitions)
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Run the member that the arguments describe."""
    parser = argparse.ArgumentParser(description=__doc__)
    for text in ("--servers", "--group", "--topics", "--name"):
        parser.add_argument(text, required=True)
    parser.add_argument("--strategy", default="cooperative-sticky")
    parser.add_argument("--session-ms", type=int, default=10_000)
    parser.add_argument("--heartbeat-ms", type=int, default=1_000)
    parser.add_argument("--rebalance-ms", type=int, default=20_000)
    member = Member(parser.parse_args())
    signal.signal(signal.SIGTERM, member.stop)
    member.run()


if __name__ == "__main__":
    main()
