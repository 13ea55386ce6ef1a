"""Faults of aiokafka that are mended here, each shown on its own classes and on ours.

A test that fails on aiokafka's own classes says that a fault is mended there: then look whether
what is here for it can go.
"""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition, errors
from aiokafka.client import ConnectionGroup
from aiokafka.cluster import ClusterMetadata
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance, GroupCoordinator
from aiokafka.consumer.subscription_state import Subscription, SubscriptionState
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError
from aiokafka.protocol.commit import OffsetFetchResponse_v3
from aiokafka.structs import OffsetAndMetadata

from kafka_utils import ConsumerConfig, create_consumer
from kafka_utils.aiokafka_internals import IncrementalFetcher, IncrementalSubscription
from kafka_utils.assignors import registry
from kafka_utils.assignors.consumer_protocol import Assignment, encode_assignment
from kafka_utils.coordinator.commits import Commits
from kafka_utils.coordinator.deadlines import Pulse
from kafka_utils.coordinator.member import GroupMember, MemberSettings
from kafka_utils.coordinator.membership import Membership, Phase
from kafka_utils.coordinator.messages import Identity, Joined
from kafka_utils.coordinator.reconciler import Reconciler
from kafka_utils.coordinator.transport import BrokerTransport, Member
from kafka_utils.events import ConsumerEvents

A, B = TopicPartition("t", 0), TopicPartition("t", 1)
TEN = OffsetAndMetadata(10, "")


