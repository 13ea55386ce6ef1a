"""The worker's metrics as one typed list: exposition and documentation are made from it."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

import kafka_utils
from app_worker.observability.quick_histogram import QuickHistogram
from app_worker.version import __version__

Kind = TypeVar("Kind", Counter, Gauge, Histogram)

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)
"""Seconds, from a quick local answer to beyond every time limit that a worker has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(Generic[Kind]):
    """One metric family. A layer above declares its own the same way, for the same registry."""

    name: str
    kind: type[Kind]
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, in ``unit``; empty for the other kinds."""

    def bind(self, registry: CollectorRegistry) -> Kind:
        """Create the family in ``registry``. Raises ValueError if the name is taken there."""
        options: dict[str, Any] = {"buckets": self.buckets} if self.buckets else {}
        return self.kind(self.name, self.help, self.labels, registry=registry, **options)


AnyMetric = Metric[Counter] | Metric[Gauge] | Metric[Histogram]

RECORDS = Metric(
    name="worker_records_total",
    kind=Counter,
    unit="records",
    labels=("source",),
    help="Records taken into work: fresh ones, those that came back from a delay topic, and "
    "those of the ordered topic.",
)
IN_FLIGHT = Metric(
    name="worker_in_flight",
    kind=Gauge,
    unit="records",
    help="Records in work now. Those whose outcome is being stored count too, and have as many "
    "places again.",
)
IN_FLIGHT_BYTES = Metric(
    name="worker_in_flight_bytes",
    kind=Gauge,
    unit="bytes",
    help="Bytes of key, value and headers of the records in work now.",
)
OLDEST_OPEN_RECORD_AGE = Metric(
    name="worker_oldest_open_record_age_seconds",
    kind=Gauge,
    unit="seconds",
    help="Time since the oldest incomplete record was taken into work; 0 without any.",
)
STUCK_HEADS = Metric(
    name="worker_stuck_heads",
    kind=Gauge,
    unit="partitions",
    labels=("group",),
    help="Partitions in which almost everything that was started is complete, and one record keeps "
    "it from being committed.",
)
PAUSED_PARTITIONS = Metric(
    name="worker_paused_partitions",
    kind=Gauge,
    unit="partitions",
    labels=("group", "reason"),
    help="Partitions of which nothing more is fetched or begun: `given_up` (they go to another "
    "member), `place` (where to read on is being found out), `first_records` (nothing was fetched "
    "yet), `span` or `map` (too much is complete behind their oldest record).",
)
BLOCKED_KEYS = Metric(
    name="worker_blocked_keys",
    kind=Gauge,
    unit="keys",
    labels=("group",),
    help="Keys of the ordered topic whose first delivery failed and is tried again, while all "
    "behind it wait.",
)
HELD_BACK_RECORDS = Metric(
    name="worker_held_back_records",
    kind=Gauge,
    unit="records",
    labels=("group",),
    help="Records of blocked keys that were fetched; beyond 10,000 of a partition the deliveries "
    "that keep it full are given up as `order_overflow`.",
)
ORDERED_SPAN_RECORDS = Metric(
    name="worker_ordered_span_records",
    kind=Gauge,
    unit="records",
    labels=("group",),
    help="Records of the ordered topic from the oldest open one on, where these are the most in a "
    "partition; at 24,000 the deliveries that hold the oldest are given up as `order_overflow`.",
)
OLDEST_BLOCKED_AGE = Metric(
    name="worker_oldest_blocked_age_seconds",
    kind=Gauge,
    unit="seconds",
    labels=("group",),
    help="Time since the oldest delivery that blocks a key was put into the ordered topic; 0 "
    "without any.",
)
HANDLER_SECONDS = Metric(
    name="worker_handler_seconds",
    kind=Histogram,
    unit="seconds",
    buckets=LATENCY_BUCKETS,
    help="Time that the handler worked on one record.",
)
OUTCOMES = Metric(
    name="worker_outcomes_total",
    kind=Counter,
    unit="deliveries",
    labels=("outcome",),
    help="Outcomes that are safely stored, by kind.",
)
PARKED = Metric(
    name="worker_parked_total",
    kind=Counter,
    unit="deliveries",
    labels=("delay",),
    help="Deliveries stored in a delay topic, by delay.",
)
DEAD_LETTERS = Metric(
    name="worker_dead_letters_total",
    kind=Counter,
    unit="deliveries",
    labels=("reason",),
    help="Deliveries and whole records stored in the dead-letter topic, by reason.",
)
PARKING_FAILURES = Metric(
    name="worker_parking_failures_total",
    kind=Counter,
    unit="writes",
    help="Writes to a delay or dead-letter topic that the brokers refused; each is tried again.",
)
HANDLER_ERRORS = Metric(
    name="worker_handler_errors_total",
    kind=Counter,
    unit="records",
    labels=("error",),
    help=(
        "Records whose handler raised, ran out of time (`timeout`; also `does_not_end` if it goes "
        "on all the same) or returned what is no outcome."
    ),
)
COMMITS = Metric(
    name="worker_commits_total",
    kind=Counter,
    unit="commits",
    labels=("group", "result"),
    help="Offset commits sent to the coordinator, by result.",
)
COMMIT_SECONDS = Metric(
    name="worker_commit_seconds",
    kind=Histogram,
    unit="seconds",
    buckets=LATENCY_BUCKETS,
    help="Time from sending an offset commit to its answer.",
)
COMPLETE_BEFORE = Metric(
    name="worker_records_complete_before_total",
    kind=Counter,
    unit="records",
    help="Records read again that the last commit's map knew to be complete, so that they were not "
    "handled again.",
)
OFFSET_MAPS_IGNORED = Metric(
    name="worker_offset_maps_ignored_total",
    kind=Counter,
    unit="commits",
    labels=("reason",),
    help="Commits whose metadata was not used when a partition came, so that records complete "
    "behind an open one are repeated: it was `foreign`, `damaged`, of another `version`, `place` "
    "(cluster, group, topic, partition) or `base` (offset), or the log was `truncated` since.",
)
REBALANCES = Metric(
    name="worker_rebalances_total",
    kind=Counter,
    unit="rebalances",
    labels=("group", "event"),
    help="Rebalances as the work saw them: a plan came (`assigned`, also if it added nothing), "
    "partitions were given up (`revoked`) or were others' already (`lost`).",
)
GENERATIONS = Metric(
    name="worker_group_generations_total",
    kind=Counter,
    unit="generations",
    labels=("group", "reason"),
    help="Generations of the group that this member entered, by why it joined.",
)
GENERATION = Metric(
    name="worker_group_generation",
    kind=Gauge,
    unit="generation",
    labels=("group",),
    help="The group's generation that this member is in; -1 in none.",
)
REBALANCE_PHASE_SECONDS = Metric(
    name="worker_rebalance_phase_seconds",
    kind=Histogram,
    unit="seconds",
    labels=("group", "phase"),
    buckets=LATENCY_BUCKETS,
    help="Time in each phase: `prepare` (until JoinGroup was sent), `join` (until it was answered: "
    "the slowest member), `plan` (of the leader), `sync` (until SyncGroup was answered), `revoke` "
    "(until what was in work on revoked partitions was finished and committed).",
)
PARTITION_CHANGES = Metric(
    name="worker_partition_changes_total",
    kind=Counter,
    unit="partitions",
    labels=("group", "change"),
    help="Partitions that came to this member (`added`), that it gave up in order (`revoked`), and "
    "that it had no time to give up (`lost`). Alert on lost ones.",
)
REVOCATIONS = Metric(
    name="worker_revocations_total",
    kind=Counter,
    unit="revocations",
    labels=("group", "outcome"),
    help="Times that partitions were given up, by what became of the drain: `done`, `timeout`, "
    "`failed`.",
)
EVICTIONS = Metric(
    name="worker_evictions_total",
    kind=Counter,
    unit="evictions",
    labels=("group",),
    help="Times that the group gave this member up, or another one took its place.",
)
GROUP_RETRIES = Metric(
    name="worker_group_retries_total",
    kind=Counter,
    unit="requests",
    labels=("group", "request", "error"),
    help="Requests about the group that failed and were made again after a pause.",
)
COORDINATOR_ID = Metric(
    name="worker_coordinator_id",
    kind=Gauge,
    unit="broker",
    labels=("group",),
    help="The broker that coordinates the group; -1 while none is known.",
)
JOINED = Metric(
    name="worker_joined_timestamp_seconds",
    kind=Gauge,
    unit="seconds",
    labels=("group",),
    help="Unix time at which this process came into the group for the first time.",
)
SESSION_TIMEOUT = Metric(
    name="worker_session_timeout_seconds",
    kind=Gauge,
    unit="seconds",
    labels=("group",),
    help="How long the group keeps a member of which it hears nothing.",
)
OWNED_PARTITIONS = Metric(
    name="worker_owned_partitions",
    kind=Gauge,
    unit="partitions",
    labels=("group",),
    help="Partitions that this process owns.",
)
LOST_RECORDS = Metric(
    name="worker_lost_records_total",
    kind=Counter,
    unit="records",
    labels=("topic",),
    help="Records that the brokers deleted before this group had read them. Alert on any increase.",
)
UNREADABLE_BATCHES = Metric(
    name="worker_unreadable_batches_total",
    kind=Counter,
    unit="reads",
    labels=("topic",),
    help="Reads that met a batch which is corrupt or cannot be decompressed; its partition waits.",
)
LAG_RECORDS = Metric(
    name="worker_lag_records",
    kind=Gauge,
    unit="records",
    labels=("group", "topic", "partition"),
    help="Records between the committable offset and the end of an owned partition.",
)
HANDOVER_MODE = Metric(
    name="worker_handover_mode",
    kind=Gauge,
    unit="",
    labels=("mode", "reason"),
    help="1 for how partitions are given up here: `on` (at once, with what is in flight handed "
    "over), `revoke_only` (drained at the end) or `off` (drained), and why it is not `on`: "
    "`setting`, `topic_missing`, `topic_misconfigured`, `refused`, `probe_failed`, `no_deadline`, "
    "`static_member`.",
)
RELEASES = Metric(
    name="worker_releases_total",
    kind=Counter,
    unit="releases",
    labels=("group", "outcome"),
    help="Times that partitions were to be handed over, by what became of it: `handed_over`, or "
    "they were drained instead, since the first word was not acknowledged (`not_opened`), what "
    "belongs into the ordered topic was not there in time (`not_in_line`), what is in flight does "
    "not fit into a commit (`too_long`), or the commit that says it was not acknowledged in time "
    "(`not_committed`).",
)
HOLDS = Metric(
    name="worker_holds_total",
    kind=Counter,
    unit="records",
    labels=("group", "change"),
    help="Records in flight whose partition was handed over: `given` by this process, `taken` over "
    "by it from the owner before; of these `settled` (that one has told that they are complete), "
    "`expired` (it has not, in the time that it had: they were delivered here; alert on these), "
    "`gone` (the log has them no longer).",
)
HELD_RECORDS = Metric(
    name="worker_held_records",
    kind=Gauge,
    unit="records",
    labels=("group",),
    help="Records that wait here until the owner before is done with them.",
)
HOLD_SECONDS = Metric(
    name="worker_hold_seconds",
    kind=Histogram,
    unit="seconds",
    buckets=LATENCY_BUCKETS,
    help="Time that a record was held here, from when its partition came to its end.",
)
OBLIGATIONS = Metric(
    name="worker_obligations",
    kind=Gauge,
    unit="records",
    labels=("group",),
    help="Records in flight here whose partition was handed over: they are to be finished and "
    "told of, and the process does not end before that.",
)
WORD_FAILURES = Metric(
    name="worker_word_failures_total",
    kind=Counter,
    unit="tries",
    labels=("side",),
    help="Tries to `write` or to `read` words of the hand-over topic that failed.",
)
UNUSABLE_WORDS = Metric(
    name="worker_unusable_words_total",
    kind=Counter,
    unit="records",
    labels=("reason",),
    help="Records of the hand-over topic that say nothing to this process: `foreign`, `damaged`, "
    "of another `version`. They were passed over.",
)
EVENT_LOOP_LAG = Metric(
    name="worker_event_loop_lag_seconds",
    kind=Gauge,
    unit="seconds",
    help="The latest that a timer of the event loop ran in the last 30 s.",
)
CLOCK = Metric(
    name="worker_clock_seconds",
    kind=Gauge,
    unit="seconds",
    help="Unix time by this process's clock, when it was scraped. Receivers refuse what a clock "
    "signs that is minutes off.",
)
BUILD_INFO = Metric(
    name="worker_build_info",
    kind=Gauge,
    unit="",
    labels=("version", "assignor", "kafka_utils_version"),
    help="Always 1; its labels say what runs here.",
)

WORKER_METRICS: tuple[AnyMetric, ...] = (
    RECORDS,
    IN_FLIGHT,
    IN_FLIGHT_BYTES,
    OLDEST_OPEN_RECORD_AGE,
    STUCK_HEADS,
    PAUSED_PARTITIONS,
    BLOCKED_KEYS,
    HELD_BACK_RECORDS,
    ORDERED_SPAN_RECORDS,
    OLDEST_BLOCKED_AGE,
    HANDLER_SECONDS,
    OUTCOMES,
    PARKED,
    DEAD_LETTERS,
    PARKING_FAILURES,
    HANDLER_ERRORS,
    COMMITS,
    COMMIT_SECONDS,
    COMPLETE_BEFORE,
    OFFSET_MAPS_IGNORED,
    REBALANCES,
    GENERATIONS,
    GENERATION,
    REBALANCE_PHASE_SECONDS,
    PARTITION_CHANGES,
    REVOCATIONS,
    EVICTIONS,
    GROUP_RETRIES,
    COORDINATOR_ID,
    JOINED,
    SESSION_TIMEOUT,
    OWNED_PARTITIONS,
    LOST_RECORDS,
    UNREADABLE_BATCHES,
    LAG_RECORDS,
    HANDOVER_MODE,
    RELEASES,
    HOLDS,
    HELD_RECORDS,
    HOLD_SECONDS,
    OBLIGATIONS,
    WORD_FAILURES,
    UNUSABLE_WORDS,
    EVENT_LOOP_LAG,
    CLOCK,
    BUILD_INFO,
)


class WorkerMetrics:
    """The list above, bound to a registry: one attribute a family, of prometheus_client's types.

    ``labels()`` costs 0.6 us a call: where a record passes, keep the child that it returns.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.records = RECORDS.bind(registry)
        self.in_flight = IN_FLIGHT.bind(registry)
        self.in_flight_bytes = IN_FLIGHT_BYTES.bind(registry)
        self.oldest_open_record_age = OLDEST_OPEN_RECORD_AGE.bind(registry)
        self.stuck_heads = STUCK_HEADS.bind(registry)
        self.paused_partitions = PAUSED_PARTITIONS.bind(registry)
        self.blocked_keys = BLOCKED_KEYS.bind(registry)
        self.held_back_records = HELD_BACK_RECORDS.bind(registry)
        self.ordered_span_records = ORDERED_SPAN_RECORDS.bind(registry)
        self.oldest_blocked_age = OLDEST_BLOCKED_AGE.bind(registry)
        self.handler_seconds = QuickHistogram(
            HANDLER_SECONDS.name, HANDLER_SECONDS.help, HANDLER_SECONDS.buckets, registry
        ).labels()
        self.outcomes = OUTCOMES.bind(registry)
        self.parked = PARKED.bind(registry)
        self.dead_letters = DEAD_LETTERS.bind(registry)
        self.parking_failures = PARKING_FAILURES.bind(registry)
        self.handler_errors = HANDLER_ERRORS.bind(registry)
        self.commits = COMMITS.bind(registry)
        self.commit_seconds = COMMIT_SECONDS.bind(registry)
        self.complete_before = COMPLETE_BEFORE.bind(registry)
        self.offset_maps_ignored = OFFSET_MAPS_IGNORED.bind(registry)
        self.rebalances = REBALANCES.bind(registry)
        self.generations = GENERATIONS.bind(registry)
        self.generation = GENERATION.bind(registry)
        self.rebalance_phase_seconds = REBALANCE_PHASE_SECONDS.bind(registry)
        self.partition_changes = PARTITION_CHANGES.bind(registry)
        self.revocations = REVOCATIONS.bind(registry)
        self.evictions = EVICTIONS.bind(registry)
        self.group_retries = GROUP_RETRIES.bind(registry)
        self.coordinator_id = COORDINATOR_ID.bind(registry)
        self.joined = JOINED.bind(registry)
        self.session_timeout = SESSION_TIMEOUT.bind(registry)
        self.owned_partitions = OWNED_PARTITIONS.bind(registry)
        self.lost_records = LOST_RECORDS.bind(registry)
        self.unreadable_batches = UNREADABLE_BATCHES.bind(registry)
        self.lag_records = LAG_RECORDS.bind(registry)
        self.handover_mode = HANDOVER_MODE.bind(registry)
        self.releases = RELEASES.bind(registry)
        self.holds = HOLDS.bind(registry)
        self.held_records = HELD_RECORDS.bind(registry)
        self.hold_seconds = HOLD_SECONDS.bind(registry)
        self.obligations = OBLIGATIONS.bind(registry)
        self.word_failures = WORD_FAILURES.bind(registry)
        self.unusable_words = UNUSABLE_WORDS.bind(registry)
        self.event_loop_lag = EVENT_LOOP_LAG.bind(registry)
        CLOCK.bind(registry).set_function(time.time)
        self.build_info = BUILD_INFO.bind(registry)

    def tell_build(self, assignors: Iterable[str]) -> None:
        """Publish versions and assignors (in order of preference) as ``worker_build_info``."""
        self.build_info.labels(__version__, ",".join(assignors), kafka_utils.__version__).set(1)


def create_registry() -> CollectorRegistry:
    """A registry of this process's own figures (CPU, memory, files, Python, garbage collection).

    The ``_created`` series are off: they would double the number of series, and nobody reads them.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def metrics_table(metrics: Iterable[AnyMetric]) -> str:
    """The metrics as a Markdown table, for the documentation."""
    lines = ["| metric | kind | unit | labels | meaning |", "|---|---|---|---|---|"]
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        kind = metric.kind.__name__.lower()
        lines.append(f"| `{metric.name}` | {kind} | {metric.unit} | {labels} | {metric.help} |")
    return "\n".join(lines) + "\n"
