"""The only module that touches aiokafka's private names, each with its reason."""

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.group import LeaveGroupRequest


def fetch_failure(consumer: AIOKafkaConsumer) -> asyncio.Future[Any]:
    """What ends, with its error, when the background fetching of a started consumer ends.

    It is not to be cancelled. Without it ``getmany`` just returns nothing for ever after: it looks
    at the coordination's task only.
    """
    fetcher: Any = consumer._fetcher
    failure: asyncio.Future[Any] = fetcher.error_future
    return failure


async def leave_group(consumer: AIOKafkaConsumer) -> bool:
    """Leave the group of a started consumer at once. Return whether there was anything to leave.

    ``stop`` leaves only after a rebalance under way: the brokers answer a JoinGroup when every
    member has joined, and until then take nothing else from its connection. Unless such a member
    leaves, it is given partitions that nobody works on for a whole session timeout. So this request
    goes over the connection for everything else.

    A static member (KIP-345) does not leave: it is meant to come back. Raises KafkaError.
    """
    coordinator: Any = consumer._coordinator
    member, node = coordinator.member_id, coordinator.coordinator_id
    if not member or node is None or coordinator._group_instance_id is not None:
        return False
    await consumer._client.send(node, LeaveGroupRequest(coordinator.group_id, member))
    return True


async def close_connections(consumer: AIOKafkaConsumer) -> None:
    """Close every connection of a started consumer, which may be stopped already.

    ``stop`` never comes to that when it is cancelled, nor when a fetch waits in its backoff because
    a broker is gone: then the fetcher lets a cancellation of its own through.
    """
    await consumer._client.close()
