"""The bytes that members exchange: ConsumerProtocolSubscription and ConsumerProtocolAssignment.

Members send them inside JoinGroup and SyncGroup, where brokers do not look into them. Versions 0 to
3 are known: 1 added what a member owns (KIP-429), 2 its generation (KIP-792), 3 its rack (KIP-881).
Every version begins with the fields of the one before, so that a reader of any version can read any
other: what it does not know stands at the end.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from aiokafka import TopicPartition

from kafka_utils.errors import KafkaUtilsError

HIGHEST_VERSION: Final = 3
"""The highest version of both forms that is known here."""

NO_GENERATION: Final = -1
"""The generation of a member that tells none: lower than any real one."""

ANOTHER_ROUND: Final = b"kafka-utils/1 another-round"
"""The ``user_data`` of an assignment by which our leader tells that partitions are withheld.

A member that reads it need not wait for a heartbeat to learn of the next rebalance. To others it
means nothing: Java, librdkafka and franz-go do not look into an assignment's ``user_data`` under
``cooperative-sticky``. A later version may append to it.
"""

RELIEF: Final = b"kafka-utils/1 relief"
"""What stands behind the generation in the ``user_data`` of a member that means to leave.

A leader of ours gives it nothing and withholds what it claims. To others it means nothing: Java
reads the generation before it and no further. (To want no topics would say it to every leader, but
librdkafka then reads none of the subscription, the claims neither, and gives them away at once.)
"""

_INT32: Final = struct.Struct(">i")
_OWNED_SINCE: Final = 1
_GENERATION_SINCE: Final = 2
_RACK_SINCE: Final = 3
# All fields of an assignment are in version 0, so it is what every member can read.
_ASSIGNMENT_VERSION: Final = 0


class MalformedMetadata(KafkaUtilsError):  # noqa: N818 - a state of bytes, not of this program
    """Bytes of another member are not what Kafka's consumer protocol says."""


class Subscription(NamedTuple):
    """What a member tells the leader when it joins."""

    topics: tuple[str, ...]
    owned: frozenset[TopicPartition] = frozenset()
    """What the member holds while it joins; nothing with an eager assignor."""
    generation: int = NO_GENERATION
    """In which generation the member owned that, or -1 if it does not tell."""
    rack: str | None = None
    user_data: bytes | None = None
    """The assignor's own bytes, of a form that the consumer protocol leaves open."""
    version: int = HIGHEST_VERSION
    """The version it was read from, or is to be written in."""

    @property
    def relief(self) -> bool:
        """Whether the member means to leave, and asks for a plan without it; see ``RELIEF``."""
        return self.user_data is not None and self.user_data[_INT32.size :].startswith(RELIEF)


class Assignment(NamedTuple):
    """What the leader tells a member."""

    partitions: frozenset[TopicPartition]
    user_data: bytes | None = None

    @property
    def another_round(self) -> bool:
        """Whether the leader says that a further rebalance follows; see ``ANOTHER_ROUND``."""
        return self.user_data is not None and self.user_data.startswith(ANOTHER_ROUND)


def encode_subscription(subscription: Subscription) -> bytes:
    """Return the subscription in the form of its ``version``, without what that has no field for.

    Topics and partitions are sorted: brokers answer a member that rejoins with equal bytes without
    a rebalance (KAFKA-12898). Raises ValueError for an unknown version.
    """
    version = subscription.version
    if not 0 <= version <= HIGHEST_VERSION:
        raise ValueError(f"version is {version}, but must be from 0 to {HIGHEST_VERSION}")
    topics = sorted(set(subscription.topics))
    fields = [_int16(version), _int32(len(topics)), *map(_text, topics)]
    fields.append(_bytes(subscription.user_data))
    if version >= _OWNED_SINCE:
        fields.append(_partitions(subscription.owned))
    if version >= _GENERATION_SINCE:
        fields.append(_int32(subscription.generation))
    if version >= _RACK_SINCE:
        fields.append(_int16(-1) if subscription.rack is None else _text(subscription.rack))
    return b"".join(fields)


def decode_subscription(data: bytes) -> Subscription:
    """Return the subscription that a member has sent, in whatever version.

    Raises MalformedMetadata if the bytes are not a subscription. Broken ``user_data`` is none of
    its reasons: that only leaves the generation untold.
    """
    read = _Reader(data)
    version = read.version()
    topics = tuple(read.text() for _ in range(read.count()))
    user_data = read.nullable_bytes()
    owned = read.partitions() if version >= _OWNED_SINCE else frozenset()
    generation = read.int32() if version >= _GENERATION_SINCE else NO_GENERATION
    rack = read.nullable_text() if version >= _RACK_SINCE else None
    if generation < 0:
        generation = _generation_of(user_data or b"")
    return Subscription(topics, owned, generation, rack, user_data, version)


