"""The bytes of subscriptions and assignments, as Kafka's schemas and other clients have them."""

import pytest
from aiokafka import TopicPartition
from hypothesis import example, given
from hypothesis import strategies as st

from kafka_utils.assignors.consumer_protocol import (
    ANOTHER_ROUND,
    HIGHEST_VERSION,
    RELIEF,
    Assignment,
    MalformedMetadata,
    Subscription,
    decode_assignment,
    decode_subscription,
    encode_assignment,
    encode_generation,
    encode_subscription,
)

OWNED = frozenset(
    {TopicPartition("ab", 0), TopicPartition("ab", 258), TopicPartition("cde", 1)},
)

TOPICS_AB_CDE = "0000 0002  0002 6162  0003 636465"
OWNED_HEX = "00000002  0002 6162 00000002 00000000 00000102  0003 636465 00000001 00000001"
LIBRDKAFKA_USER_DATA = bytes.fromhex("00000001 0002 6162 00000001 00000005 00000009")

SUBSCRIPTIONS = {
    "version 0": (
        Subscription(("ab", "cde"), user_data=b"\x07\x08\x09", version=0),
        f"0000 {TOPICS_AB_CDE} 00000003 070809",
    ),
    "version 0 without user data": (
        Subscription(("ab", "cde"), version=0),
        f"0000 {TOPICS_AB_CDE} ffffffff",
    ),
    "version 1": (
        Subscription(("ab", "cde"), OWNED, user_data=b"", version=1),
        f"0001 {TOPICS_AB_CDE} 00000000 {OWNED_HEX}",
    ),
    "version 2": (
        Subscription(("ab", "cde"), OWNED, generation=17, version=2),
        f"0002 {TOPICS_AB_CDE} ffffffff {OWNED_HEX} 00000011",
    ),
    "version 3": (
        Subscription(("ab", "cde"), OWNED, 17, "az-1", encode_generation(17), version=3),
        f"0003 {TOPICS_AB_CDE} 00000004 00000011 {OWNED_HEX} 00000011 0004 617a2d31",
    ),
    "version 3 of a new member": (
        Subscription(("ab", "cde"), user_data=encode_generation(-1)),
        f"0003 {TOPICS_AB_CDE} 00000004 ffffffff 00000000 ffffffff ffff",
    ),
    "no topics": (Subscription(()), "0003 00000000 ffffffff 00000000 ffffffff ffff"),
}

names = st.text(max_size=8)
partitions = st.frozensets(
    st.builds(TopicPartition, names, st.integers(0, 2**31 - 1)),
    max_size=8,
)
subscriptions = st.builds(
    Subscription,
    topics=st.frozensets(names, max_size=5).map(lambda topics: tuple(sorted(topics))),
    owned=partitions,
    generation=st.integers(0, 2**31 - 1),
    rack=st.none() | names,
    user_data=st.none() | st.binary(max_size=12),
)


@pytest.mark.parametrize(("subscription", "form"), SUBSCRIPTIONS.values(), ids=SUBSCRIPTIONS)
def test_a_subscription_has_the_bytes_of_its_version(subscription: Subscription, form: str) -> None:
    assert encode_subscription(subscription).hex() == bytes.fromhex(form).hex()
    assert decode_subscription(bytes.fromhex(form)) == subscription


def test_topics_are_written_in_order_and_once() -> None:
    form = SUBSCRIPTIONS["version 0 without user data"][1]

    assert encode_subscription(Subscription(("cde", "ab", "cde"), version=0)) == bytes.fromhex(form)


@pytest.mark.parametrize("version", [-1, HIGHEST_VERSION + 1])
def test_a_version_that_is_not_known_cannot_be_written(version: int) -> None:
    with pytest.raises(ValueError, match=f"version is {version}, but must be from 0 to 3"):
        encode_subscription(Subscription((), version=version))


