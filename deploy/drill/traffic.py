"""Sends numbered events at a steady rate, and remembers those that the brokers acknowledged."""

import asyncio
import json
import time
from datetime import UTC, datetime
from functools import partial

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from deploy.drill.account import Sent

FILLING = "x" * 600
"""So that an event is of about a kilobyte, as real ones are."""


def customer_of(number: int, partitions: int, customers: int) -> int:
    """Whose event it is: on each partition those of all customers follow each other.

    One whose events were all of one customer would be silent while that one is slow, whatever the
    fleet does.
    """
    return (number + 7 * (number // partitions)) % customers


class Traffic:
    """A steady stream of events, spread evenly over all partitions of a topic and all customers."""

    def __init__(
        self, producer: AIOKafkaProducer, topic: str, partitions: int, customers: int
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._partitions = partitions
        self._customers = customers
        self.sent: list[Sent] = []
        """Acknowledged events, in the order of their acknowledgements."""
        self._number = 0
        self.refused = 0
        """Events that were not acknowledged: nothing was promised for those."""

    async def run(self, rate: int, enough: asyncio.Event) -> None:
        """Send until ``enough`` is set; returns when every answer is there."""
        began = time.monotonic()
        unanswered: set[asyncio.Future[RecordMetadata]] = set()
        first = self._number
        while not enough.is_set():
            due = began + (self._number - first) / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._number += 1
            try:
                answer = await self._send(self._number - 1)
            except KafkaError:
                self.refused += 1  # The brokers were away for too long; go on.
                continue
            unanswered.add(answer)
            answer.add_done_callback(unanswered.discard)
        if unanswered:
            await asyncio.wait(unanswered)

    async def _send(self, number: int) -> asyncio.Future[RecordMetadata]:
        partition = number % self._partitions
        event = {
            "id": f"evt_{number}",
            "type": "order.paid",
            "customer_id": str(customer_of(number, self._partitions, self._customers)),
            "timestamp": datetime.now(UTC).isoformat(),
            "data": {"number": number, "filling": FILLING},
        }
        produced_ns = time.time_ns()
        answer: asyncio.Future[RecordMetadata] = await self._producer.send(
            self._topic, json.dumps(event).encode(), key=b"%d" % number, partition=partition
        )
        answer.add_done_callback(partial(self._note, number, partition, produced_ns))
        return answer

    def _note(
        self,
        number: int,
        partition: int,
        produced_ns: int,
        answer: asyncio.Future[RecordMetadata],
    ) -> None:
        if answer.cancelled() or answer.exception():
            self.refused += 1
        else:
            self.sent.append(Sent(number, partition, produced_ns, time.time_ns()))
