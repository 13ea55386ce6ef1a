"""A topic that was just created can be read at once, whichever broker is asked first."""

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError

from kafka_utils import ConsumerConfig
from webhook_worker.dead_letters import reading
from webhook_worker.dead_letters.reading import PATIENCE, everything_in

CONFIG = ConsumerConfig(bootstrap_servers=("127.0.0.1:1",), group_id="g")
pytestmark = pytest.mark.looptime


class Reader:
    """Of an empty topic, once it can be started."""

    def __init__(self, failures: list[KafkaError], stopped: list["Reader"]) -> None:
        self._failures = failures
        self._stopped = stopped

    async def start(self) -> None:
        if self._failures:
            raise self._failures.pop(0)

    async def stop(self) -> None:
        self._stopped.append(self)

    def assignment(self) -> list[TopicPartition]:
        return []

    async def end_offsets(self, _: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {}


def scripted(monkeypatch: pytest.MonkeyPatch, *failures: KafkaError) -> list[Reader]:
    left, stopped = list(failures), list[Reader]()
    monkeypatch.setattr(reading, "create_reader", lambda *_: Reader(left, stopped))
    return stopped


async def test_a_broker_that_has_not_heard_of_it_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped = scripted(monkeypatch, *[UnknownTopicOrPartitionError()] * len(PATIENCE))
    assert [record async for record in everything_in(CONFIG, "t")] == []
    assert len(stopped) == len(PATIENCE) + 1


@pytest.mark.parametrize(
    "failures",
    [[UnknownTopicOrPartitionError()] * (len(PATIENCE) + 1), [KafkaConnectionError("away")]],
)
async def test_but_not_for_ever_and_other_failures_are_told_at_once(
    monkeypatch: pytest.MonkeyPatch, failures: list[KafkaError]
) -> None:
    stopped = scripted(monkeypatch, *failures)
    with pytest.raises(type(failures[0])):
        [record async for record in everything_in(CONFIG, "t")]
    assert len(stopped) == len(failures)
