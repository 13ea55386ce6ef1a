"""Tells operators, by log and metrics, what the endpoints' source holds and what is wrong in it."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from webhook_worker.directory import EndpointProblem, Snapshot
from webhook_worker.endpoint_state.table import StateTable
from webhook_worker.errors import DirectoryError
from webhook_worker.metrics import WebhookMetrics

MOST_LINES = 20
"""Problems of one version that are logged one by one."""
MOST_NAMES = 10

_log = logging.getLogger(__name__)


class EndpointReport:
    """Reports each version of the endpoints once."""

    def __init__(self, source: str, metrics: WebhookMetrics, *, in_order: bool) -> None:
        """``in_order`` says whether there is an ordered topic."""
        self._source = source
        self._metrics = metrics
        self._in_order = in_order

    def loaded(self, snapshot: Snapshot) -> None:
        """A version is in use."""
        counts = count_endpoints(snapshot)
        self._metrics.has_endpoints(**counts)
        _log.info("endpoints loaded", extra={"source": self._source, **counts})
        for problem in snapshot.problems[:MOST_LINES]:
            _log.warning(
                "an endpoint is off, since its entry is wrong",
                extra={"source": self._source, "problem": str(problem)},
            )
        unspoken = len(snapshot.problems) - MOST_LINES
        if unspoken > 0:
            _log.warning(
                "%d more problems: run webhook-worker endpoints check %s", unspoken, self._source
            )
        warning = not_in_order(snapshot, in_order=self._in_order)
        if warning:
            _log.warning("%s", warning, extra={"source": self._source})

    def changed(self, news: Snapshot | DirectoryError) -> None:
        """The source has changed: a new version is in use, or it cannot be read."""
        if isinstance(news, Snapshot):
            self.loaded(news)
            return
        self._metrics.endpoint_reload_failures.inc()
        _log.error("the endpoints cannot be read again, the old ones stay in use: %s", news)


class TopicReport:
    """Reports what a topic of endpoints holds as it changes; topic.Told."""

    def __init__(
        self, topic: str, metrics: WebhookMetrics, now: Callable[[], float] = time.time
    ) -> None:
        """``now`` gives unix seconds."""
        self._topic = topic
        self._metrics = metrics
        self._now = now

    def holds(self, counts: Mapping[str, int], problems: Iterable[EndpointProblem]) -> None:
        """See Told."""
        self._metrics.has_endpoints(**counts)
        for problem in problems:
            _log.warning(
                "an endpoint is off, since its entry is wrong",
                extra={"topic": self._topic, "problem": str(problem)},
            )

    def is_current(self) -> None:
        """See Told."""
        self._metrics.endpoints_current.set(self._now())

    def cannot_be_read(self, error: Exception) -> None:
        """See Told."""
        self._metrics.endpoint_read_failures.inc()
        said = str(error) or type(error).__name__
        _log.error("the topic of endpoints cannot be read, what was read stays in use: %s", said)


class StateReport:
    """Reports what the topic of the endpoints' states holds as it changes; its Follower."""

    def __init__(
        self, topic: str, metrics: WebhookMetrics, now: Callable[[], float] = time.time
    ) -> None:
        """``now`` gives unix seconds."""
        self._topic = topic
        self._metrics = metrics
        self._now = now

    def is_whole(self, table: StateTable) -> None:
        """See Follower."""
        counts = table.counts
        self._publish(counts)
        _log.info("endpoint states loaded", extra={"topic": self._topic, **counts})

    def changed(self, table: StateTable) -> bool:
        """See Follower."""
        self._publish(table.counts)
        return False

    def is_current(self) -> None:
        """See Follower."""
        self._metrics.endpoint_states_current.set(self._now())

    def cannot_be_read(self, error: Exception) -> None:
        """See Follower."""
        self._metrics.endpoint_state_read_failures.inc()
        said = str(error) or type(error).__name__
        _log.error("the endpoints' states cannot be read, what was read stays in use: %s", said)

    def _publish(self, counts: Mapping[str, int]) -> None:
        for state, count in counts.items():
            self._metrics.endpoint_states.labels(state).set(count)


def count_endpoints(snapshot: Snapshot) -> dict[str, int]:
    """How many are enabled, disabled, and invalid (those without a usable id included)."""
    enabled = sum(endpoint.enabled for endpoint in snapshot.endpoints)
    return {
        "enabled": enabled,
        "disabled": len(snapshot.endpoints) - enabled,
        "invalid": len(snapshot.broken),
    }


def not_in_order(snapshot: Snapshot, *, in_order: bool) -> str | None:
    """One sentence about endpoints that ask for order where there is none; None without any."""
    asking = [endpoint.id for endpoint in snapshot.endpoints if endpoint.ordered]
    if in_order or not asking:
        return None
    return f"not in order, since WEBHOOK_ORDERED_TOPIC is not set: {_some(asking)}"


def _some(ids: Iterable[str]) -> str:
    names = list(ids)
    rest = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return "endpoint " + ", ".join(names[:MOST_NAMES]) + rest
