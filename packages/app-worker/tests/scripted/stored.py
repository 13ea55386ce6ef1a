"""A record as it lies in a topic that parking writes to."""

from typing import Any

from aiokafka import ConsumerRecord


def stored_message(value: bytes | None = b"v", **changes: Any) -> ConsumerRecord[bytes, bytes]:
    """One in a delay topic, but for what is changed."""
    fields: dict[str, Any] = {
        "topic": "t.retry.5s",
        "partition": 3,
        "offset": 9,
        "timestamp": 1_000,
        "timestamp_type": 0,
        "key": b"k",
        "checksum": None,
        "serialized_key_size": 1,
        "serialized_value_size": 1,
        "headers": (),
    }
    return ConsumerRecord(**(fields | {"value": value} | changes))
