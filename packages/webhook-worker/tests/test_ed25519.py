"""Signatures that a receiver verifies with a public key; the private one stays secret."""

import subprocess
import sys
from base64 import b64decode, b64encode
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from webhook_worker.ed25519 import PrivateKey
from webhook_worker.errors import BadSecretError
from webhook_worker.signing import Secret, parse_key, sign

SVIX_KEY = (
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
)
SVIX_PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
SVIX_SIGNATURE = (
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
)
HMAC_KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'
seeds = st.binary(min_size=32, max_size=32)


def text_of(seed: bytes, public: bytes | None = None) -> str:
    own = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return "whsk_" + b64encode(seed + (own if public is None else public)).decode()


def test_the_published_vector() -> None:
    key = parse_key(SVIX_KEY)
    assert sign([key], MESSAGE_ID, TIMESTAMP, BODY) == SVIX_SIGNATURE
    assert isinstance(key, PrivateKey)
    assert key.public == SVIX_PUBLIC


@given(seeds, st.binary(max_size=200))
def test_the_public_key_verifies_what_was_signed(seed: bytes, body: bytes) -> None:
    key = PrivateKey.parse(text_of(seed))
    scheme, signature = sign([key], MESSAGE_ID, TIMESTAMP, body).split(",")
    public = Ed25519PublicKey.from_public_bytes(b64decode(key.public.removeprefix("whpk_")))
    content = f"{MESSAGE_ID}.{TIMESTAMP}.".encode() + body
    public.verify(b64decode(signature), content)
    assert scheme == "v1a"


def test_keys_of_both_kinds_sign_beside_each_other() -> None:
    now = int(datetime.now(UTC).timestamp())
    both = sign([parse_key(SVIX_KEY), parse_key(HMAC_KEY)], MESSAGE_ID, now, BODY)
    assert [entry.split(",")[0] for entry in both.split(" ")] == ["v1a", "v1"]
    headers = {
        "webhook-id": MESSAGE_ID,
        "webhook-timestamp": str(now),
        "webhook-signature": both,
    }
    assert Webhook(HMAC_KEY).verify(BODY, headers) == {"test": 2432232314}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("whsk_", "holds 0 bytes"),
        ("whsk_%%%", "padded base64"),
        ("whsk_" + b64encode(b"x" * 32).decode(), "holds 32 bytes: after whsk_ come 32"),
        (text_of(b"x" * 32, b"y" * 32), "not the public key of its first"),
        (SVIX_PUBLIC, "must begin with whsec_ .or whsk_."),
    ],
)
def test_what_is_no_private_key_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(BadSecretError, match=sentence) as caught:
        parse_key(text)
    assert text[8:] == "" or text[8:] not in str(caught.value)


def test_a_key_never_shows_itself() -> None:
    key = PrivateKey.parse(SVIX_KEY)
    assert repr(key) == str(key) == "PrivateKey(whsk_***)"
    assert SVIX_KEY[5:20] not in repr([key])


def test_keys_are_compared_by_what_they_are() -> None:
    key = PrivateKey.parse(SVIX_KEY)
    assert key == PrivateKey.parse(SVIX_KEY)
    assert hash(key) == hash(PrivateKey.parse(SVIX_KEY))
    assert key != PrivateKey.parse(text_of(b"x" * 32))
    assert key != Secret.parse(HMAC_KEY)


def test_without_the_extra_it_says_what_is_to_be_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    with pytest.raises(BadSecretError, match=r"webhook-worker\[ed25519\] is not installed"):
        PrivateKey.parse(SVIX_KEY)


def test_nothing_of_it_is_loaded_where_no_endpoint_has_such_a_key() -> None:
    program = (
        "import sys; from webhook_worker.signing import parse_key; import webhook_worker.cli; "
        f"parse_key({HMAC_KEY!r}); print('cryptography' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