class Brokers:
    """Stands in for a client: answers each kind of request as it is told, and notes all."""

    def __init__(self, **answers: Callable[[Any], Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self._metadata_max_age_ms = 300_000
        self.cluster = ClusterMetadata(metadata_max_age_ms=300_000)
        self.answers = answers
        self.sent: list[Any] = []

    async def coordinator_lookup(self, *_: Any) -> int:
        return 0

    async def ready(self, *_: Any, **__: Any) -> bool:
        return True

    async def _get_conn(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace()

    async def send(self, _: int, request: Any, **__: Any) -> Any:
        self.sent.append(request)
        return self.answers[type(request).__name__](request)

    def set_topics(self, _: Any) -> Any:
        return self.force_metadata_update()

    def force_metadata_update(self) -> asyncio.Future[bool]:
        done = self._loop.create_future()
        done.set_result(True)
        return done

    async def _maybe_wait_metadata(self) -> None:
        pass


def stock_coordinator(brokers: Brokers, subscription: Any = None, **options: Any) -> Any:
    return GroupCoordinator(
        brokers, subscription or SubscriptionState(), group_id="g", retry_backoff_ms=1, **options
    )


def transport(brokers: Any) -> BrokerTransport:
    member = Member(
        group_id="g",
        group_instance_id=None,
        session_timeout_ms=10_000,
        rebalance_timeout_ms=60_000,
        request_timeout_ms=30_000,
    )
    return BrokerTransport(brokers, member, ConsumerEvents())


LOADING: Final = errors.GroupLoadInProgressError.errno


def refused_offset_fetch(_: object) -> OffsetFetchResponse_v3:
    return OffsetFetchResponse_v3(0, [], LOADING)


async def test_aiokafka_takes_a_coordinator_that_refuses_for_one_without_offsets() -> None:
    coordinator = stock_coordinator(Brokers(OffsetFetchRequest=refused_offset_fetch))

    assert await coordinator.fetch_committed_offsets([A]) == {}


async def test_a_coordinator_that_refuses_is_an_error() -> None:
    ours = transport(Brokers(OffsetFetchRequest=refused_offset_fetch))
    await ours.find()

    with pytest.raises(errors.GroupLoadInProgressError):
        await ours.committed([A])


def joined(request: Any) -> Any:
    return SimpleNamespace(
        API_VERSION=5,
        error_code=0,
        generation_id=1,
        group_protocol=request._group_protocols[0][0],
        leader_id="leader",
        member_id="m",
        members=[],
    )


def synced(_: object) -> Any:
    assignment = ConsumerProtocolMemberAssignment(0, [("t", [0])], b"")
    return SimpleNamespace(API_VERSION=3, error_code=0, member_assignment=assignment.encode())


async def test_aiokafka_joins_once_for_each_assignor() -> None:
    sent: list[list[str]] = []

    def counted(request: Any) -> Any:
        sent.append([name for name, _ in request._group_protocols])
        return joined(request)

    brokers = Brokers(JoinGroupRequest=counted, SyncGroupRequest=synced)
    assignors = (RangePartitionAssignor, RoundRobinPartitionAssignor)
    coordinator = stock_coordinator(brokers, assignors=assignors)
    coordinator.coordinator_id = 0
    rebalance = CoordinatorGroupRebalance(
        coordinator, "g", 0, Subscription({"t"}), assignors, 10_000, 1
    )
    assert await rebalance.perform_group_join() is not None

    assert sent == [["range"], ["range", "roundrobin"]]


async def test_one_join_carries_every_assignor() -> None:
    sent: list[list[str]] = []
    settled = asyncio.Event()

    class Transport:
        async def find(self) -> None:
            pass

        async def join(self, _: str, protocols: list[tuple[str, bytes]]) -> Joined:
            sent.append([name for name, _ in protocols])
            return Joined(Identity("m", 1), "leader", protocols[0][0], {})

        async def sync(self, *_: Any) -> bytes:
            settled.set()
            return encode_assignment(Assignment(frozenset()))

    member = group_member(Transport(), "range", "roundrobin")
    running = asyncio.create_task(member.run())
    await settled.wait()
    await asyncio.sleep(0)
    running.cancel()

    assert sent == [["range", "roundrobin"]]


def group_member(carrier: Any, *assignors: str) -> GroupMember:
    nothing: Any = SimpleNamespace(**dict.fromkeys(("add", "open", "freeze", "remove"), print))
    cluster: Any = None
    settings = MemberSettings(
        group_id="g",
        group_instance_id=None,
        rack=None,
        pulse=Pulse(interval=3.0, session=10.0, near=30.0),
        request_seconds=30.0,
        max_poll_seconds=300.0,
    )
    return GroupMember(
        settings,
        carrier,
        Reconciler(nothing, lambda: None, 30.0, ConsumerEvents(), lambda: None),
        [registry.resolve(name) for name in assignors],
        cluster,
        lambda: frozenset({"t"}),
        lambda: 0.0,
        ConsumerEvents(),
    )


@pytest.mark.parametrize(("kind", "left"), [(SubscriptionState, 1), (IncrementalSubscription, 0)])
async def test_aiokafka_takes_a_consumer_for_busy_for_ever_after_a_cancelled_call(
    kind: type[SubscriptionState], left: int
) -> None:
    state: Any = kind()
    with pytest.raises(asyncio.CancelledError), state.fetch_context():
        raise asyncio.CancelledError

    assert state._fetch_count == left


def fetches(fetcher: Any) -> list[tuple[int, Any]]:
    requests, *_ = fetcher._get_actions_per_node(fetcher._subscriptions.subscription.assignment)
    return [(node, request.topics) for node, request in requests]


def brokers_with_leaders() -> Any:
    brokers: Any = Brokers()
    brokers.cluster = SimpleNamespace(leader_for_partition=lambda _: 0)
    return brokers


async def test_aiokafka_asks_a_broker_for_nothing_while_one_partition_has_no_offset_yet() -> None:
    state: Any = SubscriptionState()
    fetcher: Any = Fetcher(brokers_with_leaders(), state)
    state.subscribe({"t"})
    state.assign_from_subscribed({A, B})
    state.seek(B, 7)
    try:
        assert fetches(fetcher) == []
    finally:
        await fetcher.close()


async def test_a_partition_without_an_offset_yet_keeps_no_other_one_waiting() -> None:
    subscription: Any = IncrementalSubscription()
    fetcher = IncrementalFetcher(brokers_with_leaders(), subscription, auto_offset_reset="none")
    subscription.subscribe({"t"})
    fetcher.add(frozenset({A, B}))
    fetcher.open(frozenset({A, B}))
    fetcher.place({B: OffsetAndMetadata(7, "")})
    try:
        assert fetches(fetcher) == [(0, [("t", [(B.partition, 7, 1_048_576)])])]
    finally:
        await fetcher.close()


async def test_aiokafkas_rebalance_timeout_is_the_sessions() -> None:
    consumer: Any = AIOKafkaConsumer(session_timeout_ms=7_000)
    try:
        assert consumer._rebalance_timeout_ms == 7_000
    finally:
        await consumer.stop()


async def test_the_rebalance_timeout_is_its_own() -> None:
    config = ConsumerConfig(
        bootstrap_servers=("127.0.0.1:1",),
        group_id="g",
        session_timeout_ms=9_000,
        rebalance_timeout_ms=70_000,
    )
    consumer: Any = create_consumer(config)
    try:
        assert consumer._rebalance_timeout_ms == 70_000
    finally:
        await consumer.stop()


async def test_a_join_tells_the_rebalance_timeout_and_waits_longer() -> None:
    brokers = Brokers(JoinGroupRequest=joined)
    connection = SimpleNamespace()

    async def connect(*_: Any, **__: Any) -> Any:
        return connection

    brokers._get_conn = connect  # type: ignore[method-assign]
    ours = transport(brokers)
    await ours.find()
    await ours.join("m", [("range", b"")])

    (request,) = brokers.sent
    assert request._rebalance_timeout == 60_000
    assert connection._request_timeout == 65.0


async def test_a_join_waits_for_no_connection_that_it_does_not_need() -> None:
    brokers = Brokers(JoinGroupRequest=joined)
    done: list[str] = []

    async def ready(_: int, *, group: object) -> bool:
        done.append(f"connect {group}")
        return True

    async def send(_: int, request: Any, *, group: object) -> Any:
        done.append(f"send {group}")
        await asyncio.sleep(0)
        return joined(request)

    brokers.ready = ready  # type: ignore[method-assign]
    brokers.send = send  # type: ignore[assignment, method-assign]
    ours = transport(brokers)
    await ours.find()
    await ours.join("", [("range", b"")])
    assert done == ["connect joins", "send joins"], "the answer is a member id, and comes at once"
    await ours.join("m", [("range", b"")])
    assert done[2:] == ["send joins", f"connect {ConnectionGroup.COORDINATION}"]


def refusing_once(error: type[KafkaError], meanwhile: Callable[[], None]) -> Callable[[Any], Any]:
    left = [error]

    def answer(request: Any) -> Any:
        if left:
            meanwhile()
            raise left.pop()
        topics = [
            (topic, [(partition, 0) for partition, *_ in those]) for topic, those in request._topics
        ]
        return SimpleNamespace(API_VERSION=3, topics=topics)

    return answer


async def test_aiokafka_commits_again_what_it_has_given_up_meanwhile() -> None:
    state: Any = SubscriptionState()
    state.subscribe({"t"})
    state.assign_from_subscribed({A})
    assignment = state.subscription.assignment
    brokers = Brokers(
        OffsetCommitRequest=refusing_once(
            errors.KafkaConnectionError, lambda: state.assign_from_subscribed({B})
        )
    )
    coordinator = stock_coordinator(brokers)
    coordinator.coordinator_id = 0
    await coordinator.commit_offsets(assignment, {A: TEN})

    assert not state.is_assigned(A)
    assert len(brokers.sent) == 2


async def test_what_was_given_up_meanwhile_is_not_committed_again() -> None:
    held = {A: 1}
    brokers = Brokers(OffsetCommitRequest=refusing_once(errors.KafkaConnectionError, held.clear))
    ours = Commits(
        transport(brokers),
        lambda: Membership(Phase.STABLE, Identity("m", 5)),
        lambda: held,
        lambda *_: None,
        30.0,
        ConsumerEvents(),
    )
    with pytest.raises(errors.CommitFailedError):
        await ours.commit({A: TEN})

    assert len(brokers.sent) == 1


async def test_aiokafka_waits_for_an_assignment_longer_than_it_may() -> None:
    state: Any = SubscriptionState()
    fetcher: Any = Fetcher(brokers_with_leaders(), state)
    polling = asyncio.create_task(fetcher.fetched_records((), 0.0))
    for _ in range(10):
        await asyncio.sleep(0)
    try:
        assert not polling.done()
    finally:
        polling.cancel()
        await fetcher.close()


async def test_a_poll_that_may_not_wait_does_not_wait_for_an_assignment() -> None:
    subscription: Any = IncrementalSubscription()
    fetcher = IncrementalFetcher(brokers_with_leaders(), subscription)
    try:
        assert await fetcher.fetched_records((), 0.0) == {}
    finally:
        await fetcher.close()


def buffered(assignment: Any) -> FetchResult:
    """Return a fetch result with a record of A at 7."""
    records: Any = PartitionRecords.__new__(PartitionRecords)
    records.next_fetch_offset = 7
    records._records_iterator = iter(["the record"])
    return FetchResult(A, assignment=assignment, partition_records=records, backoff=0)


async def test_aiokafka_throws_away_what_is_buffered_of_a_paused_partition() -> None:
    state: Any = SubscriptionState()
    fetcher: Any = Fetcher(brokers_with_leaders(), state)
    state.subscribe({"t"})
    state.assign_from_subscribed({A})
    state.seek(A, 7)
    fetcher._records[A] = buffered(state.subscription.assignment)
    state.pause(A)
    try:
        assert await fetcher.fetched_records((), 0.0) == {}
        assert A not in fetcher._records
    finally:
        await fetcher.close()


async def test_what_is_buffered_of_a_paused_partition_is_kept() -> None:
    subscription: Any = IncrementalSubscription()
    fetcher: Any = IncrementalFetcher(brokers_with_leaders(), subscription)
    subscription.subscribe({"t"})
    fetcher.add(frozenset({A}))
    fetcher.open(frozenset({A}))
    fetcher.place({A: OffsetAndMetadata(7, "")})
    fetcher._records[A] = buffered(subscription.assigned())
    subscription.pause(A)
    try:
        assert await fetcher.fetched_records((), 0.0) == {}
        subscription.resume(A)
        assert await fetcher.fetched_records((), 0.0) == {A: ["the record"]}
    finally:
        await fetcher.close()
