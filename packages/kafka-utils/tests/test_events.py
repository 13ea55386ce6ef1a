"""The hook: what a consumer tells of itself, and a hook that fails."""

import inspect

import pytest
from aiokafka import TopicPartition

from kafka_utils.events import (
    Commit,
    ConsumerEvents,
    CoordinatorChange,
    Eviction,
    Loss,
    Rebalance,
    Retry,
    Revocation,
    tell,
)

HERE = frozenset({TopicPartition("t", 0)})
EVENTS = {
    "rebalanced": Rebalance(
        reason="first join",
        generation=1,
        protocol="cooperative-sticky",
        leader=True,
        another_round=False,
        prepare_seconds=0.0,
        join_seconds=1.0,
        plan_seconds=0.1,
        sync_seconds=0.2,
        owned_before=frozenset(),
        owned_after=HERE,
        added=HERE,
        revoked=frozenset(),
        lost=frozenset(),
    ),
    "revoked": Revocation(generation=1, partitions=HERE, seconds=1.0, outcome="done"),
    "lost": Loss(partitions=HERE, reason="expelled"),
    "committed": Commit(partitions=1, seconds=0.1, requests=1, error=None),
    "coordinator_changed": CoordinatorChange(node_id=1, reason="found"),
    "evicted": Eviction(reason="expelled", member_id="m", generation=1),
    "retried": Retry(request="JoinGroup", error="UnknownError", failures=1, pause_seconds=0.1),
}


def test_every_method_of_the_hook_has_an_event() -> None:
    methods = {name for name, _ in inspect.getmembers(ConsumerEvents, inspect.isfunction)}

    assert methods == EVENTS.keys()


@pytest.mark.parametrize("name", EVENTS)
def test_a_hook_that_overrides_nothing_takes_every_event(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    tell(getattr(ConsumerEvents(), name), EVENTS[name])

    assert caplog.records == []


def test_an_event_arrives_as_it_was_told() -> None:
    heard: list[Loss] = []

    class Hook(ConsumerEvents):
        def lost(self, loss: Loss) -> None:
            heard.append(loss)

    loss = Loss(partitions=HERE, reason="expelled")
    tell(Hook().lost, loss)

    assert heard == [loss]


def test_a_hook_that_raises_is_logged_and_harmless(caplog: pytest.LogCaptureFixture) -> None:
    class Hook(ConsumerEvents):
        def lost(self, loss: Loss) -> None:
            raise ValueError("the hook's own mistake")

    tell(Hook().lost, Loss(partitions=HERE, reason="expelled"))

    (record,) = caplog.records
    assert record.getMessage() == "an event handler failed on Loss"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_a_hook_may_end_the_process(ending: type[BaseException]) -> None:
    class Hook(ConsumerEvents):
        def lost(self, loss: Loss) -> None:
            raise ending

    with pytest.raises(ending):
        tell(Hook().lost, Loss(partitions=HERE, reason="expelled"))


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_cannot_be_changed(name: str) -> None:
    event = EVENTS[name]
    field = next(iter(inspect.signature(type(event)).parameters))

    with pytest.raises(AttributeError):
        setattr(event, field, None)
