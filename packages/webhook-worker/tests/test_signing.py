"""Signatures, against published vectors and an independent library; secrets stay secret."""

from base64 import b64encode
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from webhook_worker.errors import BadSecretError
from webhook_worker.signing import Secret, sign

KEY1 = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY2 = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330


@pytest.mark.parametrize(
    ("body", "key", "signature"),
    [
        ('{"test": 2432232314}', KEY1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ('{"test": 2432232314}', KEY2, "v1,78nXHjpFP0tVJQW5D0SBwmVyyW87BV/rL6MgfM/Bw44="),
        ('{"name":"Zoë \u2013 東京"}', KEY1, "v1,lnsFZ+PMnrdYN1HY9eslVW8toOzkry73lREFbMsy2LI="),
        ('{"name":"Zoë \u2013 東京"}', KEY2, "v1,eCXQOO3B0GioGo0YrgHPHRiphI4ayZ+Z5rR0Tx32bpI="),
        ("", KEY1, "v1,v48jdbgvh29KJz2Qc+ghw8G6vG3nAKnujWBg8oM/62A="),
        ("", KEY2, "v1,KuvzREA2rWvVgLEukFWq/dLjSXFGHk2czOb6wc5I51o="),
    ],
)
def test_known_vectors(body: str, key: str, signature: str) -> None:
    assert sign([Secret.parse(key)], MESSAGE_ID, TIMESTAMP, body.encode()) == signature


def test_each_secret_gives_an_entry_in_order() -> None:
    first, second = Secret.parse(KEY1), Secret.parse(KEY2)
    both = sign([first, second], MESSAGE_ID, TIMESTAMP, b"{}")
    assert both.split(" ") == [
        sign([first], MESSAGE_ID, TIMESTAMP, b"{}"),
        sign([second], MESSAGE_ID, TIMESTAMP, b"{}"),
    ]


@given(
    key=st.binary(min_size=24, max_size=64),
    message_id=st.text("abcXYZ019_-", min_size=1, max_size=256),
    timestamp=st.integers(0, 4_000_000_000),
    body=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_an_independent_library_signs_the_same(
    key: bytes, message_id: str, timestamp: int, body: str
) -> None:
    text = "whsec_" + b64encode(key).decode()
    theirs = Webhook(text).sign(message_id, datetime.fromtimestamp(timestamp, UTC), body)
    assert sign([Secret.parse(text)], message_id, timestamp, body.encode()) == theirs


def test_the_independent_library_verifies_either_of_two_secrets() -> None:
    now = int(datetime.now(UTC).timestamp())
    body = '{"type":"t","data":1}'
    secrets = [Secret.parse(KEY1), Secret.parse(KEY2)]
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(now),
        "webhook-signature": sign(secrets, "evt_1", now, body.encode()),
    }
    for key in (KEY1, KEY2):
        assert Webhook(key).verify(body, headers) == {"type": "t", "data": 1}


def test_nothing_leaves_unsigned() -> None:
    with pytest.raises(ValueError, match="no secret"):
        sign([], MESSAGE_ID, TIMESTAMP, b"")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "begin with whsec_"),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "begin with whsec_"),
        ("WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "begin with whsec_"),
        ("whsec_", "holds 0 bytes"),
        ("whsec_c2hvcnQ=", "holds 5 bytes, 24 to 64"),
        ("whsec_" + b64encode(b"x" * 65).decode(), "holds 65 bytes"),
        ("whsec_" + b64encode(b"x" * 32).decode().rstrip("="), "padded base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-_", "padded base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8I LPZIo2LaLaSw", "padded base64"),
        ("whsec_é" + "A" * 31, "padded base64"),
        ("whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc=", "begin with whsec_"),
    ],
)
def test_what_is_no_secret_is_refused_without_being_shown(text: str, sentence: str) -> None:
    with pytest.raises(BadSecretError, match=sentence) as caught:
        Secret.parse(text)
    hidden = text.removeprefix("whsec_")
    assert not hidden or hidden not in str(caught.value)


@given(st.binary(min_size=24, max_size=64))
def test_no_text_of_a_secret_shows_its_key(key: bytes) -> None:
    secret = Secret(key)
    assert repr(secret) == str(secret) == f"{secret}" == "Secret(whsec_***)"
    assert repr([secret]) == "[Secret(whsec_***)]"


def test_equal_keys_are_equal_secrets() -> None:
    assert Secret.parse(KEY1) == Secret.parse(KEY1)
    assert Secret.parse(KEY1) != Secret.parse(KEY2)
    assert len({Secret.parse(KEY1), Secret.parse(KEY1)}) == 1
