"""What is known of one endpoint, and how that is written in the topic."""

import json
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

DisabledReason = Literal["gone", "failing", "operator"]
LONGEST_DETAIL = 200
_LATEST_MS = 200_000_000_000_000
"""In the year 8307: what comes after it can still be written as a date, microseconds cannot."""


@dataclass(frozen=True, slots=True)
class Failing:
    """It has answered nothing with 2xx for a while."""

    since_ms: int
    """The first of these failures, in unix milliseconds."""
    last_ms: int
    """A late one of them; written anew from time to time."""
    announced: bool
    """Whether people have been told. Before, any process may still know better: see judgement."""


@dataclass(frozen=True, slots=True)
class Disabled:
    """Nothing is sent to it until an operator enables it."""

    since_ms: int
    """Unix milliseconds."""
    reason: DisabledReason
    """Why: it answered 410, it failed for too long, or an operator wanted it."""
    detail: str = ""
    """More about it, in a few words. No payload, no secret."""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


EndpointState: TypeAlias = Failing | Disabled


class NotStateError(ValueError):
    """A record of the topic is none that this version can read."""


def written(state: EndpointState) -> bytes:
    """The record's value; its key is the endpoint's id, and no record means nothing is known."""
    if isinstance(state, Failing):
        said: dict[str, object] = {
            "state": "failing" if state.announced else "suspected",
            "since_ms": state.since_ms,
            "last_ms": state.last_ms,
        }
    else:
        said = {"state": "disabled", "since_ms": state.since_ms, "reason": state.reason}
        if state.detail:
            said["detail"] = state.detail[:LONGEST_DETAIL]
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()


def read(value: bytes) -> EndpointState:
    """The state in a record's value; members of later versions are let be.

    Raises NotStateError.
    """
    try:
        said = json.loads(value)
    except (ValueError, RecursionError):
        raise NotStateError("it is not JSON") from None
    if not isinstance(said, dict):
        raise NotStateError("it is no object")
    state = said.get("state")
    if state in ("suspected", "failing"):
        announced = state == "failing"
        return Failing(_moment(said, "since_ms"), _moment(said, "last_ms"), announced)
    if state != "disabled":
        raise NotStateError("its state is none of suspected, failing, disabled")
    if said.get("reason") not in get_args(DisabledReason):
        raise NotStateError(f"its reason is none of {', '.join(get_args(DisabledReason))}")
    return Disabled(_moment(said, "since_ms"), said["reason"], str(said.get("detail", "")))


def _moment(said: dict[str, Any], name: str) -> int:
    value = said.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LATEST_MS:
        return value
    raise NotStateError(f"its {name} is no time in unix milliseconds")
