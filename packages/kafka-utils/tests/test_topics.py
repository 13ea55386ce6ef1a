"""A cluster's metadata as values: who leads what, and what lacks replicas."""

from typing import Any

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from kafka_utils.topics import Broker, ClusterDescription, TopicDescription, read_cluster


def partition(number: int, leader: int, replicas: list[int], isr: list[int]) -> dict[str, Any]:
    return {"partition": number, "leader": leader, "replicas": replicas, "isr": isr}


def topic(name: str, *partitions: dict[str, Any], error: int = 0) -> dict[str, Any]:
    said = {"topic": name, "is_internal": name.startswith("__"), "error_code": error}
    return said | {"partitions": list(partitions)}


METADATA = {
    "brokers": [
        {"node_id": 2, "host": "b", "port": 9093, "rack": "az-2"},
        {"node_id": 1, "host": "a", "port": 9092, "rack": None},
        {"node_id": 3, "host": "c", "port": 9094},
    ],
    "topics": [
        topic("webhook", partition(1, 2, [2, 1], [2]), partition(0, 1, [1, 2], [2, 1])),
        topic("__consumer_offsets", partition(0, 2, [2, 4], [2]), partition(1, -1, [4], [])),
        topic("forbidden", error=29),
    ],
}


def test_brokers_and_topics_are_read_in_order() -> None:
    cluster = read_cluster(METADATA)

    assert cluster.brokers == (
        Broker(node_id=1, host="a", port=9092, rack=None),
        Broker(node_id=2, host="b", port=9093, rack="az-2"),
        Broker(node_id=3, host="c", port=9094, rack=None),
    )
    webhook = cluster.topics["webhook"]
    assert [p.partition for p in webhook.partitions] == [0, 1]
    assert webhook.partitions[1].replicas == (2, 1)
    assert webhook.partitions[1].in_sync == (2,)
    assert [topic.internal for topic in cluster.topics.values()] == [False, True]


def test_a_topic_that_is_refused_is_left_out() -> None:
    assert read_cluster(METADATA).topics.keys() == {"webhook", "__consumer_offsets"}


def test_leaders_are_counted_for_every_live_broker() -> None:
    cluster = read_cluster(METADATA)

    assert cluster.leaders == {1: 1, 2: 2, 3: 0}
    assert cluster.only(["webhook"]).leaders == {1: 1, 2: 1, 3: 0}
    assert cluster.leader_of_each()[TopicPartition("__consumer_offsets", 1)] is None


def test_partitions_with_too_few_replicas_are_named() -> None:
    assert read_cluster(METADATA).under_replicated == (
        TopicPartition("__consumer_offsets", 0),
        TopicPartition("__consumer_offsets", 1),
        TopicPartition("webhook", 1),
    )


def test_a_topic_that_is_missing_is_left_out() -> None:
    some = read_cluster(METADATA).only(["missing", "webhook"])

    assert list(some.topics) == ["webhook"]
    assert len(some.brokers) == 3


@given(st.lists(st.sampled_from([-1, 1, 2, 3]), max_size=20))
def test_every_partition_with_a_leader_is_counted_once(leaders: list[int]) -> None:
    partitions = [partition(number, leader, [1], [1]) for number, leader in enumerate(leaders)]
    cluster = read_cluster(METADATA | {"topics": [topic("t", *partitions)]})

    assert sum(cluster.leaders.values()) == sum(leader != -1 for leader in leaders)
    assert isinstance(cluster, ClusterDescription)
    assert isinstance(cluster.topics["t"], TopicDescription)
