"""What an endpoint is: where a customer receives, what signs for it, what it is willing to take."""

from dataclasses import dataclass, field
from typing import Literal

from webhook_worker.signing import Key
from webhook_worker.url import Url

OnFailure = Literal["block", "park"]
"""What a failure does to a key: all of it waits for the one that failed, or that one steps aside
into the delay topics and the others go on."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an endpoint is willing to take; None leaves it to the sender."""

    concurrency: int | None = None
    """Attempts at one time, in one process."""
    rate: float | None = None
    """Attempts a second, of the whole fleet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where one customer receives. ``repr`` shows who it is, never its URL, secrets or headers."""

    id: str
    customer_id: str
    url: Url = field(repr=False)
    secrets: tuple[Key, ...] = field(repr=False)
    """One or more; each signs every request."""
    event_types: frozenset[str] | None = field(default=None, repr=False)
    """The types that it receives, compared as a whole; None for all."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Sent with each request besides the sender's own; values in latin-1."""
    limits: Limits = Limits()
    ordered: OnFailure | None = None
    """Whether events of one key are delivered one after the other, and what a failure does then."""
    enabled: bool = True

    def wants(self, event_type: str) -> bool:
        """Whether it is on and receives events of this type."""
        return self.enabled and (self.event_types is None or event_type in self.event_types)