def test_a_higher_version_is_read_as_the_highest_known_one() -> None:
    subscription, form = SUBSCRIPTIONS["version 3"]
    later = bytes.fromhex("0009" + form[4:] + "cafe")

    assert decode_subscription(later) == subscription


@pytest.mark.parametrize("form", [form for _, form in SUBSCRIPTIONS.values()], ids=SUBSCRIPTIONS)
def test_bytes_behind_the_last_field_are_ignored(form: str) -> None:
    data = bytes.fromhex(form)

    assert decode_subscription(data + b"more") == decode_subscription(data)


@given(subscriptions, st.integers(0, HIGHEST_VERSION), st.integers(0, HIGHEST_VERSION))
def test_any_version_can_be_read_as_any_lower_one(
    subscription: Subscription, written: int, read: int
) -> None:
    data = encode_subscription(_in_version(subscription, written))
    as_lower = min(written, read).to_bytes(2, "big") + data[2:]

    assert decode_subscription(as_lower) == _in_version(subscription, min(written, read))


def _in_version(subscription: Subscription, version: int) -> Subscription:
    """The subscription without the fields that the version lacks, as it will be read."""
    kept = Subscription(
        topics=subscription.topics,
        owned=subscription.owned if version >= 1 else frozenset(),
        generation=subscription.generation if version >= 2 else -1,
        rack=subscription.rack if version >= 3 else None,
        user_data=subscription.user_data,
        version=version,
    )
    if version >= 2:
        return kept
    told = decode_subscription(encode_subscription(kept)).generation
    return Subscription(kept.topics, kept.owned, told, kept.rack, kept.user_data, version)


@pytest.mark.parametrize(
    ("user_data", "generation"),
    [
        pytest.param(None, -1, id="none"),
        pytest.param(b"", -1, id="librdkafka's before its first assignment"),
        pytest.param(bytes.fromhex("00000009"), 9, id="Java's"),
        pytest.param(bytes.fromhex("ffffffff"), -1, id="Java's before its first assignment"),
        pytest.param(bytes.fromhex("80000000"), -1, id="a negative one"),
        pytest.param(LIBRDKAFKA_USER_DATA, 9, id="librdkafka's"),
        pytest.param(bytes.fromhex("00000000 00000009"), 9, id="librdkafka's, of nothing"),
        pytest.param(LIBRDKAFKA_USER_DATA[:-4], -1, id="the eager sticky's first form"),
        pytest.param(LIBRDKAFKA_USER_DATA + b"\0", -1, id="somebody else's"),
        pytest.param(b"\xff\xff\xff\xf0 garbage", -1, id="garbage"),
    ],
)
@pytest.mark.parametrize("version", range(HIGHEST_VERSION + 1))
def test_user_data_tells_the_generation_where_no_field_does(
    user_data: bytes | None, generation: int, version: int
) -> None:
    data = encode_subscription(Subscription(("ab",), user_data=user_data, version=version))

    assert decode_subscription(data).generation == generation


@pytest.mark.parametrize("version", [2, 3])
def test_the_field_is_believed_before_the_user_data(version: int) -> None:
    data = encode_subscription(
        Subscription(("ab",), generation=4, user_data=LIBRDKAFKA_USER_DATA, version=version)
    )

    assert decode_subscription(data).generation == 4


@given(st.binary(max_size=40), st.integers(0, HIGHEST_VERSION))
@example(b"\x7f\xff\xff\xff\x00\x00\x00\x01", 3)
def test_no_user_data_makes_a_subscription_unreadable(user_data: bytes, version: int) -> None:
    data = encode_subscription(Subscription(("ab",), user_data=user_data, version=version))

    assert decode_subscription(data).user_data == user_data


