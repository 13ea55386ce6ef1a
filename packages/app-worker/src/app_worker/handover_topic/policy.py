"""Decides whether a topic's settings let words stand for as long as somebody may wait for them."""

from collections.abc import Mapping

DAY_MS = 86_400_000
USUAL_OFFSETS_RETENTION_MS = 7 * DAY_MS
"""Of the brokers, where it cannot be asked for; a hold lives as long as the offset beside it."""
WITHOUT_END = -1
OF_TOPIC = ("cleanup.policy", "retention.ms", "retention.bytes")
OF_BROKER = ("offsets.retention.minutes",)
"""The settings that matter here."""


def offsets_retention_ms(broker_config: Mapping[str, str]) -> int:
    """How long the brokers keep a group's offsets while it has no members."""
    minutes = broker_config.get("offsets.retention.minutes")
    return USUAL_OFFSETS_RETENTION_MS if minutes is None else int(minutes) * 60_000


def least_retention_ms(offsets_kept_ms: int) -> int:
    """How long words have to be kept at least."""
    return offsets_kept_ms + DAY_MS


def what_is_wrong(config: Mapping[str, str], offsets_kept_ms: int) -> str:
    """Say, as the end of a sentence that begins with the topic's name, what has to be changed.

    Empty if nothing is wrong. ``config`` is what is in force, by Kafka's names.
    """
    policy = config.get("cleanup.policy", "delete")
    if policy != "delete":
        return f"has cleanup.policy={policy}, but words of one record are not told apart: delete"
    least = least_retention_ms(offsets_kept_ms)
    kept = int(config.get("retention.ms", WITHOUT_END))
    if kept != WITHOUT_END and kept < least:
        return (
            f"has retention.ms={kept}, but a hold may wait for a word for as long as offsets are "
            f"kept, and a day more: {least} or longer"
        )
    size = int(config.get("retention.bytes", WITHOUT_END))
    if size != WITHOUT_END:
        return f"has retention.bytes={size}, by which words may be deleted early: -1"
    return ""
