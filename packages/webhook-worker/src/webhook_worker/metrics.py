"""The metrics of webhooks as one typed list, declared the way the worker declares its own."""

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app_worker.observability.metrics import LATENCY_BUCKETS, AnyMetric, Metric
from app_worker.observability.quick_counter import QuickCounter
from app_worker.observability.quick_histogram import Observations, QuickHistogram
from webhook_worker.attempt import FailureKind
from webhook_worker.errors import BadEventReason
from webhook_worker.outcome import PostponedReason

END_TO_END_BUCKETS = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    *(60.0, 300.0, 1_800.0, 7_200.0, 28_800.0, 86_400.0, 259_200.0),
)
"""Seconds, from a first attempt that succeeds to the last one of a schedule of three days."""

EVENT_RESULTS = ("matched", "no_endpoint", "unknown_customer", *get_args(BadEventReason))
ATTEMPT_RESULTS = ("1xx", "2xx", "3xx", "4xx", "5xx", *get_args(FailureKind))
ENDPOINT_CHANGES = ("failing", "recovered", "disabled")
POSTPONED_REASONS = get_args(PostponedReason)

EVENTS = Metric(
    name="webhook_events_total",
    kind=Counter,
    unit="records",
    labels=("result",),
    help="Records by what they turned out to be: matched, no_endpoint, unknown_customer, "
    "or the reason why they are no event.",
)
ATTEMPTS = Metric(
    name="webhook_attempts_total",
    kind=Counter,
    unit="attempts",
    labels=("outcome",),
    help="HTTP requests by what came back: 2xx, 3xx, 4xx, 5xx or the kind of failure.",
)
ATTEMPT_SECONDS = Metric(
    name="webhook_attempt_seconds",
    kind=Histogram,
    unit="seconds",
    labels=("outcome",),
    buckets=LATENCY_BUCKETS,
    help="Time of one HTTP request, from resolving the name to the end of the answer.",
)
POSTPONED = Metric(
    name="webhook_postponed_total",
    kind=Counter,
    unit="deliveries",
    labels=("reason",),
    help="Deliveries that were parked without an attempt: circuit_open, endpoint_busy (it has as "
    "many as it may have, or is slow while places are scarce) or rate_limited.",
)
WITHOUT_KEY = Metric(
    name="webhook_without_key_total",
    kind=Counter,
    unit="events",
    help="Events for an endpoint that wants order whose record has no key: they are sent as they "
    "come, in no order.",
)
NOT_IN_ORDER = Metric(
    name="webhook_not_in_order_total",
    kind=Counter,
    unit="deliveries",
    help="Deliveries to endpoints that want order, made without any, since WEBHOOK_ORDERED_TOPIC "
    "is not set.",
)
WAITING = Metric(
    name="webhook_waiting",
    kind=Gauge,
    unit="deliveries",
    help="Deliveries in work that wait, shortly, until their endpoint may have another attempt.",
)
OPEN_CIRCUITS = Metric(
    name="webhook_open_circuits",
    kind=Gauge,
    unit="endpoints",
    help="Endpoints that failed three times in a row or oftener, and get one attempt at a time, "
    "with pauses, until one is answered.",
)
END_TO_END_SECONDS = Metric(
    name="webhook_end_to_end_seconds",
    kind=Histogram,
    unit="seconds",
    buckets=END_TO_END_BUCKETS,
    help="Time from the record's timestamp to its delivery, the waits between attempts included.",
)
ENDPOINTS = Metric(
    name="webhook_endpoints",
    kind=Gauge,
    unit="endpoints",
    labels=("state",),
    help="Endpoints that this process knows: enabled, disabled, or invalid and therefore off.",
)
ENDPOINT_RELOAD_FAILURES = Metric(
    name="webhook_endpoint_reload_failures_total",
    kind=Counter,
    unit="reloads",
    help="New versions of the endpoint file that could not be read; the one before stays in use.",
)
ENDPOINTS_CURRENT = Metric(
    name="webhook_endpoints_current_timestamp_seconds",
    kind=Gauge,
    unit="unix seconds",
    help="When the endpoints were last known to be all that their topic holds; 0 for a file. Old "
    "while the brokers cannot be asked: what was read before stays in use.",
)
ENDPOINT_READ_FAILURES = Metric(
    name="webhook_endpoint_read_failures_total",
    kind=Counter,
    unit="failures",
    help="Times the topic of endpoints could not be read or asked for its end; tried again.",
)
ENDPOINT_STATES = Metric(
    name="webhook_endpoint_states",
    kind=Gauge,
    unit="endpoints",
    labels=("state",),
    help="Endpoints that the fleet has found to be failing (suspected before it is announced) or "
    "that are disabled, as this process has read it.",
)
ENDPOINT_STATE_CHANGES = Metric(
    name="webhook_endpoint_state_changes_total",
    kind=Counter,
    unit="changes",
    labels=("change",),
    help="Endpoints that this process has found to be failing or to have recovered, or has "
    "disabled.",
)
ENDPOINT_STATES_CURRENT = Metric(
    name="webhook_endpoint_states_current_timestamp_seconds",
    kind=Gauge,
    unit="unix seconds",
    help="When the endpoints' states were last known to be all that their topic holds.",
)
ENDPOINT_STATE_READ_FAILURES = Metric(
    name="webhook_endpoint_state_read_failures_total",
    kind=Counter,
    unit="failures",
    help="Times the topic of the endpoints' states could not be read or asked for its end; tried "
    "again.",
)
OUTBOX_WAITING = Metric(
    name="webhook_outbox_waiting",
    kind=Gauge,
    unit="records",
    help="Endpoints' states, operational events and lines of the attempt log to be written yet.",
)
OUTBOX_FAILURES = Metric(
    name="webhook_outbox_failures_total",
    kind=Counter,
    unit="failures",
    help="Times such records could not be written; tried again.",
)
OUTBOX_DROPPED = Metric(
    name="webhook_outbox_dropped_total",
    kind=Counter,
    unit="records",
    labels=("topic",),
    help="Operational events and lines of the attempt log that were dropped, since too many "
    "waited to be written or the topic takes none so large.",
)

