"""Builds the request of an attempt, signed, as a value."""

from dataclasses import dataclass, field
from importlib.metadata import version

from webhook_worker.endpoint import Endpoint
from webhook_worker.signing import sign
from webhook_worker.url import Url

METHOD = "POST"
USER_AGENT = f"webhook-worker/{version('webhook-worker')}"


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent; ``repr`` shows no header and no body."""

    url: Url
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    """Lower-case names. Host and Content-Length are left to what sends it."""
    body: bytes = field(repr=False)
    method: str = METHOD


def build(body: bytes, event_id: str, endpoint: Endpoint, now: float) -> Request:
    """The request of an attempt that begins at ``now``, in unix seconds."""
    timestamp = int(now)
    signature = sign(endpoint.secrets, event_id, timestamp, body)
    customers = [(name.encode(), value.encode("latin-1")) for name, value in endpoint.headers]
    headers = (
        (b"content-type", b"application/json"),
        (b"user-agent", USER_AGENT.encode()),
        (b"accept-encoding", b"identity"),
        (b"webhook-id", event_id.encode()),
        (b"webhook-timestamp", b"%d" % timestamp),
        (b"webhook-signature", signature.encode()),
        *customers,
    )
    return Request(endpoint.url, headers, body)
