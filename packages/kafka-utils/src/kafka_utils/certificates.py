"""Turns certificate files into an SSL context, and says in words what is wrong with the files."""

import ssl
from os import PathLike

from kafka_utils.errors import ConfigurationError, Problem
from kafka_utils.rules import shown


def client_context(
    ca_file: PathLike[str] | None,
    cert_file: PathLike[str] | None,
    key_file: PathLike[str] | None,
) -> ssl.SSLContext:
    """Return a context that verifies a broker's certificate, and shows ours if we have one.

    Without a CA file the system's own authorities are trusted. Raises ConfigurationError if a file
    does not hold what it should.
    """
    problems = []
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        problems.append(
            Problem("ca_file", shown(ca_file), f"a file of PEM certificates ({_reason(error)})")
        )
        context = ssl.create_default_context()
    if cert_file is not None:
        try:
            context.load_cert_chain(cert_file, key_file, password=_refuse_encrypted_key)
        except (OSError, _EncryptedKeyError) as error:
            problems.append(
                Problem(
                    "cert_file",
                    shown(cert_file),
                    f"a PEM certificate that belongs to the key in key_file ({_reason(error)})",
                )
            )
    if problems:
        raise ConfigurationError(problems)
    return context


class _EncryptedKeyError(Exception):
    """OpenSSL wants a passphrase; without an answer of ours it would ask at the terminal."""


def _refuse_encrypted_key() -> str:
    raise _EncryptedKeyError(
        "the key is encrypted, and only keys without a passphrase are supported"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