WEBHOOK_METRICS: tuple[AnyMetric, ...] = (
    EVENTS,
    ATTEMPTS,
    ATTEMPT_SECONDS,
    POSTPONED,
    WITHOUT_KEY,
    WAITING,
    OPEN_CIRCUITS,
    END_TO_END_SECONDS,
    ENDPOINTS,
    ENDPOINT_RELOAD_FAILURES,
    ENDPOINTS_CURRENT,
    ENDPOINT_READ_FAILURES,
    ENDPOINT_STATES,
    ENDPOINT_STATE_CHANGES,
    ENDPOINT_STATES_CURRENT,
    ENDPOINT_STATE_READ_FAILURES,
    OUTBOX_WAITING,
    OUTBOX_FAILURES,
    OUTBOX_DROPPED,
)


class WebhookMetrics:
    """The list above, bound to a registry: one attribute a family, of prometheus_client's types."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = QuickCounter(
            EVENTS.name, EVENTS.help, EVENTS.labels[0], EVENT_RESULTS, registry
        )
        self._attempts = QuickCounter(
            ATTEMPTS.name, ATTEMPTS.help, ATTEMPTS.labels[0], ATTEMPT_RESULTS, registry
        )
        self._attempt_seconds = _quick(ATTEMPT_SECONDS, registry)
        self._seconds_by_result: dict[str, Observations] = {}
        self.postponed = POSTPONED.bind(registry)
        self.without_key = WITHOUT_KEY.bind(registry)
        self.not_in_order = NOT_IN_ORDER.bind(registry)
        self.waiting = WAITING.bind(registry)
        self.open_circuits = OPEN_CIRCUITS.bind(registry)
        self._end_to_end_seconds = _quick(END_TO_END_SECONDS, registry).labels()
        self.endpoints = ENDPOINTS.bind(registry)
        self.endpoint_reload_failures = ENDPOINT_RELOAD_FAILURES.bind(registry)
        self.endpoints_current = ENDPOINTS_CURRENT.bind(registry)
        self.endpoint_read_failures = ENDPOINT_READ_FAILURES.bind(registry)
        self.endpoint_states = ENDPOINT_STATES.bind(registry)
        self.endpoint_state_changes = ENDPOINT_STATE_CHANGES.bind(registry)
        self.endpoint_states_current = ENDPOINT_STATES_CURRENT.bind(registry)
        self.endpoint_state_read_failures = ENDPOINT_STATE_READ_FAILURES.bind(registry)
        self.outbox_waiting = OUTBOX_WAITING.bind(registry)
        self.outbox_failures = OUTBOX_FAILURES.bind(registry)
        self.outbox_dropped = OUTBOX_DROPPED.bind(registry)
        # From the start at 0, so that the first of a kind is an increase too.
        for reason in POSTPONED_REASONS:
            self.postponed.labels(reason)
        for change in ENDPOINT_CHANGES:
            self.endpoint_state_changes.labels(change)

    def saw_event(self, result: str) -> None:
        """Count a record by what it turned out to be."""
        self._events.count(result)

    def made_attempt(self, result: str, seconds: float) -> None:
        """Count an attempt by what came back. ``result`` is one of a closed list."""
        self._attempts.count(result)
        observations = self._seconds_by_result.get(result)
        if observations is None:
            observations = self._seconds_by_result[result] = self._attempt_seconds.labels(result)
        observations.observe(seconds)

    def delivered(self, seconds: float) -> None:
        """Count a delivery that succeeded so long after its record was produced."""
        self._end_to_end_seconds.observe(max(0.0, seconds))

    def has_endpoints(self, *, enabled: int, disabled: int, invalid: int) -> None:
        """Publish how many endpoints are known."""
        self.endpoints.labels("enabled").set(enabled)
        self.endpoints.labels("disabled").set(disabled)
        self.endpoints.labels("invalid").set(invalid)


def _quick(metric: Metric[Histogram], registry: CollectorRegistry) -> QuickHistogram:
    return QuickHistogram(metric.name, metric.help, metric.buckets, registry, metric.labels)
