"""Brokers that demand TLS, a client's certificate, or a name and a password."""

from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization

from deploy.local.ports import LOOPBACK

# PLAINTEXT is for the brokers among themselves and for a look around.
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SCRAM_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
MECHANISMS = ("PLAIN", *SCRAM_MECHANISMS)
USERNAME = "fleet"
PASSWORD = "throwaway-password"  # noqa: S105 - of brokers that live for one test


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens the listeners: a CA for TLS, a certificate and its key, a name and a password."""

    ca_file: Path
    client_cert_file: Path
    client_key_file: Path
    broker_key_file: Path
    broker_cert_file: Path
    username: str = USERNAME
    password: str = PASSWORD


def issue(directory: Path) -> Credentials:
    """Make a certificate authority and write its certificates as PEM into this directory."""
    directory.mkdir(parents=True, exist_ok=True)
    credentials = Credentials(
        ca_file=directory / "ca.pem",
        client_cert_file=directory / "client.pem",
        client_key_file=directory / "client.key",
        broker_key_file=directory / "broker.key",
        broker_cert_file=directory / "broker.pem",
    )
    authority = trustme.CA()
    authority.cert_pem.write_to_path(credentials.ca_file)
    client = authority.issue_cert("client.invalid", common_name=USERNAME)
    credentials.client_cert_file.write_bytes(_chain(client))
    client.private_key_pem.write_to_path(credentials.client_key_file)
    broker = authority.issue_cert(LOOPBACK, "localhost")
    credentials.broker_key_file.write_bytes(_pkcs8(broker.private_key_pem.bytes()))
    credentials.broker_cert_file.write_bytes(_chain(broker))
    return credentials


def listener_properties(credentials: Credentials) -> dict[str, str]:
    """What a broker is told about its listeners, certificates (PEM: KIP-651) and passwords."""
    properties = {
        "ssl.keystore.type": "PEM",
        # Not as a file: 2.8 reads a key from a file only if it is encrypted.
        "ssl.keystore.key": credentials.broker_key_file.read_text(),
        "ssl.keystore.certificate.chain": credentials.broker_cert_file.read_text(),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(credentials.ca_file),
        "listener.name.ssl.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": ",".join(MECHANISMS),
    }
    for listener in ("sasl_plaintext", "sasl_ssl"):
        properties[f"listener.name.{listener}.plain.sasl.jaas.config"] = (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            f'user_{credentials.username}="{credentials.password}";'
        )
        for mechanism in SCRAM_MECHANISMS:
            properties[f"listener.name.{listener}.{mechanism.lower()}.sasl.jaas.config"] = (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            )
    return properties


def format_options(credentials: Credentials) -> list[str]:
    """The options with which StorageTool stores the SCRAM user (KIP-900)."""
    user = f"name={credentials.username},password={credentials.password}"
    return [
        option
        for mechanism in SCRAM_MECHANISMS
        for option in ("--add-scram", f"{mechanism}=[{user}]")
    ]


def config_command_options(credentials: Credentials) -> list[str]:
    """The options with which ConfigCommand stores the SCRAM user in a running cluster (KIP-554)."""
    users = ",".join(f"{name}=[password={credentials.password}]" for name in SCRAM_MECHANISMS)
    user = ("--entity-type", "users", "--entity-name", credentials.username)
    return ["--alter", "--add-config", users, *user]


def _chain(certificate: trustme.LeafCert) -> bytes:
    return b"".join(blob.bytes() for blob in certificate.cert_chain_pems)


def _pkcs8(key: bytes) -> bytes:
    # The only form of a private key that Kafka reads.
    return serialization.load_pem_private_key(key, password=None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
