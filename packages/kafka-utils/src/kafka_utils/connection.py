"""What a Security value means to aiokafka's clients, and why a connection failed, in words."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import TypedDict

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from kafka_utils.certificates import client_context
from kafka_utils.config import Security

_DIAGNOSIS_MS = 5_000


class SecurityArguments(TypedDict, total=False):
    """The keyword arguments about security that every client of aiokafka takes."""

    security_protocol: str
    ssl_context: ssl.SSLContext
    sasl_mechanism: str
    sasl_plain_username: str | None
    sasl_plain_password: str | None


def security_arguments(security: Security) -> SecurityArguments:
    """Return a client's arguments; the certificate files are read anew.

    aiokafka uses ``sasl_plain_username`` and ``sasl_plain_password`` for SCRAM too.
    """
    arguments = SecurityArguments(security_protocol=security.protocol)
    if security.uses_tls:
        arguments["ssl_context"] = client_context(
            security.ca_file, security.cert_file, security.key_file
        )
    if security.uses_sasl and security.sasl_mechanism is not None:
        arguments["sasl_mechanism"] = security.sasl_mechanism
        arguments["sasl_plain_username"] = security.sasl_username
        arguments["sasl_plain_password"] = security.sasl_password
    return arguments


async def reasons_unreachable(
    bootstrap_servers: Sequence[str], client_id: str, security: Security
) -> dict[str, str]:
    """Try each server once, all at the same time, and say what became of it.

    aiokafka's clients only log why they cannot connect; this finds it out for whoever has to put it
    right. It takes a few seconds at most.
    """
    arguments = security_arguments(security)

    async def attempt(server: str) -> str:
        ((host, port, _),) = collect_hosts([server])
        try:
            connection = await create_conn(
                host, port, client_id=client_id, request_timeout_ms=_DIAGNOSIS_MS, **arguments
            )
            # A listener that wants SASL answers anybody's first request, but not the second.
            try:
                await connection.send(MetadataRequest([]))
            finally:
                await connection.close()
        except (OSError, KafkaError) as error:
            return in_words(error, security)
        return "can be connected to by now"

    answers = await asyncio.gather(*map(attempt, bootstrap_servers))
    return dict(zip(bootstrap_servers, answers, strict=True))


def in_words(error: OSError | KafkaError, security: Security) -> str:
    """Say why connecting failed, as the end of a sentence that begins with the server."""
    match error:
        case SaslAuthenticationFailed():
            said = ", ".join(str(part) for part in error.args if part) or "without a reason"
            words = f"refused the user name or password of {security.sasl_username!r} ({said})"
        case UnsupportedSaslMechanismError():
            words = f"does not offer SASL mechanism {security.sasl_mechanism}"
        case ssl.SSLCertVerificationError():
            words = f"has a certificate that is not trusted ({error.verify_message})"
        case ssl.SSLError():
            words = f"failed to agree on TLS ({error})"
        case IllegalSaslStateError():
            return f"does not ask for SASL there; protocol {security.protocol} may be wrong"
        case TimeoutError():
            words = "did not answer in time"
        case KafkaConnectionError():
            words = (
                f"closed the connection; protocol {security.protocol} may not be what it expects, "
                "or it wants a certificate of ours"
            )
        case OSError():
            words = f"cannot be connected to ({error.strerror or error})"
        case _:
            words = f"answered with an error ({error})"
    return words
