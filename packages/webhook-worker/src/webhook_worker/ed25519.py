"""Signs with a private key, so that a receiver needs no secret: scheme v1a of Standard Webhooks.

The only module that needs ``cryptography``, which is loaded with the first such key.
"""

import hmac
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from webhook_worker.errors import BadSecretError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
SEED_BYTES = PUBLIC_BYTES = 32


class PrivateKey:
    """An ed25519 key (RFC 8032) that never shows itself, neither in ``repr`` nor in ``str``."""

    __slots__ = ("_key", "_seed", "public")

    def __init__(self, seed: bytes, key: "Ed25519PrivateKey", public: bytes) -> None:
        self._seed = seed
        self._key = key
        self.public = PUBLIC_PREFIX + b64encode(public).decode()
        """What a receiver verifies with."""

    @classmethod
    def parse(cls, text: str) -> "PrivateKey":
        """Read ``whsk_`` and the base64 of the key, then its public key. Raises BadSecretError."""
        try:
            both = b64decode(text.removeprefix(PREFIX), validate=True)
        except ValueError:
            raise BadSecretError(f"must be {PREFIX} and padded base64 (with + and /)") from None
        if len(both) != SEED_BYTES + PUBLIC_BYTES:
            raise BadSecretError(
                f"holds {len(both)} bytes: after {PREFIX} come {SEED_BYTES} of the private key "
                f"and {PUBLIC_BYTES} of its public key"
            )
        try:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        except ImportError:
            raise BadSecretError(
                f"is an ed25519 key ({PREFIX}), for which webhook-worker[ed25519] is not installed"
            ) from None
        seed, public = both[:SEED_BYTES], both[SEED_BYTES:]
        key = Ed25519PrivateKey.from_private_bytes(seed)
        if key.public_key().public_bytes_raw() != public:
            raise BadSecretError("its second half is not the public key of its first")
        return cls(seed, key, public)

    def signature(self, content: bytes) -> str:
        """The entry for the signature header: the scheme's version, a comma, base64."""
        return "v1a," + b64encode(self._key.sign(content)).decode()

    def __repr__(self) -> str:
        return f"PrivateKey({PREFIX}***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateKey) and hmac.compare_digest(self._seed, other._seed)

    def __hash__(self) -> int:
        return hash(self._seed)