@pytest.mark.parametrize("form", [form for _, form in SUBSCRIPTIONS.values()], ids=SUBSCRIPTIONS)
def test_a_subscription_that_ends_too_early_is_malformed(form: str) -> None:
    data = bytes.fromhex(form)

    for length in range(len(data)):
        with pytest.raises(MalformedMetadata):
            decode_subscription(data[:length])


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ("ffff 00000000 ffffffff", "its version is -1"),
        ("0000 fffffffe ffffffff", "a length is -2"),
        ("0000 00000001 ffff ffffffff", "a name is null"),
        ("0000 00000001 0001 ff ffffffff", "a text is not UTF-8"),
        ("0000 7fffffff 0001 61", "bytes end before its fields do"),
        ("0001 00000000 ffffffff 00000001 0001 61 7fffffff", "bytes end before its fields do"),
    ],
)
def test_garbage_is_told_from_a_subscription(form: str, sentence: str) -> None:
    with pytest.raises(MalformedMetadata, match=sentence):
        decode_subscription(bytes.fromhex(form))


def test_a_null_array_is_an_empty_one() -> None:
    assert decode_subscription(bytes.fromhex("0001 ffffffff ffffffff ffffffff")) == Subscription(
        (), version=1
    )


@given(st.binary(max_size=60))
def test_whatever_is_read_is_a_subscription_or_malformed(data: bytes) -> None:
    for decode in (decode_subscription, decode_assignment):
        try:
            value = decode(data)
        except MalformedMetadata:
            continue
        assert isinstance(value, Subscription | Assignment)


def test_an_assignment_is_written_in_the_version_that_all_can_read() -> None:
    assignment = Assignment(OWNED, b"\x05")

    data = encode_assignment(assignment)

    assert data.hex() == bytes.fromhex(f"0000 {OWNED_HEX} 00000001 05").hex()
    assert decode_assignment(data) == assignment


@pytest.mark.parametrize("version", ["0000", "0001", "0002", "0003", "0007"])
def test_an_assignment_of_any_version_can_be_read(version: str) -> None:
    data = bytes.fromhex(f"{version} {OWNED_HEX} ffffffff") + b"more"

    assert decode_assignment(data) == Assignment(OWNED)


def test_no_bytes_are_an_empty_assignment() -> None:
    assert decode_assignment(b"") == Assignment(frozenset())


def test_an_assignment_that_ends_too_early_is_malformed() -> None:
    data = encode_assignment(Assignment(OWNED, b"\x05"))

    for length in range(1, len(data)):
        with pytest.raises(MalformedMetadata):
            decode_assignment(data[:length])


@given(partitions, st.none() | st.binary(max_size=12))
def test_an_assignment_comes_back_as_it_was(
    assigned: frozenset[TopicPartition], user_data: bytes | None
) -> None:
    assignment = Assignment(assigned, user_data)

    assert decode_assignment(encode_assignment(assignment)) == assignment


@pytest.mark.parametrize(
    ("user_data", "told"),
    [
        (None, False),
        (b"", False),
        (RELIEF, False),
        (encode_generation(3), False),
        (LIBRDKAFKA_USER_DATA, False),
        (encode_generation(3, relief=True), True),
        (encode_generation(3, relief=True) + b";of a later version", True),
    ],
)
def test_a_member_asks_for_relief_only_in_our_own_words(
    user_data: bytes | None, told: bool
) -> None:
    data = encode_subscription(Subscription(("a",), generation=3, user_data=user_data))

    assert decode_subscription(data).relief is told


@pytest.mark.parametrize(
    ("user_data", "told"),
    [
        (None, False),
        (b"", False),
        (encode_generation(3), False),
        (ANOTHER_ROUND[:-1], False),
        (b"kafka-utils/2 another-round", False),
        (ANOTHER_ROUND, True),
        (ANOTHER_ROUND + b";of a later version", True),
    ],
)
def test_an_assignment_tells_of_another_round_only_in_our_leaders_words(
    user_data: bytes | None, told: bool
) -> None:
    data = encode_assignment(Assignment(frozenset(), user_data))

    assert decode_assignment(data).another_round is told
