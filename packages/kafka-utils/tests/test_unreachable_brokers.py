"""Brokers that cannot be talked to: the reason is said for each, and nothing is left open."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnknownError,
    UnsupportedSaslMechanismError,
)

from kafka_utils import Admin, ConfigurationError, KafkaUtilsError, Security, UnreachableError
from kafka_utils.connection import in_words

SASL = Security(
    protocol="SASL_PLAINTEXT",
    sasl_mechanism="PLAIN",
    sasl_username="fleet",
    sasl_password="hunter2",
)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def hanging_up() -> AsyncIterator[int]:
    """A server that ends every connection at once, as a broker does that expects TLS."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_the_reason_is_said_for_each_server(closed_port: int, hanging_up: int) -> None:
    refusing, closing = f"127.0.0.1:{closed_port}", f"127.0.0.1:{hanging_up}"

    with pytest.raises(UnreachableError) as caught:
        async with Admin((refusing, closing)):
            pytest.fail("there is no broker")

    reasons = caught.value.reasons
    assert "cannot be connected to" in reasons[refusing]
    assert "closed the connection; protocol PLAINTEXT may not be what" in reasons[closing]
    assert str(caught.value).startswith(f"no broker can be reached: {refusing} cannot")


async def test_an_unreachable_cluster_is_caught_as_aiokafkas_error_too(closed_port: int) -> None:
    with pytest.raises(KafkaConnectionError) as caught:
        await Admin((f"127.0.0.1:{closed_port}",)).__aenter__()

    assert isinstance(caught.value, KafkaUtilsError)
    assert caught.value.retriable


def test_an_admin_checks_its_arguments() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Admin(("broker",), "a b", 0)

    assert [problem.field for problem in caught.value.problems] == [
        "bootstrap_servers",
        "client_id",
        "request_timeout_ms",
    ]


def certificate_error() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            SaslAuthenticationFailed("Authentication failed: Invalid username or password"),
            "refused the user name or password of 'fleet' "
            "(Authentication failed: Invalid username or password)",
        ),
        (
            SaslAuthenticationFailed(None),
            "refused the user name or password of 'fleet' (without a reason)",
        ),
        (UnsupportedSaslMechanismError(), "does not offer SASL mechanism PLAIN"),
        (
            certificate_error(),
            "has a certificate that is not trusted (self-signed certificate)",
        ),
        (ssl.SSLError(1, "wrong version number"), "failed to agree on TLS"),
        (TimeoutError(), "did not answer in time"),
        (ConnectionRefusedError(111, "Connection refused"), "connected to (Connection refused)"),
        (KafkaConnectionError("closed"), "closed the connection; protocol SASL_PLAINTEXT may not"),
        (UnknownError(), "answered with an error"),
    ],
)
def test_a_failure_is_said_in_words(error: OSError | KafkaError, words: str) -> None:
    said = in_words(error, SASL)

    assert words in said
    assert "hunter2" not in said
