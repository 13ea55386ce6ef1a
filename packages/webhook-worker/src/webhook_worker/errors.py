"""The errors of this package.

::

    WebhookError
    ├── BadEventError                         a record is no event: reason code and detail
    ├── BadUrlError (also a ValueError)       a text is no URL that we would send to
    ├── BadSecretError (also a ValueError)    a text is no signing secret
    ├── BadEndpointError                      an endpoint is wrong: all its problems at once
    ├── DirectoryError                        a whole source of endpoints cannot be read
    └── BlockedError                          the egress policy forbids to connect there

No text of theirs holds a payload, a secret or a URL.
"""

from dataclasses import dataclass
from typing import Literal

BadEventReason = Literal["tombstone", "too_large", "not_utf8", "not_json", "bad_shape", "bad_id"]


class WebhookError(Exception):
    """Anything that this package raises on purpose."""


class BadEventError(WebhookError):
    """A record is no event; ``reason`` and ``detail`` go into its dead letter."""

    def __init__(self, reason: BadEventReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class BadUrlError(WebhookError, ValueError):
    """A text is no URL that we would send to."""


class BadSecretError(WebhookError, ValueError):
    """A text is no signing secret."""


FieldPath = tuple[str | int, ...]
"""Where a value stands inside an endpoint: ``("limits", "rate")``, ``("secrets", 1)``."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One mistake in an endpoint: where, and what is allowed there."""

    path: FieldPath
    message: str

    @property
    def field(self) -> str:
        """The path as people write it: ``limits.rate``, ``secrets[1]``."""
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return "".join(parts).removeprefix(".")


class BadEndpointError(WebhookError):
    """An endpoint is wrong; what could be read of it tells which deliveries await its repair."""

    def __init__(
        self,
        problems: tuple[FieldProblem, ...],
        *,
        endpoint_id: str | None = None,
        customer_id: str | None = None,
        event_types: frozenset[str] | None = None,
        enabled: bool = True,
    ) -> None:
        super().__init__("; ".join(f"{problem.field} {problem.message}" for problem in problems))
        self.problems = problems
        self.endpoint_id = endpoint_id
        self.customer_id = customer_id
        self.event_types = event_types
        self.enabled = enabled


class DirectoryError(WebhookError):
    """A source of endpoints cannot be read as a whole; ``line`` counts from 1 where it is known."""

    def __init__(self, source: str, message: str, line: int | None = None) -> None:
        where = source if line is None else f"{source}, line {line}"
        super().__init__(f"{where}: {message}")
        self.source = source
        self.message = message
        self.line = line


class BlockedError(WebhookError):
    """The egress policy forbids to connect there; the text says what is forbidden and why."""
