"""Decides what an attempt changes in what is known of its endpoint.

A process sees only some of an endpoint's attempts: retries, say, of the one kind of event that is
refused there. So what has seen nothing but failures first writes down its suspicion, and whoever
sees an attempt succeed takes it back. What stands after a while is announced.
"""

from dataclasses import dataclass
from typing import NamedTuple

from webhook_worker.endpoint_state.state import Disabled, EndpointState, Failing

NOTED_AGAIN_SHARE = 0.125
"""Of ``forget_after_ms``: so old may the last failure be that is written, while it goes on."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an endpoint may fail. Milliseconds."""

    failing_after_ms: int
    """With nothing but failures for so long it is failing, which is announced; half of it makes
    it suspected."""
    disable_after_ms: int | None
    """And for so long it is disabled; None for never."""
    forget_after_ms: int
    """A pause between failures that ends a row of them: nobody knows what was meanwhile."""


class Streak(NamedTuple):
    """Failures in a row, as one process has seen them. Unix milliseconds."""

    since_ms: int
    last_ms: int


def prolonged(streak: Streak | None, now_ms: int, patience: Patience) -> Streak:
    """The streak with one more failure."""
    if streak is None or now_ms - streak.last_ms >= patience.forget_after_ms:
        return Streak(now_ms, now_ms)
    return Streak(streak.since_ms, now_ms)


def after_failure(
    state: EndpointState | None, streak: Streak, patience: Patience, detail: str
) -> EndpointState | None:
    """The state to be written after the last failure of ``streak``; None if it stays as it is."""
    now_ms = streak.last_ms
    if isinstance(state, Disabled):
        return None
    if state is None or is_over(state, now_ms, patience):
        suspect = now_ms - streak.since_ms >= patience.failing_after_ms / 2
        return Failing(streak.since_ms, now_ms, announced=False) if suspect else None
    disable_after_ms = patience.disable_after_ms
    if (
        state.announced
        and disable_after_ms is not None
        and now_ms - state.since_ms >= disable_after_ms
    ):
        return Disabled(now_ms, "failing", detail)
    if now_ms - state.last_ms >= _written_anew_after_ms(state, patience):
        return Failing(state.since_ms, now_ms, announced=True)
    return None


def is_over(state: Failing, now_ms: int, patience: Patience) -> bool:
    """Whether a pause has ended the row of failures that the state tells of."""
    return now_ms - state.last_ms >= patience.forget_after_ms


def _written_anew_after_ms(state: Failing, patience: Patience) -> float:
    if state.announced:
        return patience.forget_after_ms * NOTED_AGAIN_SHARE
    return patience.failing_after_ms / 2


def is_refuted(state: EndpointState) -> bool:
    """Whether an attempt that succeeded shows that the state holds no longer.

    One that was under way when others disabled the endpoint for its failures does.
    """
    return isinstance(state, Failing) or state.reason == "failing"
