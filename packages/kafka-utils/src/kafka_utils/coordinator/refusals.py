"""Says in a sentence why a group cannot be joined, and what to do about it."""

import asyncio
from collections.abc import Sequence
from typing import Final

from aiokafka import errors
from aiokafka.errors import KafkaError

from kafka_utils.coordinator.messages import Transport
from kafka_utils.errors import (
    BrokerTooOldError,
    FencedError,
    GroupError,
    InconsistentAssignorsError,
)
from kafka_utils.requests import FencedInstanceIdError, GroupMaxSizeReachedError

NEEDED_KAFKA: Final = "2.4"
"""The first Kafka whose coordinators know every request that is sent here (LeaveGroup v3)."""


async def agreed_protocol(transport: Transport, seconds: float) -> str | None:
    """Ask which assignor the group's members use; None if that cannot be known in time."""
    try:
        async with asyncio.timeout(seconds):
            return (await transport.describe()).protocol
    except (KafkaError, TimeoutError):
        return None


def explain(
    error: KafkaError,
    group_id: str,
    instance_id: str | None,
    assignors: Sequence[str],
    agreed: str | None,
) -> GroupError:
    """Return the error to raise; ``agreed`` is the assignor of the group's members, if known."""
    group = f"group {group_id!r}"
    if isinstance(error, FencedInstanceIdError):
        return FencedError(
            f"{group}: another member has joined with group_instance_id {instance_id!r}, "
            "which must be unique in the group; this one is out"
        )
    if isinstance(error, errors.InconsistentGroupProtocolError):
        return InconsistentAssignorsError(f"{group} {_skipped_bounce(assignors, agreed)}")
    if isinstance(error, errors.IncompatibleBrokerVersion):
        return BrokerTooOldError(
            f"{group} has a coordinator that is too old: Kafka {NEEDED_KAFKA} or later is needed "
            f"({error})"
        )
    known = next((why for kind, why in _SENTENCES.items() if isinstance(error, kind)), None)
    return GroupError(f"{group} {known or f'cannot be joined: {error}'}")


_SENTENCES: Final[dict[type[KafkaError], str]] = {
    GroupMaxSizeReachedError: "is full: the brokers' group.max.size allows no more members",
    errors.GroupAuthorizationFailedError: "may not be used by us: the brokers refuse READ on it",
    errors.InvalidSessionTimeoutError: (
        "cannot be joined: session_timeout_ms is not between the brokers' "
        "group.min.session.timeout.ms and group.max.session.timeout.ms"
    ),
}


def _skipped_bounce(assignors: Sequence[str], agreed: str | None) -> str:
    ours = ",".join(assignors)
    if agreed is None:
        return (
            f"has members that have no assignor in common with ours ({ours}): to change it, "
            "restart every member with both the new and the old one first"
        )
    return (
        f"uses the assignor {agreed}, which is not among ours ({ours}): a bounce was skipped. "
        f"First restart every member with {ours},{agreed}, and when all run so, with {ours}"
    )
