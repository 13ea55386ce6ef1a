"""A pod of confluent-kafka's consumers with cooperative-sticky, each in a thread of its own."""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from benchmarks.rebalance.arguments import Arguments
from benchmarks.rebalance.members.confluent_settings import (
    LEAVE_POLL_SECONDS,
    LEAVE_SECONDS,
    POLL_SECONDS,
    Hand,
    settings,
)
from benchmarks.rebalance.notes import Kind, Notebook


class Member:
    """One consumer, written as a careful user would: what is revoked is drained and committed."""

    def __init__(self, arguments: Arguments, number: int, notebook: Notebook) -> None:
        self._arguments = arguments
        self._hand = Hand(arguments, number, notebook)
        self._consumer = Consumer(settings(arguments, number))
        self._waiting: list[Message] = []
        self._next_commit = 0.0

    def connect(self) -> None:
        """Talk to a broker, and join nothing."""
        self._consumer.list_topics(self._arguments.topic)

    def run(self, stopping: threading.Event) -> None:
        """Consume until told to stop, then drain, commit and leave."""
        try:
            self._consumer.subscribe(
                [self._arguments.topic],
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._lost,
            )
            while not stopping.is_set():
                self._turn()
            self._leave()
        except BaseException:
            # A thread that fails must not leave a pod behind that looks well.
            traceback.print_exc()
            os._exit(1)

    def _leave(self) -> None:
        # A commit is refused while a rebalance goes on, and one proceeds in poll only.
        work = self._hand.work
        work.close(work.partitions)
        give_up = time.monotonic() + LEAVE_SECONDS
        while time.monotonic() < give_up and (
            self._hand.seconds_until_drained(work.partitions) or not self._commit(work.partitions)
        ):
            self._consumer.pause(self._consumer.assignment())
            self._consumer.poll(LEAVE_POLL_SECONDS)
        self._consumer.close()

    def _turn(self) -> None:
        wait = self._hand.seconds_until_free()
        if wait:
            # Polled all the same, since a rebalance proceeds in poll only.
            self._consumer.pause(self._consumer.assignment())
            self._take(min(wait, POLL_SECONDS))
            self._consumer.resume(self._consumer.assignment())
        elif self._waiting:
            self._hand.begin(self._waiting.pop(0))
        else:
            self._take(POLL_SECONDS)
        if time.monotonic() >= self._next_commit:
            self._commit(self._hand.work.partitions)
            self._next_commit = time.monotonic() + self._arguments.commit_ms / 1000

    def _take(self, seconds: float) -> None:
        message = self._consumer.poll(seconds)
        if message is not None:
            self._waiting.append(message)

    def _assigned(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._hand.work.open(self._hand.told(Kind.ASSIGNED, partitions))

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._finish(self._hand.told(Kind.REVOKED, partitions))

    def _lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._forget(self._hand.told(Kind.LOST, partitions))

    def _forget(self, partitions: Iterable[int]) -> None:
        gone = set(partitions)
        self._hand.work.forget(gone)
        self._waiting = [m for m in self._waiting if m.partition() not in gone]

    def _finish(self, partitions: Iterable[int]) -> None:
        self._hand.work.close(partitions)
        time.sleep(self._hand.seconds_until_drained(partitions))
        self._commit(partitions)
        self._forget(partitions)

    def _commit(self, partitions: Iterable[int]) -> bool:
        offsets = self._hand.work.committable(partitions, time.monotonic_ns())
        if not offsets:
            return True
        topic = self._arguments.topic
        wanted = [TopicPartition(topic, p, offset) for p, offset in offsets.items()]
        try:
            done = self._consumer.commit(offsets=wanted, asynchronous=False)
        except KafkaException as error:
            return self._hand.commit_failed(error)
        return self._hand.committed(offsets, done or [])


def run(arguments: Arguments) -> None:
    """Run the pod until SIGTERM."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    notebook = Notebook(arguments.notes)
    members = [Member(arguments, number, notebook) for number in range(arguments.members)]
    if arguments.idle:
        for member in members:
            member.connect()
        stopping.wait()
        return
    threads = [threading.Thread(target=member.run, args=(stopping,)) for member in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    run(Arguments.parse(sys.argv[1:]))
