"""Keeps what is known of the endpoints up to date with what this process sees of them."""

import logging
import time
from collections.abc import Callable

from webhook_worker.announcement import (
    Announcement,
    endpoint_disabled,
    endpoint_failing,
    endpoint_recovered,
)
from webhook_worker.endpoint import Endpoint
from webhook_worker.endpoint_state.judgement import (
    Patience,
    Streak,
    after_failure,
    is_over,
    is_refuted,
    prolonged,
)
from webhook_worker.endpoint_state.state import Disabled, EndpointState, Failing, written
from webhook_worker.metrics import WebhookMetrics

MOST_STREAKS = 10_000
"""Endpoints whose failures are remembered until they are suspected, which the topic remembers.

More wait until one of these is suspected or fails no longer: were the oldest forgotten for them,
none would ever be suspected.
"""

_log = logging.getLogger(__name__)


class EndpointStates:
    """What the fleet knows of each endpoint.

    ``states`` is what the topic says. What this process finds out is written there and counts here
    at once.
    """

    def __init__(
        self,
        states: Callable[[], dict[str, EndpointState]],
        write: Callable[[str, bytes | None], object],
        announce: Callable[[Announcement], object],
        patience: Patience,
        metrics: WebhookMetrics,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``write`` stores a value, or None for nothing, for an endpoint's id."""
        self._states = states
        self._write = write
        self._announce = announce
        self._patience = patience
        self._changes = metrics.endpoint_state_changes
        self._now = now
        self._streaks: dict[str, Streak] = {}

    def why_disabled(self, endpoint_id: str) -> str | None:
        """Why nothing may be sent to it, in a few words; None if it may."""
        state = self._states().get(endpoint_id)
        return str(state) if isinstance(state, Disabled) else None

    def succeeded(self, endpoint: Endpoint) -> None:
        """An attempt was answered with 2xx."""
        self._streaks.pop(endpoint.id, None)
        state = self._states().get(endpoint.id)
        if state is None or not is_refuted(state):
            return
        self._keep(endpoint.id, None)
        if isinstance(state, Failing) and not state.announced:
            return
        self._changes.labels("recovered").inc()
        _log.info("an endpoint has recovered", extra={"endpoint": endpoint.id})
        self._announce(endpoint_recovered(endpoint, state.since_ms, self._now_ms()))

    def failed(self, endpoint: Endpoint, detail: str) -> None:
        """An attempt was not, and the fault is not ours. ``detail`` says what came, in a word."""
        streak = prolonged(self._streaks.get(endpoint.id), self._now_ms(), self._patience)
        before = self._states().get(endpoint.id)
        state = after_failure(before, streak, self._patience, detail)
        self._remember(endpoint.id, streak, state or before)
        if isinstance(state, Disabled):
            self._disable(endpoint, state)
        elif state is not None:
            self._fails(endpoint, state)

    def gone(self, endpoint: Endpoint, detail: str) -> None:
        """It has answered that it wants no more: 410."""
        if self.why_disabled(endpoint.id) is None:
            self._disable(endpoint, Disabled(self._now_ms(), "gone", detail))

    def cleared(self, endpoint_id: str) -> None:
        """Somebody else has seen it succeed, or has enabled it."""
        self._streaks.pop(endpoint_id, None)

    def _remember(self, endpoint_id: str, streak: Streak, state: EndpointState | None) -> None:
        streaks, now_ms = self._streaks, streak.last_ms
        if isinstance(state, Disabled) or (state and not is_over(state, now_ms, self._patience)):
            streaks.pop(endpoint_id, None)
            return
        if endpoint_id not in streaks and len(streaks) >= MOST_STREAKS:
            first = next(iter(streaks))
            if now_ms - streaks[first].last_ms < self._patience.failing_after_ms:
                return
            del streaks[first]
        streaks[endpoint_id] = streak

    def _fails(self, endpoint: Endpoint, state: Failing) -> None:
        before = self._states().get(endpoint.id)
        self._keep(endpoint.id, state)
        if not state.announced or (isinstance(before, Failing) and before.announced):
            return
        self._changes.labels("failing").inc()
        _log.warning(
            "an endpoint has answered nothing with success for long",
            extra={"endpoint": endpoint.id, "since_ms": state.since_ms},
        )
        limit_ms = self._patience.disable_after_ms
        disabled_at_ms = None if limit_ms is None else state.since_ms + limit_ms
        self._announce(endpoint_failing(endpoint, state.since_ms, disabled_at_ms, state.last_ms))

    def _disable(self, endpoint: Endpoint, state: Disabled) -> None:
        self._keep(endpoint.id, state)
        self._changes.labels("disabled").inc()
        _log.warning(
            "an endpoint is disabled: nothing is sent to it until it is enabled again",
            extra={"endpoint": endpoint.id, "reason": state.reason, "detail": state.detail},
        )
        self._announce(endpoint_disabled(endpoint, state.reason, state.detail, state.since_ms))

    def _keep(self, endpoint_id: str, state: EndpointState | None) -> None:
        if state is None:
            self._states().pop(endpoint_id, None)
        else:
            self._states()[endpoint_id] = state
        self._write(endpoint_id, None if state is None else written(state))

    def _now_ms(self) -> int:
        return round(self._now() * 1000)
