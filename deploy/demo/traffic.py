"""Sends events at a steady rate and remembers those that the brokers acknowledged."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from deploy.demo.customers import DemoEndpoint, customer_of, event_value
from deploy.demo.ledger import Sent


class Traffic:
    """A steady stream of events, spread evenly over all partitions of a topic."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        partitions: int,
        endpoints: Sequence[DemoEndpoint],
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._partitions = partitions
        self._endpoints = _ids_by_customer(endpoints)
        self._run = f"{random.getrandbits(32):08x}"
        self._chance = random.Random(0)
        self.sent: list[Sent] = []
        """Acknowledged events, in the order of their acknowledgements."""
        self.refused: list[str] = []
        """What became of events that were not acknowledged; nothing was promised for those."""

    async def run(self, rate: int, seconds: float, enough: asyncio.Event) -> None:
        """Send for so long, and on until ``enough`` is set; returns when every answer is there."""
        began = time.monotonic()
        unanswered: set[asyncio.Future[RecordMetadata]] = set()
        number = 0
        while number < rate * seconds or not enough.is_set():
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            answer = await self._send(number)
            unanswered.add(answer)
            answer.add_done_callback(unanswered.discard)
            number += 1
        if unanswered:
            await asyncio.wait(unanswered)

    async def _send(self, number: int) -> asyncio.Future[RecordMetadata]:
        event_id = f"evt-{self._run}-{number:06d}"
        customer = customer_of(number, self._partitions)
        value = event_value(event_id, customer, datetime.now(UTC), self._chance)
        partition = number % self._partitions
        event = Sent(event_id, partition, time.time_ns(), self._endpoints[customer])
        answer: asyncio.Future[RecordMetadata] = await self._producer.send(
            self._topic, value, key=f"{customer}-{number}".encode(), partition=partition
        )
        answer.add_done_callback(partial(self._note, event))
        return answer

    def _note(self, event: Sent, answer: asyncio.Future[RecordMetadata]) -> None:
        if answer.cancelled():
            self.refused.append("cancelled")
        elif error := answer.exception():
            self.refused.append(str(error) or type(error).__name__)
        else:
            self.sent.append(event)


def _ids_by_customer(endpoints: Sequence[DemoEndpoint]) -> Mapping[str, tuple[str, ...]]:
    customers = {endpoint.customer_id for endpoint in endpoints}
    return {
        customer: tuple(endpoint.id for endpoint in endpoints if endpoint.customer_id == customer)
        for customer in customers
    }
