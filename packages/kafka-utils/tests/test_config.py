"""The configuration values: what they accept, and every sentence with which they refuse."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_utils import (
    ConfigurationError,
    ConsumerConfig,
    Problem,
    ProducerConfig,
    Security,
    UnknownAssignorError,
    rules,
)
from kafka_utils.rules import is_server

T = TypeVar("T")

CERTIFICATES = Path(__file__).parent / "certificates"
CERTIFICATE = CERTIFICATES / "throwaway.pem"
KEY = CERTIFICATES / "throwaway.key"
SERVERS = ("localhost:9092",)


def consumer_config(**changes: Any) -> ConsumerConfig:
    return ConsumerConfig(**({"bootstrap_servers": SERVERS, "group_id": "fleet"} | changes))


def producer_config(**changes: Any) -> ProducerConfig:
    return ProducerConfig(**({"bootstrap_servers": SERVERS} | changes))


def problems_of(make: Any, **changes: Any) -> tuple[Problem, ...]:
    with pytest.raises(ConfigurationError) as caught:
        make(**changes)
    return caught.value.problems


def test_the_defaults_are_accepted() -> None:
    config = consumer_config()

    assert config.assignors == ("cooperative-sticky",)
    assert config.security == Security()
    assert producer_config().compression is None


def test_a_config_cannot_be_changed_after_it_was_checked() -> None:
    config = consumer_config()

    with pytest.raises(FrozenInstanceError):
        config.session_timeout_ms = 1  # type: ignore[misc]


def test_a_problem_reads_as_a_sentence() -> None:
    (problem,) = problems_of(consumer_config, heartbeat_interval_ms=30_000)

    assert str(problem) == (
        "heartbeat_interval_ms is 30000, but must be at most a third of session_timeout_ms "
        "(60000), so that one lost heartbeat does not end the session"
    )


def test_all_problems_are_reported_at_once() -> None:
    problems = problems_of(
        consumer_config,
        bootstrap_servers=("broker", "broker:0"),
        group_id="",
        session_timeout_ms=0,
        assignors=("stiky",),
        isolation_level="serializable",
    )

    assert [problem.field for problem in problems] == [
        "bootstrap_servers",
        "bootstrap_servers",
        "group_id",
        "session_timeout_ms",
        "isolation_level",
        "assignors",
    ]


@pytest.mark.parametrize(
    ("changes", "field", "sentence"),
    [
        ({"group_id": ""}, "group_id", "not blank"),
        ({"group_id": "  "}, "group_id", "not blank"),
        ({"group_id": "a\nb"}, "group_id", "printable"),
        ({"group_id": None}, "group_id", "is not set"),
        ({"client_id": "a b"}, "client_id", "letters, digits"),
        ({"client_id": ""}, "client_id", "1 to 249 characters"),
        ({"client_rack": ""}, "client_rack", "not blank"),
        ({"group_instance_id": "pod/1"}, "group_instance_id", "letters, digits"),
        ({"group_instance_id": ".."}, "group_instance_id", "not '.' or '..'"),
        ({"group_instance_id": "a" * 250}, "group_instance_id", "1 to 249 characters"),
        ({"assignors": ()}, "assignors", "at least one name"),
        ({"assignors": "sticky"}, "assignors", "a tuple of at least one name"),
        ({"assignors": ("range", "range")}, "assignors", "'range' more than once"),
        ({"assignors": (StopIteration,)}, "assignors", "is of type type"),
        ({"isolation_level": "x"}, "isolation_level", "read_committed, read_uncommitted"),
        ({"session_timeout_ms": -1}, "session_timeout_ms", "milliseconds from 1 to 2147483647"),
        ({"session_timeout_ms": 2**31}, "session_timeout_ms", "from 1 to 2147483647"),
        ({"heartbeat_interval_ms": 0}, "heartbeat_interval_ms", "a whole number of milliseconds"),
        ({"request_timeout_ms": 1.5}, "request_timeout_ms", "is 1.5, but must be a whole number"),
        ({"rebalance_timeout_ms": "60000"}, "rebalance_timeout_ms", "is '60000'"),
        ({"max_poll_interval_ms": True}, "max_poll_interval_ms", "is True"),
        ({"max_partition_fetch_bytes": 0}, "max_partition_fetch_bytes", "number of bytes"),
        ({"revoke_timeout_ms": 60_000}, "rebalance_timeout_ms", "longer than revoke_timeout_ms"),
        ({"max_poll_interval_ms": 30_000}, "max_poll_interval_ms", "longer than revoke_timeout_ms"),
        ({"request_timeout_ms": 500}, "request_timeout_ms", "longer than fetch_max_wait_ms (500)"),
        ({"heartbeat_interval_ms": 20_001}, "heartbeat_interval_ms", "session_timeout_ms (60000)"),
        ({"security": {"sasl_password": "hunter2"}}, "security", "is of type dict"),
    ],
)
def test_a_consumer_refuses(changes: dict[str, Any], field: str, sentence: str) -> None:
    (problem,) = problems_of(consumer_config, **changes)

    assert problem.field == field
    assert sentence in str(problem)
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize(
    "changes",
    [
        {"heartbeat_interval_ms": 20_000},
        {"revoke_timeout_ms": 56_999},
        {"max_poll_interval_ms": 30_001},
        {"session_timeout_ms": 1_000_000_000},
        {"session_timeout_ms": 6_000, "heartbeat_interval_ms": 2_000},
        {"group_instance_id": "webhook-0.pod_1"},
        {"group_id": "größe mit leerzeichen"},
        {"assignors": ("range", "sticky", "roundrobin")},
    ],
)
def test_a_consumer_accepts(changes: dict[str, Any]) -> None:
    config = consumer_config(**changes)

    assert {name: getattr(config, name) for name in changes} == changes


@pytest.mark.parametrize(
    ("changes", "field", "sentence"),
    [
        ({"compression": "brotli"}, "compression", "one of gzip, snappy, lz4, zstd"),
        ({"linger_ms": -1}, "linger_ms", "milliseconds from 0"),
        ({"max_request_bytes": 0}, "max_request_bytes", "bytes from 1"),
        ({"linger_ms": 30_000}, "request_timeout_ms", "longer than linger_ms (30000)"),
    ],
)
def test_a_producer_refuses(changes: dict[str, Any], field: str, sentence: str) -> None:
    (problem,) = problems_of(producer_config, **changes)

    assert problem.field == field
    assert sentence in str(problem)


def test_a_wrong_assignor_lists_the_known_ones() -> None:
    with pytest.raises(UnknownAssignorError) as caught:
        consumer_config(assignors=("cooperative", "sticky"))

    assert str(caught.value) == (
        "assignors is 'cooperative', but must be one of "
        "cooperative-sticky, range, roundrobin, sticky"
    )


@pytest.mark.parametrize(
    "server",
    ["localhost:9092", "127.0.0.1:1", "[::1]:9092", "[fe80::1%eth0]:9092", "a_b.c-d.:65535"],
)
def test_a_server_is_accepted(server: str) -> None:
    assert is_server(server)
    assert consumer_config(bootstrap_servers=(server,)).bootstrap_servers == (server,)


@pytest.mark.parametrize(
    "server",
    [
        "",
        "localhost",
        "localhost:",
        ":9092",
        "localhost:0",
        "localhost:65536",
        "localhost:kafka",
        "localhost:٩",
        "::1:9092",
        "[::1]",
        "[localhost]:9092",
        "[]:9092",
        "kafka://localhost:9092",
        "a:1,b:2",
        " localhost:9092",
        "a..b:9092",
        f"{'a' * 64}:9092",
        "host\n:9092",
    ],
)
def test_a_server_is_refused(server: str) -> None:
    assert not is_server(server)
    (problem,) = problems_of(consumer_config, bootstrap_servers=(server,))
    assert problem.value == repr(server)
    assert "host:port" in problem.allowed


def test_servers_as_one_text_are_refused() -> None:
    (problem,) = problems_of(consumer_config, bootstrap_servers="a:1,b:2")

    assert problem.allowed == "a tuple of at least one host:port"


def test_a_long_value_is_shortened() -> None:
    (problem,) = problems_of(consumer_config, isolation_level="x" * 10_000)

    assert len(problem.value) < 150
    assert problem.value.endswith("... (10002 characters)")


SASL = {
    "protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_username": "fleet",
    "sasl_password": "hunter2",
}


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"protocol": "SSL"},
        {"protocol": "SSL", "ca_file": CERTIFICATE},
        {"protocol": "SSL", "cert_file": CERTIFICATE, "key_file": KEY},
        SASL,
        SASL | {"ca_file": CERTIFICATE, "cert_file": CERTIFICATE, "key_file": KEY},
        SASL | {"protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"},
    ],
)
def test_security_accepts(arguments: dict[str, Any]) -> None:
    security = Security(**arguments)

    assert security.uses_tls == security.protocol.endswith("SSL")
    assert security.uses_sasl == security.protocol.startswith("SASL")


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        (
            {"protocol": "TLS"},
            ["protocol is 'TLS', but must be one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"],
        ),
        (
            {"protocol": "SSL", "cert_file": CERTIFICATE},
            ["key_file is not set, but must be the key of the certificate in cert_file"],
        ),
        (
            {"protocol": "SSL", "key_file": KEY},
            ["cert_file is not set, but must be the certificate of the key in key_file"],
        ),
        (
            {"ca_file": CERTIFICATE, "cert_file": CERTIFICATE},
            ["left out, because protocol PLAINTEXT uses no certificates"] * 2,
        ),
        (
            {"protocol": "SSL", "ca_file": Path("/no/such.pem"), "cert_file": CERTIFICATES},
            ["No such file or directory", "Is a directory", "key_file is not set"],
        ),
        ({"protocol": "SSL", "ca_file": "ca.pem"}, ["ca_file is 'ca.pem', but must be a pathlib"]),
        ({"protocol": "SSL", "ca_file": Path("\0")}, ["embedded null byte"]),
        (
            {"protocol": "SSL", "ca_file": KEY},
            ["a file of PEM certificates (no certificate or crl found)"],
        ),
        (
            {"protocol": "SSL", "cert_file": CERTIFICATE, "key_file": CERTIFICATES / "another.key"},
            ["belongs to the key in key_file (key values mismatch)"],
        ),
        (
            {
                "protocol": "SSL",
                "cert_file": CERTIFICATE,
                "key_file": CERTIFICATES / "encrypted.key",
            },
            ["the key is encrypted, and only keys without a passphrase are supported"],
        ),
        (
            {"protocol": "SASL_SSL"},
            ["sasl_mechanism is not set", "sasl_username is not set", "sasl_password is not set"],
        ),
        (
            SASL | {"sasl_mechanism": "GSSAPI"},
            ["sasl_mechanism is 'GSSAPI', but must be one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"],
        ),
        (
            SASL | {"sasl_password": "hunter2\n"},
            ["sasl_password is (hidden), but must be text of printable characters"],
        ),
        (
            SASL | {"protocol": "PLAINTEXT"},
            [
                "sasl_mechanism is 'SCRAM-SHA-512', but must be left out",
                "sasl_username is 'fleet', but must be left out",
                "sasl_password is (hidden), but must be left out",
            ],
        ),
    ],
)
def test_security_refuses(arguments: dict[str, Any], sentences: list[str]) -> None:
    problems = problems_of(Security, **arguments)

    assert len(problems) == len(sentences)
    for problem, sentence in zip(problems, sentences, strict=True):
        assert sentence in str(problem)
        assert "hunter2" not in str(problem)


def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "ca.pem"
    monkeypatch.setattr(rules, "open", refuse, raising=False)

    (problem,) = problems_of(Security, protocol="SSL", ca_file=path)
    assert str(problem) == (
        f"ca_file is {str(path)!r}, but must be a file that can be read (Permission denied)"
    )


PASSWORD = "correct-horse-battery"
TEXTS = st.text(alphabet="az09.:-_[]%/ \n\0é٩\ud800", max_size=12)
ANYTHING: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    TEXTS,
    st.binary(),
    st.lists(TEXTS),
    st.tuples(TEXTS, st.integers()),
    st.tuples(TEXTS, TEXTS),
    st.just(Path("/no/such/file")),
    st.just(CERTIFICATE),
    st.just(KEY),
)


def made_or_refused(make: Callable[..., T], **arguments: Any) -> T | ConfigurationError:
    """Return the value, or the one error that may come instead of it."""
    try:
        return make(**arguments)
    except ConfigurationError as error:
        return error


def mixed(likely: dict[str, list[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {name: st.sampled_from(values) | ANYTHING for name, values in likely.items()}
    return st.fixed_dictionaries({}, optional=fields)


@given(
    mixed(
        {
            "protocol": ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
            "ca_file": [None, CERTIFICATE],
            "cert_file": [None, CERTIFICATE],
            "key_file": [None, KEY],
            "sasl_mechanism": [None, "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"],
            "sasl_username": [None, "fleet"],
        }
    ),
    st.sampled_from([PASSWORD, f"{PASSWORD}\0", [PASSWORD], {"password": PASSWORD}]),
)
def test_any_security_is_made_or_refused_and_never_shows_its_password(
    arguments: dict[str, Any], password: Any
) -> None:
    security = made_or_refused(Security, **arguments, sasl_password=password)

    assert PASSWORD not in f"{security} {security!r}"
    if isinstance(security, Security):
        assert PASSWORD not in repr(consumer_config(security=security))
        assert PASSWORD not in repr(producer_config(security=security))


TIMES = [1, 499, 500, 501, 3_000, 20_000, 20_001, 30_000, 60_000, 2**31 - 1]


@given(
    mixed(
        {
            "bootstrap_servers": [SERVERS, ("a:1", "[::1]:2")],
            "group_id": ["fleet"],
            "assignors": [("sticky",), ("range", "roundrobin"), ("cooperative-sticky",)],
            "group_instance_id": [None, "pod-1"],
            "client_id": ["kafka-utils"],
            "client_rack": [None, "a"],
            "session_timeout_ms": TIMES,
            "heartbeat_interval_ms": TIMES,
            "rebalance_timeout_ms": TIMES,
            "request_timeout_ms": TIMES,
            "max_poll_interval_ms": TIMES,
            "revoke_timeout_ms": TIMES,
            "isolation_level": ["read_committed", "read_uncommitted"],
            "fetch_max_wait_ms": TIMES,
            "max_partition_fetch_bytes": [1, 2**20],
            "security": [Security()],
        }
    )
)
def test_any_consumer_config_is_made_or_refused_and_holds_together(
    changes: dict[str, Any],
) -> None:
    config = made_or_refused(consumer_config, **changes)

    if isinstance(config, ConsumerConfig):
        assert config.heartbeat_interval_ms * 3 <= config.session_timeout_ms
        assert config.revoke_timeout_ms < config.rebalance_timeout_ms
        assert config.revoke_timeout_ms < config.max_poll_interval_ms
        assert config.fetch_max_wait_ms < config.request_timeout_ms


@given(
    mixed(
        {
            "bootstrap_servers": [SERVERS],
            "client_id": ["kafka-utils"],
            "request_timeout_ms": TIMES,
            "max_request_bytes": [1, 2**20],
            "compression": [None, "gzip", "snappy", "lz4", "zstd"],
            "linger_ms": [0, *TIMES],
            "security": [Security()],
        }
    )
)
def test_any_producer_config_is_made_or_refused(changes: dict[str, Any]) -> None:
    config = made_or_refused(producer_config, **changes)

    if isinstance(config, ProducerConfig):
        assert config.linger_ms < config.request_timeout_ms
