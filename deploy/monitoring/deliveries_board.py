"""Deliveries: what customers notice, and what becomes of what did not arrive."""

from deploy.monitoring.fleet_board import JOB
from deploy.monitoring.panels import Board, Query, Row, stat, timeseries
from deploy.monitoring.queries import OF_JOB, a_minute, a_second, quantiles

NOTICED = Row(
    "What do customers notice?",
    (
        stat(
            "Attempts answered with 2xx",
            "Of the last 15 minutes.",
            Query(f"job:webhook_attempts_answered:ratio15m{{{OF_JOB}}}"),
            unit="percentunit",
        ),
        stat(
            "From event to delivery (p50)",
            "Of those that succeeded, with all waits between their attempts.",
            Query(f"job:webhook_end_to_end_seconds:p50_5m{{{OF_JOB}}}"),
            unit="s",
            limits=((1, "orange"), (5, "red")),
        ),
        stat(
            "Given up in 24 hours",
            "Dead letters. They can be replayed for 30 days.",
            Query(f"sum(increase(worker_dead_letters_total{{{OF_JOB}}}[24h]))"),
            decimals=0,
        ),
        stat(
            "Endpoints",
            "Invalid ones are off until their entries are repaired.",
            Query(f"max by (state) (webhook_endpoints{{{OF_JOB}}})", "{{state}}"),
            Query(
                f"max by (state) (webhook_endpoint_states{{{OF_JOB}}})", "{{state}} by the fleet"
            ),
            text="value_and_name",
        ),
        timeseries(
            "From event to delivery",
            "Of those that succeeded.",
            *quantiles((0.5, 0.95, 0.99), "webhook_end_to_end_seconds", OF_JOB),
            unit="s",
            width=12,
        ),
        timeseries(
            "Attempts each second, by what came back",
            "2xx are deliveries. All others are parked, but 410, which ends a delivery.",
            Query(f"{a_second('webhook_attempts_total', OF_JOB, 'outcome')} > 0", "{{outcome}}"),
            unit="reqps",
            width=12,
            stacked=True,
        ),
    ),
)

THE_REST = Row(
    "What becomes of the rest?",
    (
        timeseries(
            "Parked each second, by delay",
            "The long delays are those of endpoints that have failed for hours.",
            Query(a_second("worker_parked_total", OF_JOB, "delay"), "{{delay}}"),
            unit="reqps",
            stacked=True,
        ),
        timeseries(
            "Parked without an attempt, each second",
            "Of endpoints that fail, are slow or have a rate limit: they cost the others nothing.",
            Query(a_second("webhook_postponed_total", OF_JOB, "reason"), "{{reason}}"),
            unit="reqps",
            stacked=True,
        ),
        timeseries(
            "Given up in each hour, by reason",
            "The README of webhook-worker explains the reasons.",
            Query(
                f"sum by (reason) (increase(worker_dead_letters_total{{{OF_JOB}}}[1h]))",
                "{{reason}}",
            ),
            stacked=True,
        ),
        timeseries(
            "Waiting behind blocked keys",
            "Of endpoints with `ordered: block` that fail; up to 10,000 in a partition.",
            Query(f"sum(worker_held_back_records{{{OF_JOB}}})", "deliveries"),
            Query(f"sum(worker_blocked_keys{{{OF_JOB}}})", "keys"),
        ),
        timeseries(
            "Records each second, by what they turned out to be",
            "What is neither matched nor without an endpoint is no event: a producer's mistake.",
            Query(f"{a_second('webhook_events_total', OF_JOB, 'result')} > 0", "{{result}}"),
            unit="reqps",
        ),
        timeseries(
            "Fresh, parked and ordered records each second",
            "What comes from the topic, what comes back, and what is delivered key by key.",
            Query(a_second("worker_records_total", OF_JOB, "source"), "{{source}}"),
            Query(
                a_second("worker_records_complete_before_total", OF_JOB),
                "read again, complete before",
            ),
            unit="reqps",
        ),
        timeseries(
            "Endpoints by what the fleet found, each hour",
            "`disabled`: they failed for too long, and their customers are told.",
            Query(
                f"sum by (change) (increase(webhook_endpoint_state_changes_total{{{OF_JOB}}}[1h]))",
                "{{change}}",
            ),
        ),
        timeseries(
            "Our own failures, each minute",
            "None is usual.",
            Query(a_minute("worker_parking_failures_total", OF_JOB), "parking"),
            Query(a_minute("worker_handler_errors_total", OF_JOB, "error"), "handler: {{error}}"),
            Query(a_minute("webhook_endpoint_read_failures_total", OF_JOB), "reading endpoints"),
            Query(a_minute("webhook_outbox_failures_total", OF_JOB), "writing what is told"),
            Query(a_minute("webhook_outbox_dropped_total", OF_JOB, "topic"), "dropped: {{topic}}"),
        ),
    ),
)

DELIVERIES = Board(
    uid="webhook-worker-deliveries",
    title="Webhook workers: deliveries",
    variables=(JOB,),
    rows=(NOTICED, THE_REST),
)
