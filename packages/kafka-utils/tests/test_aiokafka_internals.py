"""What is used of aiokafka beyond its public names."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_utils.aiokafka_internals import close_connections, fetch_failure, leave_group


class Client:
    """Remembers what it was to send, and where."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, Any]] = []

    async def send(self, node: int, request: Any) -> None:
        self.sent.append((node, request))


def member(**changes: Any) -> Any:
    coordinator = {"member_id": "m-1", "coordinator_id": 2, "group_id": "g"}
    fields = coordinator | {"_group_instance_id": None} | changes
    return SimpleNamespace(_coordinator=SimpleNamespace(**fields), _client=Client())


async def test_a_member_leaves_through_the_connection_that_no_join_blocks() -> None:
    consumer = member()
    assert await leave_group(consumer)
    ((node, request),) = consumer._client.sent
    assert node == 2
    assert (request._group, request._member_id) == ("g", "m-1")


@pytest.mark.parametrize(
    "changes",
    [{"member_id": ""}, {"coordinator_id": None}, {"_group_instance_id": "pod-1"}],
    ids=["no member yet", "no coordinator known", "static member"],
)
async def test_who_has_nothing_to_leave_sends_nothing(changes: dict[str, Any]) -> None:
    consumer = member(**changes)
    assert not await leave_group(consumer)
    assert consumer._client.sent == []


async def test_the_end_of_fetching_is_the_task_that_fetches() -> None:
    fetching = asyncio.get_running_loop().create_future()
    consumer: Any = SimpleNamespace(_fetcher=SimpleNamespace(error_future=fetching))
    assert fetch_failure(consumer) is fetching


async def test_connections_are_closed_by_the_client() -> None:
    closed: list[bool] = []

    async def close() -> None:
        closed.append(True)

    await close_connections(SimpleNamespace(_client=SimpleNamespace(close=close)))  # type: ignore[arg-type]
    assert closed == [True]
