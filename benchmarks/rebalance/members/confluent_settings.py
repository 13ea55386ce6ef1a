"""What both kinds of confluent-kafka's consumers are made with, and how they write their notes."""

import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaException, Message, TopicPartition

from benchmarks.rebalance.arguments import Arguments
from benchmarks.rebalance.notes import Kind, Note, Notebook
from benchmarks.rebalance.work import PAYLOAD, Work

POLL_SECONDS = 0.2
LEAVE_POLL_SECONDS = 0.1
LEAVE_SECONDS = 25.0


def settings(arguments: Arguments, number: int) -> dict[str, Any]:
    """A consumer's configuration, in librdkafka's words."""
    return {
        "bootstrap.servers": arguments.servers,
        "group.id": arguments.group,
        "client.id": f"{arguments.pod}-{number}",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": arguments.session_ms,
        "heartbeat.interval.ms": arguments.heartbeat_ms,
        # librdkafka's rebalance timeout is this.
        "max.poll.interval.ms": arguments.rebalance_ms,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
    }


class Hand:
    """One consumer's work with its notes, the same for both kinds."""

    def __init__(self, arguments: Arguments, number: int, notebook: Notebook) -> None:
        self.work = Work(arguments.slots)
        self._name = f"{arguments.pod}-{number}"
        self._number = number
        self._notebook = notebook

    def told(self, kind: Kind, partitions: Iterable[TopicPartition]) -> list[int]:
        """Note what the listener was called with; returns the partitions' numbers."""
        numbers = [partition.partition for partition in partitions]
        for number in numbers:
            self.note(kind, number)
        return numbers

    def begin(self, message: Message) -> None:
        """Begin a record; raises KafkaException if it is an error instead."""
        if message.error():
            raise KafkaException(message.error())
        value, partition, offset = message.value(), message.partition(), message.offset()
        if value is None or partition is None or offset is None:
            raise ValueError("this is no record of the benchmark's traffic")
        produced_ns, work_us = PAYLOAD.unpack(value)
        begun = self.work.begin(partition, offset, work_us, time.monotonic_ns())
        if begun is not False:
            self.note(Kind.BEGAN if begun else Kind.STRAY, partition, offset, produced_ns)

    def seconds_until_drained(self, partitions: Iterable[int]) -> float:
        """How long to wait for the last record in hand of these partitions."""
        return max(0.0, (self.work.drained(partitions) - time.monotonic_ns()) / 1e9)

    def seconds_until_free(self) -> float:
        """How long to wait until a record may begin; 0 if one may now."""
        now = time.monotonic_ns()
        return 0.0 if self.work.free(now) else (self.work.next_free() - now) / 1e9

    def committed(self, offsets: Mapping[int, int], answers: Iterable[TopicPartition]) -> bool:
        """The commit of these offsets was answered; returns whether well."""
        errors = [answer.error for answer in answers if answer.error]
        if errors:
            return self.commit_failed(errors[0])
        self.work.committed(offsets)
        return True

    def commit_failed(self, error: object) -> bool:
        """Note it, and return False; what was not committed is still news."""
        print(f"{self._name}: {error!r}", file=sys.stderr)
        self.note(Kind.COMMIT_FAILED, 0)
        return False

    def note(self, kind: Kind, partition: int, offset: int = 0, produced_ns: int = 0) -> None:
        """Note it, as of now."""
        now = time.monotonic_ns()
        self._notebook.note(Note(kind, self._number, partition, offset, produced_ns, now))
