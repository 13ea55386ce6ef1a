"""The factories: what aiokafka's clients are given for a configuration."""

import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiokafka
import pytest

import kafka_utils.consumer
import kafka_utils.producer
from kafka_utils import (
    ConfigurationError,
    ConsumerConfig,
    ProducerConfig,
    Security,
    create_consumer,
    create_producer,
)
from kafka_utils.aiokafka_internals import IncrementalConsumer
from kafka_utils.assignors import registry
from kafka_utils.coordinator.group_side import GroupSide
from kafka_utils.errors import AssignorPluginError, Problem
from kafka_utils.events import ConsumerEvents

CERTIFICATES = Path(__file__).parent / "certificates"
SERVERS = ("127.0.0.1:1", "[::1]:1")


class Given:
    """Stands in for a client and keeps what it was given."""

    def __init__(self, group_side: Any = None, **arguments: Any) -> None:
        self.group_side = group_side
        self.arguments = arguments


def given(client: object) -> dict[str, Any]:
    """Return what a stand-in was given."""
    assert isinstance(client, Given)
    return client.arguments


@pytest.fixture(autouse=True)
def clients_keep_their_arguments(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "real_clients" not in request.fixturenames:
        monkeypatch.setattr(kafka_utils.consumer, "IncrementalConsumer", Given)
        monkeypatch.setattr(kafka_utils.producer, "AIOKafkaProducer", Given)
        monkeypatch.setattr(kafka_utils.producer, "keep_first_connection", lambda _, **__: None)


@pytest.fixture
def real_clients() -> None:
    """Leave the clients' own classes in place."""


def consumer_arguments(**changes: Any) -> dict[str, Any]:
    config = ConsumerConfig(**({"bootstrap_servers": SERVERS, "group_id": "fleet"} | changes))
    return given(create_consumer(config))


def producer_arguments(**changes: Any) -> dict[str, Any]:
    return given(create_producer(ProducerConfig(bootstrap_servers=SERVERS, **changes)))


def test_a_consumer_commits_nothing_by_itself_and_resets_no_offset() -> None:
    arguments = consumer_arguments()

    assert arguments["enable_auto_commit"] is False
    assert arguments["auto_offset_reset"] == "none"


def test_a_consumer_is_given_every_field() -> None:
    arguments = consumer_arguments(
        group_instance_id="pod-1",
        client_id="worker",
        client_rack="a",
        session_timeout_ms=45_000,
        heartbeat_interval_ms=1_000,
        rebalance_timeout_ms=50_000,
        request_timeout_ms=20_000,
        max_poll_interval_ms=400_000,
        isolation_level="read_uncommitted",
        fetch_max_wait_ms=100,
        metadata_max_age_ms=9_000,
        max_partition_fetch_bytes=4_096,
    )

    assert arguments == {
        "bootstrap_servers": ["127.0.0.1:1", "[::1]:1"],
        "group_id": "fleet",
        "group_instance_id": "pod-1",
        "client_id": "worker",
        "client_rack": "a",
        "session_timeout_ms": 45_000,
        "heartbeat_interval_ms": 1_000,
        "rebalance_timeout_ms": 50_000,
        "request_timeout_ms": 20_000,
        "max_poll_interval_ms": 400_000,
        "isolation_level": "read_uncommitted",
        "fetch_max_wait_ms": 100,
        "metadata_max_age_ms": 9_000,
        "max_partition_fetch_bytes": 4_096,
        "consumer_timeout_ms": 5_000,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "security_protocol": "PLAINTEXT",
    }


def test_joins_have_a_time_of_their_own_and_other_requests_keep_theirs() -> None:
    arguments = consumer_arguments(request_timeout_ms=30_000, rebalance_timeout_ms=60_000)

    assert arguments["request_timeout_ms"] == 30_000


def test_the_group_side_is_made_of_the_same_configuration_and_hook() -> None:
    config = ConsumerConfig(bootstrap_servers=SERVERS, group_id="fleet")
    events = ConsumerEvents()
    client: Any = create_consumer(config, events)

    assert client.group_side.func is GroupSide
    assert client.group_side.args == (config, events)


def test_a_hook_is_not_needed() -> None:
    client: Any = create_consumer(ConsumerConfig(bootstrap_servers=SERVERS, group_id="fleet"))

    assert type(client.group_side.args[1]) is ConsumerEvents


def test_an_assignor_that_has_become_unusable_is_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unusable(name: str) -> None:
        raise AssignorPluginError([Problem("assignors", name, "usable")])

    config = ConsumerConfig(bootstrap_servers=SERVERS, group_id="fleet", assignors=("sticky",))
    monkeypatch.setattr(registry, "resolve", unusable)

    with pytest.raises(ConfigurationError, match="sticky"):
        create_consumer(config)


def test_a_producer_is_idempotent_and_waits_for_all_replicas() -> None:
    assert producer_arguments(client_id="worker", compression="zstd", linger_ms=5) == {
        "bootstrap_servers": ["127.0.0.1:1", "[::1]:1"],
        "client_id": "worker",
        "request_timeout_ms": 30_000,
        "max_request_size": 1_048_576,
        "compression_type": "zstd",
        "linger_ms": 5,
        "transactional_id": None,
        "enable_idempotence": True,
        "acks": "all",
        "security_protocol": "PLAINTEXT",
    }


def test_sasl_is_given_to_both_clients_and_no_context_without_tls() -> None:
    security = Security(
        protocol="SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-256",
        sasl_username="fleet",
        sasl_password="hunter2",
    )

    for arguments in (consumer_arguments(security=security), producer_arguments(security=security)):
        assert arguments["security_protocol"] == "SASL_PLAINTEXT"
        assert arguments["sasl_mechanism"] == "SCRAM-SHA-256"
        assert arguments["sasl_plain_username"] == "fleet"
        assert arguments["sasl_plain_password"] == "hunter2"
        assert "ssl_context" not in arguments


def test_tls_verifies_the_broker_against_the_given_authorities_only() -> None:
    security = Security(
        protocol="SSL",
        ca_file=CERTIFICATES / "throwaway.pem",
        cert_file=CERTIFICATES / "throwaway.pem",
        key_file=CERTIFICATES / "throwaway.key",
    )

    context = consumer_arguments(security=security)["ssl_context"]

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


def test_tls_without_a_ca_file_trusts_the_systems_authorities(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = []
    monkeypatch.setattr(
        ssl.SSLContext, "load_default_certs", lambda _, purpose: loaded.append(purpose)
    )

    context = producer_arguments(security=Security(protocol="SSL"))["ssl_context"]

    assert loaded == [ssl.Purpose.SERVER_AUTH]
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_certificate_that_became_unusable_is_a_configuration_error(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes((CERTIFICATES / "throwaway.pem").read_bytes())
    config = ProducerConfig(
        bootstrap_servers=SERVERS, security=Security(protocol="SSL", ca_file=ca_file)
    )
    ca_file.unlink()

    with pytest.raises(ConfigurationError, match=r"ca_file is .* \(No such file or directory\)"):
        create_producer(config)


async def test_a_consumer_is_not_started_and_not_subscribed(real_clients: None) -> None:
    consumer = create_consumer(ConsumerConfig(bootstrap_servers=SERVERS, group_id="fleet"))

    assert type(consumer) is IncrementalConsumer
    assert isinstance(consumer, aiokafka.AIOKafkaConsumer)
    assert consumer.subscription() == frozenset()
    await consumer.stop()


@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_every_compression_has_its_library(
    real_clients: None, compression: str | None
) -> None:
    producer = create_producer(ProducerConfig(bootstrap_servers=SERVERS, compression=compression))

    assert type(producer) is aiokafka.AIOKafkaProducer
    await producer.stop()


def test_a_client_outside_an_event_loop_is_refused(real_clients: None) -> None:
    config = ConsumerConfig(bootstrap_servers=SERVERS, group_id="fleet")

    # A thread of its own, because in the main thread asking for the loop may make one.
    with ThreadPoolExecutor() as threads, pytest.raises(RuntimeError):
        threads.submit(create_consumer, config).result()
