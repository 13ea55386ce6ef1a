"""What the brokers and the workers say about the fleet while it runs."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from aiohttp import ClientError, ClientSession, ClientTimeout
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import for_code

from app_worker.settings import RETRY_GROUP_SUFFIX, KafkaSettings
from kafka_utils.connection import security_arguments


@dataclass(frozen=True, slots=True)
class Member:
    """One process in a group, as the coordinator knows it; a new process is a new member."""

    id: str
    client_id: str

    def of_pod(self, pod: str) -> bool:
        """Whether it runs in this pod: the pod's name begins its client id."""
        return self.client_id == pod or self.client_id.startswith(f"{pod}-")


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who owns which partition of a topic, in one answer of the group's coordinator."""

    state: str
    """The group's state; only a Stable one has owners."""
    members: frozenset[Member]
    owners: Mapping[int, Member]

    def or_last_known(self, before: "Ownership") -> "Ownership":
        """The same with the owners of before, if there are none in this answer.

        While a group makes a new plan its coordinator tells no owners; they go on meanwhile.
        """
        return self if self.state == "Stable" else replace(self, owners=before.owners)

    def of_pod(self, pod: str) -> frozenset[int]:
        """The partitions owned by the processes of a pod."""
        return frozenset(p for p, owner in self.owners.items() if owner.of_pod(pod))

    def moved_to(self, later: "Ownership") -> frozenset[int]:
        """The partitions that have another owner later."""
        return frozenset(p for p in self.owners if self.owners[p] != later.owners.get(p))


@dataclass(frozen=True, slots=True)
class Backlog:
    """Records that are not committed yet."""

    fresh: int
    """In the topic itself."""
    parked: int
    """In its delay topics."""

    @property
    def settled(self) -> bool:
        """Whether nothing is left to be done."""
        return self.fresh == 0 and self.parked == 0


class ClusterView:
    """Asks the brokers, without being a member of any group. An async context manager."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        arguments: dict[str, Any] = {
            "bootstrap_servers": list(kafka.bootstrap_servers),
            **security_arguments(kafka.security()),
        }
        self._topic = topic
        self._group = kafka.group_id
        self._admin = AIOKafkaAdminClient(**arguments)
        self.consumer = AIOKafkaConsumer(**arguments)
        """Of no group; for reading."""

    async def __aenter__(self) -> Self:
        await self._admin.start()
        await self.consumer.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.consumer.stop()
        await self._admin.close()

    async def ownership(self) -> Ownership:
        """Who owns what; raises KafkaError while the coordinator is not available."""
        answer: Any
        [answer] = await self._admin.describe_consumer_groups([self._group])
        error, _, state, _, _, members, *_ = answer.groups[0]
        if error:
            raise for_code(error)(f"describing group {self._group}")
        described = [(Member(member[0], member[1]), member[4]) for member in members]
        return Ownership(
            state=state,
            members=frozenset(member for member, _ in described),
            owners={
                partition: member
                for member, assignment in described
                for partition in self._assigned(assignment)
            },
        )

    def _assigned(self, assignment: bytes) -> list[int]:
        if not assignment:
            return []
        decoded = ConsumerProtocolMemberAssignment.decode(assignment)
        return [tp.partition for tp in decoded.partitions() if tp.topic == self._topic]

    async def backlog(self) -> Backlog:
        """What is not committed yet.

        Each group's commits are read before the ends of its logs, and fresh records before parked
        ones: a record is committed only when what it left behind is stored, so an answer of zero
        and zero is true at its end.
        """
        committed = await self.committed_fresh()
        fresh = await self._records_above(committed)
        committed = await self.committed_parked()
        return Backlog(fresh, await self._records_above(committed))

    async def committed_fresh(self) -> dict[TopicPartition, int]:
        """The group's committed offset of each partition of the topic; 0 where there is none."""
        return await self._committed(self._group, [self._topic])

    async def committed_parked(self) -> dict[TopicPartition, int]:
        """The same for the delay topics and the group that reads them."""
        prefix = f"{self._topic}.retry."
        topics = [name for name in await self._admin.list_topics() if name.startswith(prefix)]
        return await self._committed(f"{self._group}{RETRY_GROUP_SUFFIX}", topics)

    async def partitions(self, topics: Sequence[str]) -> list[TopicPartition]:
        """Every partition of these topics."""
        return [
            TopicPartition(topic["topic"], partition["partition"])
            for topic in await self._admin.describe_topics(list(topics))
            for partition in topic["partitions"]
        ]

    async def delete_topics(self) -> None:
        """Delete every topic whose name begins with the topic's."""
        names = await self._admin.list_topics()
        await self._admin.delete_topics([name for name in names if name.startswith(self._topic)])

    async def _committed(self, group: str, topics: Sequence[str]) -> dict[TopicPartition, int]:
        partitions = await self.partitions(topics)
        committed = await self._admin.list_consumer_group_offsets(group)
        return {
            partition: committed[partition].offset if partition in committed else 0
            for partition in partitions
        }

    async def _records_above(self, committed: Mapping[TopicPartition, int]) -> int:
        ends = await self.consumer.end_offsets(list(committed))
        return sum(end - committed[partition] for partition, end in ends.items())


async def ready_workers(ports: Sequence[int]) -> int:
    """How many of the workers with these ports say on /readyz that they have joined."""
    timeout = ClientTimeout(total=2)
    async with ClientSession(timeout=timeout) as session:
        answers = await asyncio.gather(*(_is_ready(session, port) for port in ports))
    return sum(answers)


async def _is_ready(session: ClientSession, port: int) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status == 200
    except (ClientError, TimeoutError):
        return False  # it does not listen yet, or no longer
