"""Builds the request of an attempt, signed, as a value."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from webhook_worker import __version__
from webhook_worker.endpoint import Endpoint
from webhook_worker.signing import sign
from webhook_worker.url import Url

METHOD = "POST"
USER_AGENT = f"webhook-worker/{__version__}"
MOST_HEADS = 4096
"""Endpoints whose part of the request is remembered; building one anew takes microseconds."""

Headers = tuple[tuple[bytes, bytes], ...]
Origin = tuple[str, str, int]
"""Scheme, host and port: where a connection leads, whatever the path."""

Check = Callable[[], object]
"""Called right before the first byte of a request: it raises if nothing is to be sent any more."""

_OURS: Headers = (
    (b"content-type", b"application/json"),
    (b"user-agent", USER_AGENT.encode()),
    (b"accept-encoding", b"identity"),
)


@dataclass(frozen=True, slots=True)
class Head:
    """What is the same in every request to an endpoint; ``repr`` shows no header."""

    url: Url
    origin: Origin = field(repr=False)
    headers: Headers = field(repr=False)
    wire: bytes = field(repr=False)
    """The request line, Host and these headers as HTTP/1.1 sends them."""


class Request(NamedTuple):
    """What is sent; ``repr`` shows no header and no body."""

    head: Head
    event_id: str
    timestamp: int
    """Unix seconds."""
    signature: str
    body: bytes

    def __repr__(self) -> str:
        """Neither signature nor body."""
        return (
            f"Request(head={self.head!r}, event_id={self.event_id!r}, timestamp={self.timestamp})"
        )

    @property
    def url(self) -> Url:
        """Where to."""
        return self.head.url

    @property
    def headers(self) -> Headers:
        """All but Host and Content-Length, which are left to what sends it."""
        return (
            *self.head.headers,
            (b"webhook-id", self.event_id.encode()),
            (b"webhook-timestamp", b"%d" % self.timestamp),
            (b"webhook-signature", self.signature.encode()),
        )

    def wire(self) -> bytes:
        """The whole request as HTTP/1.1 sends it."""
        ours = (
            f"webhook-id: {self.event_id}\r\nwebhook-timestamp: {self.timestamp}\r\n"
            f"webhook-signature: {self.signature}\r\ncontent-length: {len(self.body)}\r\n\r\n"
        )
        return b"".join((self.head.wire, ours.encode(), self.body))


def build(body: bytes, event_id: str, endpoint: Endpoint, now: float) -> Request:
    """The request of an attempt that begins at ``now``, in unix seconds."""
    timestamp = int(now)
    signature = sign(endpoint.secrets, event_id, timestamp, body)
    known = _heads.get(endpoint.id)
    head = known[1] if known is not None and known[0] is endpoint else _remembered(endpoint)
    return Request(head, event_id, timestamp, signature, body)


_heads: dict[str, tuple[Endpoint, Head]] = {}
# By the endpoint's id, for this very endpoint: to hash one, and its URL, takes as long as signing.


def _remembered(endpoint: Endpoint) -> Head:
    if len(_heads) >= MOST_HEADS:
        del _heads[next(iter(_heads))]
    head = head_of(endpoint.url, endpoint.headers)
    _heads[endpoint.id] = (endpoint, head)
    return head


def head_of(url: Url, customers: tuple[tuple[str, str], ...]) -> Head:
    """The head of requests to a URL, with the headers that the customer wants."""
    theirs = ((name.encode(), value.encode("latin-1")) for name, value in customers)
    headers = (*_OURS, *theirs)
    host = (b"host", url.authority.encode())
    lines = b"".join([b"%b: %b\r\n" % header for header in (host, *headers)])
    origin = (url.scheme, url.host, url.port)
    return Head(url, origin, headers, f"{METHOD} {url.target} HTTP/1.1\r\n".encode() + lines)
