from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_worker.environment import describe
from app_worker.errors import EnvironmentProblems
from app_worker.settings import KafkaSettings, WorkerSettings, load_settings
from app_worker.variables import variables

BROKERS = {"KAFKA_BOOTSTRAP_SERVERS": "a:9092,b:9092"}


def problems(**environ: str) -> tuple[str, ...]:
    with pytest.raises(EnvironmentProblems) as caught:
        load_settings(BROKERS | environ)
    return caught.value.problems


def test_only_the_brokers_are_required() -> None:
    kafka, worker = load_settings(BROKERS)
    assert kafka.bootstrap_servers == ("a:9092", "b:9092")
    assert worker == WorkerSettings()


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", ""),
        ("KAFKA_GROUP_ID", "app-worker-webhook"),
        ("KAFKA_ASSIGNOR", "cooperative-sticky"),
        ("KAFKA_GROUP_INSTANCE_ID", ""),
        ("KAFKA_CLIENT_ID", ""),
        ("KAFKA_CLIENT_RACK", ""),
        ("KAFKA_SESSION_TIMEOUT_MS", "60000"),
        ("KAFKA_HEARTBEAT_INTERVAL_MS", "3000"),
        ("KAFKA_REBALANCE_TIMEOUT_MS", "60000"),
        ("KAFKA_REQUEST_TIMEOUT_MS", "30000"),
        ("KAFKA_MAX_POLL_INTERVAL_MS", "600000"),
        ("KAFKA_MAX_POLL_RECORDS", "500"),
        ("KAFKA_AUTO_OFFSET_RESET", "earliest"),
        ("KAFKA_ISOLATION_LEVEL", "read_committed"),
        ("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT"),
        ("KAFKA_SSL_CAFILE", ""),
        ("KAFKA_SSL_CERTFILE", ""),
        ("KAFKA_SSL_KEYFILE", ""),
        ("KAFKA_SASL_MECHANISM", ""),
        ("KAFKA_SASL_USERNAME", ""),
        ("KAFKA_SASL_PASSWORD", ""),
        ("WORKER_MAX_IN_FLIGHT", "100"),
        ("WORKER_MAX_IN_FLIGHT_BYTES", "33554432"),
        ("WORKER_HANDLER_TIMEOUT_SECONDS", "20"),
        ("WORKER_DRAIN_TIMEOUT_SECONDS", "25"),
        ("WORKER_METRICS_PORT", "9100"),
        ("WORKER_PROCESS_INDEX", "0"),
        ("WORKER_READY_DIR", ""),
        ("WORKER_LOG_LEVEL", "info"),
    ],
)
def test_names_and_defaults_are_a_contract(name: str, default: str) -> None:
    declared = {v.name: v for v in (*variables(KafkaSettings), *variables(WorkerSettings))}
    assert declared[name].default == default
    assert declared[name].meaning


def test_a_wrong_assignor_lists_the_known_ones() -> None:
    (problem,) = problems(KAFKA_ASSIGNOR="sticky,fair")
    known = "cooperative-sticky, range, roundrobin, "
    assert problem.startswith(f"KAFKA_ASSIGNOR is 'fair', but must be one of {known}")


