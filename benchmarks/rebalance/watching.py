"""What the group's coordinator says about the group, asked until it is what is waited for."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError, for_code

from benchmarks.rebalance.fleet import FleetError
from benchmarks.rebalance.ownership import Group

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 180.0


class Watcher:
    """Asks the brokers, without being a member. An async context manager."""

    def __init__(self, servers: str, group: str, topic: str) -> None:
        self._servers = servers
        self._group = group
        self._topic = topic
        self._admin = AIOKafkaAdminClient(bootstrap_servers=servers)

    async def __aenter__(self) -> Self:
        await self._admin.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._admin.close()

    async def prepare(self, partitions: int) -> None:
        """Create the topic, and commit offset 0 everywhere, so that no client has to choose."""
        await self._admin.create_topics([NewTopic(self._topic, partitions, 3)])
        every = [TopicPartition(self._topic, number) for number in range(partitions)]
        async with AIOKafkaConsumer(
            bootstrap_servers=self._servers, group_id=self._group, enable_auto_commit=False
        ) as consumer:
            consumer.assign(every)
            await consumer.commit(dict.fromkeys(every, 0))

    async def remove_topic(self) -> None:
        """Delete the topic, so that the brokers have the same to do for each client."""
        await self._admin.delete_topics([self._topic])

    async def group(self) -> Group:
        """The group now; raises KafkaError while its coordinator does not answer."""
        answer: Any
        [answer] = await self._admin.describe_consumer_groups([self._group])
        error, _, state, _, _, members, *_ = answer.groups[0]
        if error:
            raise for_code(error)(f"describing group {self._group}")
        described = [(member[1], member[4]) for member in members]
        return Group(
            state=state,
            members=tuple(client_id for client_id, _ in described),
            owners={
                partition: client_id
                for client_id, assignment in described
                for partition in self._assigned(assignment)
            },
        )

    def _assigned(self, assignment: bytes) -> list[int]:
        if not assignment:
            return []
        decoded = ConsumerProtocolMemberAssignment.decode(assignment)
        return [tp.partition for tp in decoded.partitions() if tp.topic == self._topic]

    async def until(
        self, fulfilled: Callable[[Group], bool], what: str, check: Callable[[], None]
    ) -> Group:
        """The group as soon as it fulfils this; `check` may raise meanwhile. Raises FleetError."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        group = None
        while time.monotonic() < give_up:
            check()
            with suppress(KafkaError):
                group = await self.group()
                if fulfilled(group):
                    return group
            await asyncio.sleep(POLL_SECONDS)
        seen = f"{group.state}, {len(group.members)} members" if group else "no answer"
        raise FleetError(f"waited {PATIENCE_SECONDS:g} s in vain until {what} (last: {seen})")
