"""Signs what is sent, as Standard Webhooks 1.0.0 defines it."""

import hmac
from base64 import b64decode
from binascii import b2a_base64
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from webhook_worker.ed25519 import PREFIX as PRIVATE_PREFIX
from webhook_worker.ed25519 import PrivateKey
from webhook_worker.errors import BadSecretError

if TYPE_CHECKING:
    from hashlib import _Hash

PREFIX = "whsec_"
MIN_KEY_BYTES = 24
MAX_KEY_BYTES = 64
"""A block of SHA-256. HMAC hashes longer keys first, which `_prepared` does not."""
MOST_PREPARED = 4096
"""Keys whose part of the digest is remembered, 1 KB each; doing it anew takes microseconds."""


class Secret:
    """A secret of scheme v1 (HMAC-SHA256) that never shows its key, not even in ``repr``."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def parse(cls, text: str) -> "Secret":
        """Read ``whsec_`` and the base64 of 24 to 64 bytes. Raises BadSecretError."""
        if not text.startswith(PREFIX):
            raise BadSecretError(f"must begin with {PREFIX} (or {PRIVATE_PREFIX})")
        try:
            key = b64decode(text.removeprefix(PREFIX), validate=True)
        except ValueError:
            raise BadSecretError(f"must be {PREFIX} and padded base64 (with + and /)") from None
        if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
            raise BadSecretError(
                f"holds {len(key)} bytes, {MIN_KEY_BYTES} to {MAX_KEY_BYTES} are allowed"
            )
        return cls(key)

    def signature(self, content: bytes) -> str:
        """The entry for the signature header: the scheme's version, a comma, base64."""
        return "v1," + b2a_base64(_hmac(self._key, content), newline=False).decode()

    def __repr__(self) -> str:
        return f"Secret({PREFIX}***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._key, other._key)

    def __hash__(self) -> int:
        return hash(self._key)


def _hmac(key: bytes, content: bytes) -> bytes:
    """As ``hmac.digest`` with SHA-256, at half its price."""
    inner, outer = _prepared(key)
    inner, outer = inner.copy(), outer.copy()
    inner.update(content)
    outer.update(inner.digest())
    return outer.digest()


@lru_cache(MOST_PREPARED)
def _prepared(key: bytes) -> tuple["_Hash", "_Hash"]:
    """What HMAC (RFC 2104) hashes before the content, and before the digest of that."""
    block = key.ljust(MAX_KEY_BYTES, b"\0")
    return sha256(block.translate(_INNER)), sha256(block.translate(_OUTER))


_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


Key = Secret | PrivateKey
"""What signs."""


def parse_key(text: str) -> Key:
    """Read a secret, ``whsec_...``, or a private key, ``whsk_...``. Raises BadSecretError."""
    return PrivateKey.parse(text) if text.startswith(PRIVATE_PREFIX) else Secret.parse(text)


def sign(secrets: Sequence[Key], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of ``webhook-signature``: one entry a secret, in their order, parted by spaces.

    ``timestamp`` is the attempt's, in unix seconds. The receiver accepts any entry that it can
    verify, so while a secret is being replaced both sign. Raises ValueError without any secret:
    nothing leaves unsigned.
    """
    if not secrets:
        raise ValueError("there is no secret to sign with")
    content = f"{message_id}.{timestamp}.".encode() + body
    if len(secrets) == 1:
        return secrets[0].signature(content)
    return " ".join([secret.signature(content) for secret in secrets])
