"""The fleet at a glance, by the four questions that a rebalancing fleet raises."""

from deploy.monitoring.panels import Board, Query, Row, Variable, bars, stat, timeseries
from deploy.monitoring.queries import (
    OF_GROUP,
    OF_JOB,
    a_minute,
    a_second,
    extremes,
    most,
    quantile,
    quantiles,
    rate,
)

JOB = Variable("job", "label_values(worker_build_info, job)")
GROUP = Variable("group", 'label_values(worker_group_generation{job="$job"}, group)')

REQUESTS_BY_BROKER = "sum by (broker) (rate(kafka_broker_requests_total[$__rate_interval]))"
COORDINATING = (
    f'count by (broker) (count_values by (job) ("broker", worker_coordinator_id{{{OF_GROUP}}}))'
)

STABLE = Row(
    "Is the group stable?",
    (
        stat(
            "Settled",
            "Whether all members are in one and the same generation.",
            Query(
                f"(job_group:worker_group_generation:spread{{{OF_GROUP}}} == bool 0)"
                " * on (job, group)"
                f" (max by (job, group) (worker_group_generation{{{OF_GROUP}}}) >= bool 0)"
            ),
            words={1: ("yes", "green"), 0: ("no", "red")},
            width=4,
        ),
        stat(
            "Members",
            "Processes that are in a generation of the group.",
            Query(f"count(worker_group_generation{{{OF_GROUP}}} >= 0)"),
            width=4,
        ),
        stat(
            "Partitions owned",
            "Of the topics that the group reads. What nobody owns is not delivered.",
            Query(f"sum(worker_owned_partitions{{{OF_GROUP}}})"),
            width=4,
        ),
        stat(
            "Generations in 30 minutes",
            "0 while nothing is restarted; a process that is restarted makes two to four.",
            Query(f"job_group:worker_group_generations:increase30m{{{OF_GROUP}}}"),
            decimals=0,
            limits=((6, "orange"), (60, "red")),
            width=4,
        ),
        stat(
            "Since the last start of a process",
            "Generations soon after a start are due to it.",
            Query(f"time() - max(process_start_time_seconds{{{OF_JOB}}})"),
            unit="s",
            width=4,
        ),
        stat(
            "What runs",
            "More than one: a rollout is under way, or was left half done.",
            Query(
                "count by (version, kafka_utils_version, assignor)"
                f" (worker_build_info{{{OF_JOB}}})",
                "{{version}}/{{kafka_utils_version}} {{assignor}}",
            ),
            text="value_and_name",
            width=4,
        ),
        timeseries(
            "Why members joined, each minute",
            "Of the member that joined oftenest for this reason.",
            Query(
                f"max by (reason) ({rate('worker_group_generations_total', OF_GROUP)}) * 60",
                "{{reason}}",
            ),
        ),
        timeseries(
            "How long a rebalance takes, by phase (p95)",
            "`join` is the wait for the slowest member, `revoke` its drain, `plan` the leader's.",
            Query(quantile(0.95, "worker_rebalance_phase_seconds", OF_GROUP, "phase"), "{{phase}}"),
            unit="s",
        ),
        timeseries(
            "Partitions that changed hands, each minute",
            "A rebalance should move few and lose none.",
            Query(a_minute("worker_partition_changes_total", OF_GROUP, "change"), "{{change}}"),
            Query(a_minute("worker_evictions_total", OF_GROUP), "members given up"),
        ),
        timeseries(
            "Deliveries in flight whose partition moved, each minute",
            "Handed over, and settled by who had begun them. `expired`: sent again; 0 is right.",
            Query(a_minute("worker_holds_total", OF_GROUP, "change"), "{{change}}"),
            Query(f"sum(worker_held_records{{{OF_GROUP}}})", "waited for now"),
            Query(f"sum(worker_obligations{{{OF_GROUP}}})", "being finished now"),
        ),
        timeseries(
            "How long such a delivery was waited for",
            "From the partition's move on. Nothing else of the partition waits.",
            *quantiles((0.5, 0.95), "worker_hold_seconds", OF_JOB),
            unit="s",
        ),
        stat(
            "How partitions are given up, by processes",
            "`on`: at once. `off`: drained first, for the reason that is named.",
            Query(
                f"sum by (mode, reason) (worker_handover_mode{{{OF_JOB}}})",
                "{{mode}} {{reason}}",
            ),
            text="value_and_name",
        ),
    ),
)

