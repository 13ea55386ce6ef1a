"""Has a client go on over the connection that it begins with, and ask whoever is connected."""

import asyncio
import logging
import random
from functools import partial
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import ConnectionGroup
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import BrokerMetadata

from kafka_utils.aiokafka_internals.connections import client_of

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient

_log = logging.getLogger(__name__)


def keep_first_connection(
    of: "AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient",
    *,
    may_create_topics: bool = True,
) -> None:
    """Have it make fewer connections; call it before it is started.

    aiokafka closes the connection over which it has asked for the brokers, and opens another one to
    the same broker. For what any broker can answer it draws one by lot, and connects to it. The
    brokers pay for each connection as well, and a fleet begins all at once.

    A connection with something outstanding is left alone: what is asked over it would wait for as
    long as a fetch waits for records. Where there is no free one, aiokafka's own way is taken.

    A question that names a missing topic makes brokers create it that do so
    (``auto.create.topics.enable``), unless they are told not to, which aiokafka does not: where
    none may be created, its own way is to ask for all topics.
    """
    client = client_of(of)
    draw, update = client.get_random_node, client._metadata_update

    def free_or_drawn() -> Any:
        node = _free_node(client)
        return draw() if node is None else node

    async def update_over_free(cluster: Any, topics: Any) -> bool:
        node = _free_node(client)
        request = MetadataRequest(list(topics) if topics else None, may_create_topics)
        if node is not None and await _learn(client, node, cluster, request):
            return True
        done: bool = await update(cluster, topics if may_create_topics else None)
        return done

    client.bootstrap = partial(_bootstrap, client)
    client.get_random_node = free_or_drawn
    client._metadata_update = update_over_free


async def _bootstrap(client: Any) -> None:
    """Ask the first server that answers for the brokers. Raises KafkaConnectionError if none does.

    aiokafka's own closes its connection, so it is written again. While no broker is known, the
    client takes the servers for brokers.
    """
    cluster = client.cluster
    cluster._bootstrap_brokers = servers = {
        f"bootstrap-{number}": BrokerMetadata(f"bootstrap-{number}", host, port, None)
        for number, (host, port, _) in enumerate(client.hosts)
    }
    for name, server in servers.items():
        if await _learn(client, name, cluster, MetadataRequest([])):
            _keep(client, server)
            break
    else:
        raise KafkaConnectionError(f"Unable to bootstrap from {client.hosts}")
    if client._sync_task is None:
        client._sync_task = asyncio.create_task(client._md_synchronizer())


async def _learn(client: Any, node: Any, cluster: Any, request: MetadataRequest) -> bool:
    """Ask this node; return whether it has answered."""
    connection = await client._get_conn(node)
    if connection is None:
        return False
    try:
        answer = await connection.send(request)
    except (KafkaError, TimeoutError) as error:
        _log.warning("broker %s does not tell of the others: %r", node, error)
        connection.close()
        return False
    cluster.update_metadata(answer)
    return True


def _keep(client: Any, server: BrokerMetadata) -> None:
    """Take the connection for that of the broker which listens there; close it if none does."""
    connection = client._conns.pop((server.nodeId, ConnectionGroup.DEFAULT))
    for broker in client.cluster.brokers():
        if (broker.host, broker.port) == (server.host, server.port):
            client._conns[broker.nodeId, ConnectionGroup.DEFAULT] = connection
            return
    connection.close()


def _free_node(client: Any) -> Any:
    """One that is connected and owes no answer; None if there is none."""
    brokers = {broker.nodeId for broker in client.cluster.brokers()}
    free = [
        node
        for (node, channel), connection in client._conns.items()
        if channel is ConnectionGroup.DEFAULT
        and node in brokers
        and connection.connected()
        and not connection._requests
    ]
    return random.choice(free) if free else None
