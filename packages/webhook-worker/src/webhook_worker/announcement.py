"""Operational events: what customers and operators may want to hear of their endpoints."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from webhook_worker.endpoint import Endpoint
from webhook_worker.event import Event

DISABLED = "endpoint.disabled"
ENABLED = "endpoint.enabled"
FAILING = "endpoint.failing"
RECOVERED = "endpoint.recovered"
EXHAUSTED = "message.exhausted"
TYPES = frozenset({DISABLED, ENABLED, FAILING, RECOVERED, EXHAUSTED})

FOUND_OUT_MS = 60_000
"""What workers find out of an endpoint in the same minute is the same event."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """One operational event. It is an event like any other, so it can itself be delivered."""

    type: str
    customer_id: str
    at_ms: int
    """Unix milliseconds."""
    about: str
    """What makes it one of its own: the same twice is the same event twice."""
    data: dict[str, object] = field(repr=False)

    def value(self) -> bytes:
        """The record's value, an event as the worker reads them."""
        named = hashlib.sha256(f"{self.type}\n{self.about}".encode()).hexdigest()
        members = {
            "id": f"op_{named[:32]}",
            "type": self.type,
            "customer_id": self.customer_id,
            "timestamp": _time(self.at_ms),
            "data": self.data,
        }
        return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()


def endpoint_disabled(endpoint: Endpoint, reason: str, detail: str, at_ms: int) -> Announcement:
    """Nothing is sent to it any more. ``reason`` is one of DisabledReason."""
    data = {"reason": reason, "detail": detail}
    # Many processes may find it out before they hear of each other, each at a time of its own.
    since_ms = at_ms if reason == "operator" else at_ms // FOUND_OUT_MS * FOUND_OUT_MS
    return _of_endpoint(DISABLED, endpoint, since_ms, at_ms, data)


def endpoint_enabled(endpoint: Endpoint, at_ms: int) -> Announcement:
    """An operator has enabled it again."""
    return _of_endpoint(ENABLED, endpoint, at_ms, at_ms, {})


def endpoint_failing(
    endpoint: Endpoint, since_ms: int, disabled_at_ms: int | None, at_ms: int
) -> Announcement:
    """No attempt has succeeded since then; unless one does, it will be disabled at that time."""
    data = {
        "since": _time(since_ms),
        "disabled_at": None if disabled_at_ms is None else _time(disabled_at_ms),
    }
    return _of_endpoint(FAILING, endpoint, since_ms, at_ms, data)


def endpoint_recovered(endpoint: Endpoint, since_ms: int, at_ms: int) -> Announcement:
    """An attempt has succeeded; it had been failing, or disabled for that, since then."""
    return _of_endpoint(RECOVERED, endpoint, since_ms, at_ms, {"since": _time(since_ms)})


def message_exhausted(
    event: Event, endpoint_id: str, attempts: int, result: str, at_ms: int
) -> Announcement | None:
    """A delivery was given up. None for one of an operational event: it could go on for ever.

    ``result`` says what came of the last attempt, in a few words without payload.
    """
    if event.type in TYPES:
        return None
    data: dict[str, object] = {
        "endpoint_id": endpoint_id,
        "event_id": event.id,
        "event_type": event.type,
        "attempts": attempts,
        "last": result,
    }
    return Announcement(EXHAUSTED, event.customer_id, at_ms, f"{event.id}\n{endpoint_id}", data)


def _of_endpoint(
    type_: str, endpoint: Endpoint, since_ms: int, at_ms: int, data: Mapping[str, object]
) -> Announcement:
    about = f"{endpoint.id}\n{since_ms}"
    return Announcement(
        type_, endpoint.customer_id, at_ms, about, {"endpoint_id": endpoint.id, **data}
    )


def _time(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
