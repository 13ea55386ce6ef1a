"""Brokers of every version start, keep records through a restart, and demand what they should."""

import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError
from aiokafka.helpers import create_ssl_context

from deploy.local import broker_registration, brokers
from deploy.local.broker_registration import Registered
from deploy.local.broker_security import MECHANISMS
from deploy.local.brokers import BrokersUnavailable, Cluster
from deploy.local.ports import claim, free_ports


def a_topic() -> str:
    return f"brokers-{uuid.uuid4().hex[:8]}"


async def create(topic: str, servers: str, replication: int, **client: Any) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers, **client)
    try:
        await admin.start()
        answer = await admin.create_topics([NewTopic(topic, 1, replication)])
        assert [error["error_code"] for error in answer.to_object()["topic_errors"]] == [0]
    finally:
        await admin.close()


async def produce(topic: str, value: bytes, servers: str, **client: Any) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", **client)
    try:
        await producer.start()
        await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def read(topic: str, count: int, servers: str, **client: Any) -> list[bytes | None]:
    async with AIOKafkaConsumer(bootstrap_servers=servers, **client) as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek(partition, 0)
        return [(await consumer.getone()).value for _ in range(count)]


def known_to(cluster: Cluster, number: int) -> frozenset[int]:
    server = cluster.bootstrap_servers.split(",")[number]
    return broker_registration.ask(int(server.rpartition(":")[2])).brokers


async def test_a_killed_broker_comes_back_and_no_record_is_missing(own_cluster: Cluster) -> None:
    topic, servers = a_topic(), own_cluster.bootstrap_servers
    await create(topic, servers, 3)
    await produce(topic, b"before", servers)
    own_cluster.kill(1)
    await produce(topic, b"meanwhile", servers)
    own_cluster.start_broker(1)
    assert known_to(own_cluster, 1) == {0, 1, 2}
    assert own_cluster.bootstrap_servers == servers
    assert await read(topic, 2, servers) == [b"before", b"meanwhile"]


@pytest.mark.parametrize("version", ["3.9.1", "4.1.0"])
async def test_brokers_without_zookeeper_keep_records_when_one_is_restarted(
    version: str, tmp_path: Path
) -> None:
    topic = a_topic()
    with Cluster(version, directory=tmp_path / "kafka") as cluster:
        servers = cluster.bootstrap_servers
        await create(topic, servers, 3)
        await produce(topic, b"before", servers)
        cluster.stop_broker(2)
        await produce(topic, b"meanwhile", servers)
        cluster.start_broker(2)
        assert known_to(cluster, 2) == {0, 1, 2}
        assert await read(topic, 2, servers) == [b"before", b"meanwhile"]


@pytest.mark.usefixtures("ended_connections")
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
async def test_a_listener_that_demands_a_password_takes_the_right_one(
    secure_cluster: Cluster, protocol: str, mechanism: str
) -> None:
    credentials = secure_cluster.credentials
    client: dict[str, Any] = {
        "security_protocol": protocol,
        "sasl_mechanism": mechanism,
        "sasl_plain_username": credentials.username,
        "sasl_plain_password": credentials.password,
    }
    if protocol == "SASL_SSL":
        client["ssl_context"] = create_ssl_context(cafile=str(credentials.ca_file))
    topic, servers = a_topic(), secure_cluster.listeners[protocol]
    await create(topic, servers, 1, **client)
    await produce(topic, b"secret", servers, **client)
    assert await read(topic, 1, servers, **client) == [b"secret"]
    with pytest.raises(KafkaConnectionError):
        await produce(topic, b"wrong", servers, **{**client, "sasl_plain_password": "wrong"})


@pytest.mark.usefixtures("ended_connections")
async def test_a_listener_that_demands_a_certificate_takes_none_without(
    secure_cluster: Cluster,
) -> None:
    credentials = secure_cluster.credentials
    with_certificate = create_ssl_context(
        cafile=str(credentials.ca_file),
        certfile=str(credentials.client_cert_file),
        keyfile=str(credentials.client_key_file),
    )
    without = create_ssl_context(cafile=str(credentials.ca_file))
    topic, servers = a_topic(), secure_cluster.listeners["SSL"]
    await create(topic, servers, 1, security_protocol="SSL", ssl_context=with_certificate)
    with pytest.raises(KafkaConnectionError):
        await produce(topic, b"", servers, security_protocol="SSL", ssl_context=without)


def test_a_version_that_is_not_pinned_lists_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(BrokersUnavailable, match=r"'2\.0\.0' .* 2\.8\.1, 3\.9\.1, 4\.1\.0"):
        Cluster("2.0.0", directory=tmp_path).start()


def test_a_broker_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    cluster = Cluster(directory=tmp_path, brokers=1, extra={"num.io.threads": "none"})
    with pytest.raises(BrokersUnavailable, match=r"(?s)broker-0 ended .*num\.io\.threads"):
        cluster.start()


def test_the_command_says_in_one_sentence_that_there_is_no_java(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert brokers.main(["up"]) == 3
    assert f"JAVA_HOME is {str(tmp_path)!r}" in capsys.readouterr().err


@pytest.mark.parametrize("ports", ["19092", "19092,19092,19093", "1,2,70000", "a,b,c"])
def test_the_command_wants_three_ports(ports: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        brokers.main(["up", "--ports", ports])
    assert f"3 different ports between 1 and 65535, separated by commas, not {ports!r}" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(("controller", "known"), [(2, 2), (-1, None)])
def test_what_a_broker_knows_is_read_with_and_without_racks(
    controller: int, known: int | None
) -> None:
    correlation, none = b"\0\0\0\1", b"\xff\xff"
    first = b"\0\0\0\0" + b"\0\4host" + b"\0\0\x23\x84" + none
    second = b"\0\0\0\2" + b"\0\1h" + b"\0\0\x23\x85" + b"\0\4az-2"
    answer = correlation + b"\0\0\0\2" + first + second + controller.to_bytes(4, signed=True)
    assert broker_registration.parse(answer) == Registered(frozenset({0, 2}), known)


def test_free_ports_are_all_different() -> None:
    assert len(set(free_ports(50))) == 50


def test_a_port_that_nobody_listens_on_yet_is_given_to_one_process_only() -> None:
    (port,) = free_ports(1)
    assert not claim(port)
    ask = f"from deploy.local.ports import claim; print(claim({port}))"
    other = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True)
    assert other.stdout == "False\n"