COORDINATOR = Row(
    "Which broker coordinates it, and how loaded is it?",
    (
        stat(
            "Coordinator, by how many members see it",
            "One broker for all members; -1 are those that look for it.",
            Query(
                f'count_values by (job) ("broker", worker_coordinator_id{{{OF_GROUP}}})',
                "broker {{broker}}",
            ),
            text="value_and_name",
        ),
        timeseries(
            "How long it takes to answer a commit",
            "Heartbeats and joins go to the same broker. Milliseconds are good, a second is not.",
            *quantiles((0.5, 0.95), "worker_commit_seconds", OF_JOB),
            unit="s",
            width=6,
        ),
        timeseries(
            "What the group asks of it, each second",
            "Beside a heartbeat of each member every KAFKA_HEARTBEAT_INTERVAL_MS.",
            Query(a_second("worker_commits_total", OF_GROUP, "result"), "commits: {{result}}"),
            Query(
                a_second("worker_rebalance_phase_seconds_count", f'{OF_GROUP}, phase="join"'),
                "joins",
            ),
            unit="reqps",
            width=6,
        ),
        timeseries(
            "Requests to it that had to be made again",
            "Some while a broker restarts, none otherwise.",
            Query(
                a_second("worker_group_retries_total", OF_GROUP, "request", "error"),
                "{{request}}: {{error}}",
            ),
            unit="reqps",
            width=6,
        ),
        stat(
            "The coordinator's requests over an average broker's",
            "1 is no more than the others. Above 2 move leaders of partitions away from it.",
            Query(
                f"max({REQUESTS_BY_BROKER} and on (broker) {COORDINATING})"
                f" / avg({REQUESTS_BY_BROKER})"
            ),
            decimals=2,
            limits=((1.5, "orange"), (2, "red")),
        ),
        timeseries(
            "Requests to each broker, each second",
            "All that are asked of it, by anybody.",
            Query(REQUESTS_BY_BROKER, "broker {{broker}}"),
            unit="reqps",
            width=6,
        ),
        timeseries(
            "Bytes that each broker receives",
            "Of clients and of other brokers.",
            Query(
                "sum by (broker) (rate(kafka_broker_received_bytes_total[$__rate_interval]))",
                "broker {{broker}}",
            ),
            unit="Bps",
            width=6,
        ),
        timeseries(
            "Idle share of each broker's network threads, and requests that wait",
            "Below a third it answers late; num.network.threads is 3 by default.",
            Query("min by (broker) (kafka_broker_network_idle_ratio)", "idle, {{broker}}"),
            Query("max by (broker) (kafka_broker_request_queue_size)", "waiting, {{broker}}"),
            width=6,
        ),
    ),
)