@pytest.mark.parametrize(
    ("environ", "beginnings"),
    [
        (
            {"KAFKA_BOOTSTRAP_SERVERS": "a"},
            ["KAFKA_BOOTSTRAP_SERVERS is 'a', but must be host:port"],
        ),
        (
            {"KAFKA_HEARTBEAT_INTERVAL_MS": "20001"},
            [
                "KAFKA_HEARTBEAT_INTERVAL_MS is 20001, but must be at most a third of "
                "KAFKA_SESSION_TIMEOUT_MS (60000)"
            ],
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CERTFILE": __file__},
            ["KAFKA_SSL_KEYFILE is not set, but must be the key of the certificate in"],
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_PASSWORD": "p"},
            ["KAFKA_SASL_MECHANISM is not set", "KAFKA_SASL_USERNAME is not set"],
        ),
        (
            {"WORKER_HANDLER_TIMEOUT_SECONDS": "25"},
            [
                "WORKER_DRAIN_TIMEOUT_SECONDS is 25, but must be longer than "
                "WORKER_HANDLER_TIMEOUT_SECONDS (25) by more than 2 s"
            ],
        ),
        (
            {"WORKER_HANDLER_TIMEOUT_SECONDS": "23"},
            ["WORKER_DRAIN_TIMEOUT_SECONDS is 25, but must be longer than"],
        ),
        ({"KAFKA_BOOTSTRAP_SERVERS": " , "}, ["KAFKA_BOOTSTRAP_SERVERS is ' , ', but must be h"]),
        ({"KAFKA_REQUEST_TIMEOUT_MS": "400"}, ["KAFKA_REQUEST_TIMEOUT_MS is '400', but must be a"]),
        (
            {"KAFKA_REBALANCE_TIMEOUT_MS": "1"},
            [
                "KAFKA_REBALANCE_TIMEOUT_MS is 1, but must be longer than "
                "WORKER_DRAIN_TIMEOUT_SECONDS (in ms: 25000) and KAFKA_HEARTBEAT_INTERVAL_MS (3000)"
            ],
        ),
        (
            {"KAFKA_REBALANCE_TIMEOUT_MS": "27000"},
            ["KAFKA_REBALANCE_TIMEOUT_MS is 27000, but must be longer than"],
        ),
        (
            {"WORKER_DRAIN_TIMEOUT_SECONDS": "60"},
            [
                "KAFKA_REBALANCE_TIMEOUT_MS is 60000, but must be longer than "
                "WORKER_DRAIN_TIMEOUT_SECONDS (in ms: 60000)"
            ],
        ),
        ({"WORKER_METRICS_PORT": "65530", "WORKER_PROCESS_INDEX": "6"}, ["WORKER_METRICS_PORT is"]),
        ({"WORKER_READY_DIR": "/nowhere"}, ["WORKER_READY_DIR is '/nowhere', but must be a dir"]),
        ({"WORKER_LOG_LEVEL": "loud"}, ["WORKER_LOG_LEVEL is 'loud', but must be one of debug, "]),
        (
            {"WORKER_MAX_IN_FLIGHT": "0"},
            ["WORKER_MAX_IN_FLIGHT is '0', but must be a whole number"],
        ),
        ({"WORKER_DRAIN_TIMEOUT_SECONDS": "nan"}, ["WORKER_DRAIN_TIMEOUT_SECONDS is 'nan', but"]),
        (
            {
                "KAFKA_ASSIGNOR": "fair",
                "KAFKA_SESSION_TIMEOUT_MS": "soon",
                "KAFKA_SECURITY_PROTOCOL": "TLS",
                "WORKER_MAX_IN_FLIGHT": "all",
                "WORKER_DRAIN_TIMEOUT_SECONDS": "90",
            },
            [
                "KAFKA_SESSION_TIMEOUT_MS is 'soon'",
                "KAFKA_SECURITY_PROTOCOL is 'TLS'",
                "KAFKA_ASSIGNOR is 'fair'",
                "WORKER_MAX_IN_FLIGHT is 'all'",
                "KAFKA_REBALANCE_TIMEOUT_MS is 60000, but must be longer than",
            ],
        ),
    ],
)
def test_each_mistake_is_a_sentence_about_its_variable(
    environ: dict[str, str], beginnings: list[str]
) -> None:
    found = problems(**environ)
    assert len(found) == len(beginnings)
    for problem, beginning in zip(found, beginnings, strict=True):
        assert problem.startswith(beginning)


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=12))
def test_the_password_is_in_no_message(password: str) -> None:
    for protocol in ("PLAINTEXT", "SASL_SSL", "none"):
        found = problems(KAFKA_SASL_PASSWORD=password, KAFKA_SECURITY_PROTOCOL=protocol)
        assert password not in "\n".join(found)


def test_the_log_level_may_be_written_in_capitals() -> None:
    assert load_settings(BROKERS | {"WORKER_LOG_LEVEL": "DEBUG"})[1].log_level == "debug"


def test_the_port_counts_up_with_the_process_and_zero_stays_zero(tmp_path: Path) -> None:
    worker = WorkerSettings(metrics_port=9100, process_index=3, ready_dir=tmp_path)
    assert worker.port == 9103
    assert list(worker.mistakes()) == []
    assert WorkerSettings(metrics_port=0, process_index=3).port == 0


def test_a_static_member_is_named_by_its_process() -> None:
    kafka = KafkaSettings(bootstrap_servers=("a:1",), group_instance_id="pod-7")
    config = kafka.consumer_config(process_index=2, revoke_timeout_ms=1)
    assert config.group_instance_id == "pod-7-2"
    assert config.client_id == "app-worker-2"


def test_the_consumer_is_told_every_setting() -> None:
    kafka, worker = load_settings(
        BROKERS
        | {
            "KAFKA_GROUP_ID": "g",
            "KAFKA_CLIENT_ID": "c",
            "KAFKA_CLIENT_RACK": "z1",
            "KAFKA_ASSIGNOR": "range,sticky",
            "KAFKA_SESSION_TIMEOUT_MS": "10000",
            "KAFKA_HEARTBEAT_INTERVAL_MS": "1000",
            "KAFKA_REBALANCE_TIMEOUT_MS": "50000",
            "KAFKA_REQUEST_TIMEOUT_MS": "20000",
            "KAFKA_MAX_POLL_INTERVAL_MS": "70000",
            "KAFKA_ISOLATION_LEVEL": "read_uncommitted",
            "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "KAFKA_SASL_MECHANISM": "PLAIN",
            "KAFKA_SASL_USERNAME": "ada",
            "KAFKA_SASL_PASSWORD": "secret",
        }
    )
    config = kafka.consumer_config(".retry", revoke_timeout_ms=worker.drain_timeout_ms)
    assert config.group_id == "g.retry"
    assert config.bootstrap_servers == ("a:9092", "b:9092")
    assert (config.client_id, config.client_rack) == ("c", "z1")
    assert config.assignors == ("range", "sticky")
    assert config.group_instance_id is None
    assert (config.session_timeout_ms, config.heartbeat_interval_ms) == (10_000, 1_000)
    assert (config.rebalance_timeout_ms, config.revoke_timeout_ms) == (50_000, 25_000)
    assert (config.request_timeout_ms, config.max_poll_interval_ms) == (20_000, 70_000)
    assert config.isolation_level == "read_uncommitted"
    assert config.security.sasl_password == "secret"
    assert kafka.producer_config(1).security == config.security
    assert kafka.admin(1).security == config.security
    assert ("KAFKA_SASL_PASSWORD", "******") in describe(kafka)