def encode_assignment(assignment: Assignment) -> bytes:
    """Return the assignment in its lowest version, which every member reads; it lacks nothing."""
    return b"".join(
        (
            _int16(_ASSIGNMENT_VERSION),
            _partitions(assignment.partitions),
            _bytes(assignment.user_data),
        )
    )


def decode_assignment(data: bytes) -> Assignment:
    """Return the assignment that a leader has sent, in whatever version.

    No bytes at all are an empty assignment: brokers send them to a member that the leader did not
    mention. Raises MalformedMetadata if the bytes are not an assignment.
    """
    if not data:
        return Assignment(frozenset())
    read = _Reader(data)
    read.version()
    return Assignment(read.partitions(), read.nullable_bytes())


def encode_generation(generation: int, *, relief: bool = False) -> bytes:
    """Return a generation as the ``user_data`` by which Java's ``cooperative-sticky`` tells it."""
    return _int32(generation) + (RELIEF if relief else b"")


def _generation_of(user_data: bytes) -> int:
    """Return the generation that ``user_data`` tells, -1 if it does not.

    Java and sarama write it alone, as an int32. librdkafka and franz-go write the form of the eager
    ``sticky`` (KIP-341), where it stands behind the partitions that were owned.
    """
    read = _Reader(user_data)
    try:
        if len(user_data) != _INT32.size:
            read.partitions()
        generation = read.int32()
    except MalformedMetadata:
        return NO_GENERATION
    return max(generation, NO_GENERATION) if read.at_end() else NO_GENERATION


class _Reader:
    """Takes one field after another; raises MalformedMetadata where there is none."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def at_end(self) -> bool:
        return self._position == len(self._data)

    def version(self) -> int:
        """A version as it can be read: of a higher one, what the highest known one has."""
        version = self._int16()
        if version < 0:
            raise MalformedMetadata(f"its version is {version}")
        return min(version, HIGHEST_VERSION)

    def count(self) -> int:
        """The length of an array. A null one is taken for an empty one, as senders mean it."""
        return max(self._length(self.int32()), 0)

    def text(self) -> str:
        text = self.nullable_text()
        if text is None:
            raise MalformedMetadata("a name is null")
        return text

    def nullable_text(self) -> str | None:
        length = self._length(self._int16())
        if length < 0:
            return None
        try:
            return self._take(length).decode()
        except UnicodeDecodeError as error:
            raise MalformedMetadata("a text is not UTF-8") from error

    def nullable_bytes(self) -> bytes | None:
        length = self._length(self.int32())
        return None if length < 0 else self._take(length)

    def partitions(self) -> frozenset[TopicPartition]:
        return frozenset(
            TopicPartition(topic, partition)
            for _ in range(self.count())
            for topic in (self.text(),)
            for partition in self._int32s(self.count())
        )

    def int32(self) -> int:
        (value,) = self._int32s(1)
        return value

    def _int32s(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f">{count}i", self._take(count * 4))

    def _int16(self) -> int:
        (value,) = struct.unpack(">h", self._take(2))
        return int(value)

    def _length(self, value: int) -> int:
        if value < -1:
            raise MalformedMetadata(f"a length is {value}")
        return value

    def _take(self, length: int) -> bytes:
        end = self._position + length
        if end > len(self._data):
            raise MalformedMetadata(f"{len(self._data)} bytes end before its fields do")
        taken = self._data[self._position : end]
        self._position = end
        return taken


def _int16(value: int) -> bytes:
    return struct.pack(">h", value)


def _int32(value: int) -> bytes:
    return struct.pack(">i", value)


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _int16(len(encoded)) + encoded


def _bytes(value: bytes | None) -> bytes:
    return _int32(-1) if value is None else _int32(len(value)) + value


def _partitions(partitions: Iterable[TopicPartition]) -> bytes:
    by_topic: defaultdict[str, list[int]] = defaultdict(list)
    for topic, partition in sorted(partitions):
        by_topic[topic].append(partition)
    return _int32(len(by_topic)) + b"".join(
        _text(topic) + struct.pack(f">i{len(numbers)}i", len(numbers), *numbers)
        for topic, numbers in by_topic.items()
    )