SLOW = Row(
    "Who is slow, and why?",
    (
        bars(
            "Backlog by process",
            "Records behind the end of what it owns.",
            most(f"sum by (instance) (worker_lag_records{{{OF_GROUP}}})"),
        ),
        bars(
            "Oldest record in work",
            "A handler has 20 s for one; beyond that its outcome waits to be stored.",
            most(f"worker_oldest_open_record_age_seconds{{{OF_JOB}}}"),
            unit="s",
            limits=((25, "orange"), (120, "red")),
        ),
        bars(
            "Time of a record in the handler (p95)",
            "Nearly all of it is the receivers'.",
            most(quantile(0.95, "worker_handler_seconds", OF_JOB, "instance")),
            unit="s",
        ),
        bars(
            "Latest timer of the event loop",
            "Too little CPU, or something that blocks.",
            most(f"worker_event_loop_lag_seconds{{{OF_JOB}}}"),
            unit="s",
            limits=((0.25, "orange"), (1, "red")),
        ),
        bars(
            "CPU",
            "Of one core; a process cannot use more.",
            most(rate("process_cpu_seconds_total", OF_JOB)),
            unit="percentunit",
            limits=((0.7, "orange"), (0.9, "red")),
        ),
        bars(
            "Memory",
            "Resident.",
            most(f"process_resident_memory_bytes{{{OF_JOB}}}"),
            unit="bytes",
        ),
        bars(
            "Records in work",
            "At WORKER_MAX_IN_FLIGHT (100) a process takes no more: its receivers are slow.",
            most(f"worker_in_flight{{{OF_JOB}}}"),
            limits=((90, "orange"),),
        ),
        bars(
            "Stuck partitions",
            "One record keeps what is complete behind it from being committed.",
            most(f"worker_stuck_heads{{{OF_GROUP}}} > 0"),
        ),
        timeseries(
            "What partitions wait for",
            "`span` and `map`: their oldest record. `given_up`: they go to another member.",
            Query(f"sum by (reason) (worker_paused_partitions{{{OF_GROUP}}}) > 0", "{{reason}}"),
        ),
        timeseries(
            "Time of an attempt (p95), by what came back",
            "A slow 2xx is a slow receiver; 15 s of `timeout` is one that does not answer.",
            Query(quantile(0.95, "webhook_attempt_seconds", OF_JOB, "outcome"), "{{outcome}}"),
            unit="s",
        ),
        timeseries(
            "Endpoints with an open circuit, deliveries that wait for their endpoint",
            "The most that one process has.",
            Query(f"max(webhook_open_circuits{{{OF_JOB}}})", "open circuits"),
            Query(f"max(webhook_waiting{{{OF_JOB}}})", "waiting"),
        ),
    ),
)

SPREAD = Row(
    "How evenly is the work spread?",
    (
        stat(
            "Busiest process over the average",
            "Up to 1.2 if events are spread evenly over the partitions.",
            Query(f"job:worker_deliveries:max_over_mean{{{OF_JOB}}}"),
            decimals=2,
            limits=((1.25, "orange"), (1.5, "red")),
        ),
        stat(
            "Processes by partitions owned",
            "How many own how many: in a balanced group the numbers differ by one.",
            Query(
                f'count_values by (job) ("partitions", worker_owned_partitions{{{OF_GROUP}}})',
                "with {{partitions}}",
            ),
            text="value_and_name",
        ),
        stat(
            "Backlog",
            "Records behind the ends of all partitions.",
            Query(f"job_group:worker_lag_records:sum{{{OF_GROUP}}}"),
        ),
        stat(
            "Outcomes each second",
            "Delivered, parked or given up, and safely stored.",
            Query(f"job:worker_deliveries:rate5m{{{OF_JOB}}}"),
            unit="reqps",
        ),
        timeseries(
            "Outcomes each second, by process",
            "The busiest, the average and the idlest: lines that keep together.",
            *extremes(f"job_instance:worker_deliveries:rate5m{{{OF_JOB}}}"),
            unit="reqps",
        ),
        timeseries(
            "CPU, by process",
            "What they need for it.",
            *extremes(rate("process_cpu_seconds_total", OF_JOB)),
            unit="percentunit",
        ),
        timeseries(
            "Backlog, by partition",
            "One that grows alone has a busy key, or a slow owner.",
            most(f"worker_lag_records{{{OF_GROUP}}} > 0", "{{topic}} {{partition}}"),
        ),
    ),
)

FLEET = Board(
    uid="webhook-worker-fleet",
    title="Webhook workers: the fleet at a glance",
    variables=(JOB, GROUP),
    rows=(STABLE, COORDINATOR, SLOW, SPREAD),
)
