"""Every security protocol and mechanism against brokers that require it."""

import asyncio
import signal
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from deploy.demo.pods import free_port_ranges
from deploy.image.not_ready import main as not_ready
from deploy.local.brokers import Cluster
from kafka_utils import (
    Admin,
    ConsumerConfig,
    ProducerConfig,
    Security,
    TopicSpec,
    UnreachableError,
    create_consumer,
    create_producer,
)
from tests.harness.container import container, pod_directory

pytestmark = pytest.mark.usefixtures("ended_connections")

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
COMBINATIONS = [
    ("PLAINTEXT", None),
    ("SSL", None),
    *(("SASL_PLAINTEXT", mechanism) for mechanism in MECHANISMS),
    *(("SASL_SSL", mechanism) for mechanism in MECHANISMS),
]


def servers_of(cluster: Cluster, protocol: str) -> tuple[str, ...]:
    return tuple(cluster.listeners[protocol].split(","))


def security_for(cluster: Cluster, protocol: str, mechanism: str | None) -> Security:
    credentials = cluster.credentials
    return Security(
        protocol=protocol,
        ca_file=credentials.ca_file if protocol.endswith("SSL") else None,
        cert_file=credentials.client_cert_file if protocol == "SSL" else None,
        key_file=credentials.client_key_file if protocol == "SSL" else None,
        sasl_mechanism=mechanism,
        sasl_username=credentials.username if mechanism else None,
        sasl_password=credentials.password if mechanism else None,
    )


async def why_unreachable(servers: tuple[str, ...], security: Security) -> str:
    with pytest.raises(UnreachableError) as caught:
        await Admin(servers, security=security).__aenter__()
    return str(caught.value)


@pytest.mark.parametrize(("protocol", "mechanism"), COMBINATIONS)
async def test_a_record_is_produced_and_consumed(
    secure_cluster: Cluster, protocol: str, mechanism: str | None
) -> None:
    servers = servers_of(secure_cluster, protocol)
    security = security_for(secure_cluster, protocol, mechanism)
    topic = f"security.{uuid.uuid4().hex}"
    async with Admin(servers, security=security) as admin:
        await admin.create([TopicSpec(name=topic, partitions=1, replication=1)])
    producer = create_producer(ProducerConfig(bootstrap_servers=servers, security=security))
    consumer = create_consumer(
        ConsumerConfig(bootstrap_servers=servers, group_id=topic, security=security)
    )
    partition = TopicPartition(topic, 0)

    try:
        await producer.start()
        await producer.send_and_wait(topic, b"safe and sound")
        await consumer.start()
        consumer.assign([partition])
        consumer.seek(partition, 0)
        async with asyncio.timeout(30):
            record = await consumer.getone()
        await consumer.commit()
        committed = await consumer.committed(partition)
    finally:
        await producer.stop()
        await consumer.stop()

    assert record.value == b"safe and sound"
    assert committed == 1


@pytest.mark.parametrize(
    ("protocol", "mechanism"), [pair for pair in COMBINATIONS if pair[1] is not None]
)
async def test_a_wrong_password_is_said_without_showing_it(
    secure_cluster: Cluster, protocol: str, mechanism: str
) -> None:
    right = security_for(secure_cluster, protocol, mechanism)
    wrong = replace(right, sasl_password="not-the-password")

    reason = await why_unreachable(servers_of(secure_cluster, protocol), wrong)

    assert "refused the user name or password of 'fleet'" in reason
    assert "not-the-password" not in reason


async def test_clients_of_aiokafka_fail_to_start_with_a_wrong_password(
    secure_cluster: Cluster,
) -> None:
    right = security_for(secure_cluster, "SASL_SSL", "PLAIN")
    config = ProducerConfig(
        bootstrap_servers=servers_of(secure_cluster, "SASL_SSL"),
        security=replace(right, sasl_password="not-the-password"),
    )
    producer = create_producer(config)

    try:
        with pytest.raises(KafkaConnectionError):
            await producer.start()
    finally:
        await producer.stop()


@pytest.mark.parametrize(("protocol", "mechanism"), [("SSL", None), ("SASL_SSL", "PLAIN")])
async def test_a_broker_of_another_authority_is_not_trusted(
    secure_cluster: Cluster, tmp_path: Path, protocol: str, mechanism: str | None
) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    right = security_for(secure_cluster, protocol, mechanism)

    reason = await why_unreachable(
        servers_of(secure_cluster, protocol), replace(right, ca_file=stranger)
    )

    assert "has a certificate that is not trusted" in reason


async def test_the_systems_authorities_do_not_vouch_for_a_private_one(
    secure_cluster: Cluster,
) -> None:
    reason = await why_unreachable(servers_of(secure_cluster, "SSL"), Security(protocol="SSL"))

    assert "has a certificate that is not trusted" in reason


async def test_a_missing_client_certificate_is_refused(secure_cluster: Cluster) -> None:
    right = security_for(secure_cluster, "SSL", None)

    reason = await why_unreachable(
        servers_of(secure_cluster, "SSL"), replace(right, cert_file=None, key_file=None)
    )

    assert "wants a certificate of ours" in reason or "certificate required" in reason


@pytest.mark.parametrize("listener", ["SSL", "SASL_PLAINTEXT", "SASL_SSL"])
async def test_talking_in_the_clear_to_a_secure_listener_is_said(
    secure_cluster: Cluster, listener: str
) -> None:
    reason = await why_unreachable(servers_of(secure_cluster, listener), Security())

    assert "protocol PLAINTEXT may not be what it expects" in reason


def test_a_pod_with_a_wrong_password_is_not_ready_and_says_why_to_its_probe(
    secure_cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    with pod_directory() as directory:
        password, endpoints = directory / "password", directory / "endpoints.yaml"
        password.write_text("not-the-password\n")
        endpoints.write_text("endpoints: []\n")
        for file in (password, endpoints):
            file.chmod(0o644)
        environ = {
            "POD_PROCESSES": "1",
            "WORKER_METRICS_PORT": str(free_port_ranges(1, 1)[0]),
            "WEBHOOK_ENDPOINTS": str(endpoints),
            "KAFKA_BOOTSTRAP_SERVERS": secure_cluster.listeners["SASL_PLAINTEXT"],
            "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": "fleet",
            "KAFKA_SASL_PASSWORD_FILE": str(password),
        }
        with container(directory, environ) as pod:
            pod.until(lambda: pod.said("refused the user name or password of 'fleet'"))
            assert not_ready(environ) == 1
            probed = capsys.readouterr().out
            pod.signal(signal.SIGTERM)
            assert pod.ended() == 0
        assert probed.startswith("worker-0: no broker can be reached")
        assert "refused the user name or password of 'fleet'" in probed
        assert not pod.said("not-the-password")
