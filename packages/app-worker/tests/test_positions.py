"""Where a partition is read from when the brokers refuse the group's offset, or there is none."""

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError

from app_worker.positions import Policy, Start, position_of, start_from


@pytest.mark.parametrize(
    ("wanted", "policy", "start"),
    [
        (None, "earliest", Start(10)),
        (None, "latest", Start(50)),
        (3, "earliest", Start(10, lost=7)),
        (3, "latest", Start(10, lost=7)),
        (10, "latest", Start(10)),
        (50, "earliest", Start(50)),
        (51, "earliest", Start(10)),
        (51, "latest", Start(50)),
    ],
)
def test_the_start_follows_from_the_log_and_the_policy(
    wanted: int | None, policy: Policy, start: Start
) -> None:
    assert start_from(wanted, 10, 50, policy) == start


class Somewhere:
    """A consumer that knows, does not know, or may not know where a partition is read."""

    def __init__(self, position: int | IllegalStateError | None) -> None:
        self._position = position

    async def position(self, partition: TopicPartition) -> int:
        if isinstance(self._position, IllegalStateError):
            raise self._position
        if self._position is None:
            await asyncio.Event().wait()
        return self._position or 0


@pytest.mark.parametrize(
    ("known", "seen"), [(7, 7), (0, 0), (None, None), (IllegalStateError(), None)]
)
async def test_a_position_that_is_not_known_is_not_waited_for(
    known: int | IllegalStateError | None, seen: int | None
) -> None:
    consumer: Any = Somewhere(known)
    assert position_of(consumer, TopicPartition("t", 0)) == seen
