"""Sends what aiokafka's clients have no method for, or no time for."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.protocol.offset import OffsetRequest

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient  # A consumer has no need of it.


async def send_within(
    client: AIOKafkaClient, node_id: int, request: Any, channel: str, seconds: float
) -> Any:
    """Send over the connection of that name, whose requests may take that long.

    aiokafka has one timeout for all connections, and two connections to a broker; but it keeps them
    by a key whose second part may be anything.
    """
    connection = await client._get_conn(node_id, group=channel)
    if connection is not None:
        connection._request_timeout = seconds
    return await client.send(node_id, request, group=channel)


def client_of(of: "AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient") -> Any:
    """Return what makes its connections."""
    return of.client if isinstance(of, AIOKafkaProducer) else of._client


def sender(
    client: "AIOKafkaAdminClient",
) -> Callable[[Any, int | None], Awaitable[Any]]:
    """Return how requests are sent that the admin client has no method for; None means any node."""
    send: Callable[[Any, int | None], Awaitable[Any]] = client._send_request
    return send


def any_broker(client: "AIOKafkaAdminClient") -> str:
    """Return the id of a broker that can be asked what any of them knows."""
    return str(client._client.get_random_node())


def ask_beside_fetches(consumer: AIOKafkaConsumer) -> None:
    """Have it ask for offsets over a connection of its own.

    A broker answers the requests of a connection one after the other, so that a question behind a
    fetch waits for as long as that one waits for records (``fetch_max_wait_ms``).
    """
    client = client_of(consumer)
    send = client.send

    async def send_beside(
        node_id: int, request: Any, *, group: object = ConnectionGroup.DEFAULT
    ) -> Any:
        beside = isinstance(request, OffsetRequest)
        return await send(node_id, request, group="offsets" if beside else group)

    client.send = send_beside
