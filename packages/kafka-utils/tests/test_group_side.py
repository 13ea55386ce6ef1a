"""What puts a member's parts together ends them together."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.cluster import ClusterMetadata

from kafka_utils.aiokafka_internals import IncrementalSubscription
from kafka_utils.config import ConsumerConfig
from kafka_utils.coordinator.group_side import GroupSide
from kafka_utils.events import ConsumerEvents


class Fetcher:
    """A fetcher that fetches nothing."""

    def add(self, _: Any) -> None:
        pass

    open = freeze = remove = add


class Slow(ConsumerRebalanceListener):
    """A listener whose drain does not come to its end."""

    def __init__(self) -> None:
        self.drains = asyncio.Event()

    async def on_partitions_assigned(self, assigned: Any) -> None:
        pass

    async def on_partitions_revoked(self, revoked: Any) -> None:
        self.drains.set()
        await asyncio.Event().wait()


async def never(*_: Any) -> Any:
    """What a broker that does not answer says."""
    await asyncio.Event().wait()


async def test_who_gives_up_leaving_takes_part_no_more() -> None:
    before = asyncio.all_tasks()
    subscription, listener, cluster = IncrementalSubscription(), Slow(), ClusterMetadata()
    client: Any = SimpleNamespace(cluster=cluster, coordinator_lookup=never)
    fetcher: Any = Fetcher()
    config = ConsumerConfig(bootstrap_servers=("a:1",), group_id="g", client_id="c")
    group = GroupSide(config, ConsumerEvents(), client, subscription, fetcher)
    subscription.subscribe({"t"}, listener)
    group._reconciler.carry_out(frozenset({TopicPartition("t", 0)}), 1)
    leaving = asyncio.create_task(group.close())
    await listener.drains.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await asyncio.wait({group._running}, timeout=5)
    await asyncio.sleep(0)

    assert cluster._listeners == set()
    left: list[Any] = [task.get_coro() for task in asyncio.all_tasks() - before]
    # The drain is the application's, and has its own time.
    assert {each.__qualname__ for each in left} == {"Reconciler._revoke", "Reconciler._awaited"}
