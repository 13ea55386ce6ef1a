"""Alerts and dashboards ask for nothing but what workers expose, and every alert can fire."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from prometheus_client import Counter, Histogram

from app_worker.debug_state import PAUSES
from app_worker.observability.metrics import WORKER_METRICS, WorkerMetrics, create_registry
from deploy.monitoring.__main__ import BOARDS, DASHBOARDS, files
from deploy.monitoring.grafana import COLUMNS, board_json
from kafka_utils.events import Revocation
from tests.harness.promql import Known, Labels, WrongExpressionError
from webhook_worker.metrics import (
    ATTEMPT_RESULTS,
    EVENT_RESULTS,
    POSTPONED_REASONS,
    WEBHOOK_METRICS,
    WebhookMetrics,
)

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
RULES = MONITORING / "rules.yaml"
RULES_TEST = MONITORING / "rules_test.yaml"
RUNBOOK = (MONITORING / "RUNBOOK.md").read_text()
TARGET_LABELS = frozenset({"job", "instance"})
"""What Prometheus adds to whatever it scrapes."""
BROKER_LABELS = TARGET_LABELS | {"broker"}
CLOSED = {
    "webhook_attempts_total": {"outcome": ATTEMPT_RESULTS},
    "webhook_attempt_seconds_bucket": {"outcome": ATTEMPT_RESULTS},
    "webhook_events_total": {"result": EVENT_RESULTS},
    "webhook_postponed_total": {"reason": POSTPONED_REASONS},
    "webhook_endpoints": {"state": ("enabled", "disabled", "invalid")},
    "worker_paused_partitions": {"reason": tuple(PAUSES)},
    "worker_partition_changes_total": {"change": ("added", "revoked", "lost")},
    "worker_revocations_total": {"outcome": get_args(Revocation.__annotations__["outcome"])},
    "worker_commits_total": {"result": ("ok", "failed", "timeout", "not_owner", "abandoned")},
    "worker_rebalance_phase_seconds_count": {
        "phase": ("prepare", "join", "plan", "sync", "revoke"),
    },
    "worker_rebalance_phase_seconds_bucket": {
        "phase": ("prepare", "join", "plan", "sync", "revoke"),
    },
}
"""Labels of few values, for which nothing else may be asked."""
GRAFANA_LABEL = re.compile(r"\{\{(\w+)\}\}")
PROMETHEUS_LABEL = re.compile(r"\$labels\.(\w+)")


@cache
def exposed() -> dict[str, Labels]:
    """Every series that a worker or a broker can have, with its labels and those of the target."""
    registry = create_registry()
    WorkerMetrics(registry)
    WebhookMetrics(registry)
    declared = {metric.name: metric for metric in (*WORKER_METRICS, *WEBHOOK_METRICS)}
    series: dict[str, Labels] = {"up": TARGET_LABELS}
    for family in registry.collect():
        metric = declared.get(family.name) or declared.get(f"{family.name}_total")
        if metric is None:  # The process's own, which always have samples.
            for sample in family.samples:
                labels = series.get(sample.name, TARGET_LABELS)
                series[sample.name] = labels | frozenset(sample.labels)
        elif metric.kind is Histogram:
            labels = TARGET_LABELS | frozenset(metric.labels)
            series |= {f"{metric.name}_{each}": labels for each in ("sum", "count")}
            series[f"{metric.name}_bucket"] = labels | {"le"}
        else:
            name = f"{family.name}_total" if metric.kind is Counter else family.name
            series[name] = TARGET_LABELS | frozenset(metric.labels)
    for rule in yaml.safe_load((MONITORING / "broker-jmx.yaml").read_text())["rules"]:
        series[rule["name"]] = BROKER_LABELS | frozenset(rule.get("labels", ()))
    return series


@cache
def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@cache
def known() -> Known:
    """What can be asked for: what is exposed, and what is recorded of it, in the file's order."""
    series = dict(exposed())
    for rule in rules():
        if "record" in rule:
            series[rule["record"]] = Known(series).labels_of(rule["expr"])
    return Known(series)


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def queries() -> list[tuple[str, str, str]]:
    """What dashboards ask: the panel, the expression, the legend; choices are made."""
    return [
        (f"{board.uid}: {panel}", query.expr.replace("$__rate_interval", "5m"), query.legend)
        for board in BOARDS
        for panel, query in board.queries()
    ]


def expressions() -> list[tuple[str, str]]:
    asked = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]
    return asked + [(place, expression) for place, expression, _ in queries()]


def no_expression(value: str) -> str:
    """Expressions and legends make no good names of tests."""
    return value if value in {place for place, _ in expressions()} else ""


def promtool() -> str:
    """Where it is. It is on no Python index: .ci/run installs it where it can."""
    found = shutil.which("promtool") or shutil.which("promtool", path=ROOT / ".tools" / "bin")
    if found is None:
        pytest.skip(
            "promtool is not installed, so that neither the syntax of the rules nor when each "
            "alert fires was tried (Debian: in the package prometheus)"
        )
    return found


@pytest.mark.parametrize("arguments", [("check", "rules", RULES), ("test", "rules", RULES_TEST)])
def test_promtool_accepts_the_rules_and_each_fires_when_it_should(
    arguments: tuple[str | Path, ...],
) -> None:
    done = subprocess.run(
        (promtool(), *arguments), cwd=MONITORING, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("place", "expression"), expressions(), ids=no_expression)
def test_what_is_asked_for_is_exposed_with_these_labels(place: str, expression: str) -> None:
    known().labels_of(expression)


@pytest.mark.parametrize(("place", "expression"), expressions(), ids=no_expression)
def test_a_label_is_asked_only_for_a_value_that_it_can_have(place: str, expression: str) -> None:
    for selector in known().selectors(expression):
        assert selector.name is not None
        for matcher in selector.matchers.matchers:
            allowed = CLOSED.get(selector.name, {}).get(matcher.name)
            if allowed is not None:
                assert set(matcher.value.split("|")) <= set(allowed), place


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("worker_owned_partition", "no metric worker_owned_partition"),
        ('worker_in_flight{group="g"}', "asked for"),
        ("sum by (group) (worker_in_flight)", "keep or drop"),
        ("worker_lag_records / worker_owned_partitions", "compares"),
        ("worker_lag_records / on (topic) worker_owned_partitions", "compares"),
        ("worker_in_flight and on (group) worker_owned_partitions", "compares"),
    ],
)
def test_what_is_not_there_would_be_noticed(expression: str, complaint: str) -> None:
    with pytest.raises(WrongExpressionError, match=complaint):
        known().labels_of(expression)


@pytest.mark.parametrize(("place", "expression", "legend"), queries(), ids=no_expression)
def test_a_legend_names_labels_of_its_series(place: str, expression: str, legend: str) -> None:
    assert set(GRAFANA_LABEL.findall(legend)) <= known().labels_of(expression)


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_what_it_is_and_leads_to_its_section_of_the_runbook(
    alert: dict[str, Any],
) -> None:
    notes = alert["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert set(alert["labels"]) == {"severity"}
    assert alert["labels"]["severity"] in ("critical", "warning")
    named = set(PROMETHEUS_LABEL.findall(notes["summary"] + notes["description"]))
    assert named <= known().labels_of(alert["expr"])
    _, _, anchor = notes["runbook_url"].partition("#")
    assert anchor == alert["alert"].lower()
    assert f"\n## {alert['alert']}\n" in RUNBOOK


def test_the_runbook_has_no_section_for_an_alert_that_does_not_exist() -> None:
    sections = set(re.findall(r"^## (WebhookWorker\w+)$", RUNBOOK, re.MULTILINE))
    assert sections == {alert["alert"] for alert in alerts()}


def test_every_alert_is_tried_both_quiet_and_firing() -> None:
    quiet: set[str] = set()
    firing: set[str] = set()
    for each in yaml.safe_load(RULES_TEST.read_text())["tests"]:
        name = each["name"].partition(":")[0]
        for asked in each["promql_expr_test"]:
            assert asked["expr"] == f'ALERTS{{alertname="{name}", alertstate="firing"}}'
            (firing if asked.get("exp_samples") else quiet).add(name)
    assert quiet == firing == {alert["alert"] for alert in alerts()}


def test_the_dashboards_are_those_that_the_program_writes() -> None:
    written = {file: file.read_text() for file in DASHBOARDS.iterdir()}
    assert written == files(), "python -m deploy.monitoring writes them"


def test_what_is_applied_to_a_cluster_has_every_dashboard_and_the_rules() -> None:
    kustomization = yaml.safe_load((MONITORING / "kustomization.yaml").read_text())
    applied = [file for each in kustomization["configMapGenerator"] for file in each["files"]]
    assert {MONITORING / file for file in applied} == {*files(), RULES}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_no_two_panels_of_a_board_lie_over_each_other(board: Any) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board_json(board)["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not taken & cells
        assert place["x"] + place["w"] <= COLUMNS
        taken |= cells


def test_alerts_and_scraping_know_the_fleet_as_its_manifests_have_it() -> None:
    base = ROOT / "deploy" / "kubernetes" / "base" / "statefulset.yaml"
    fleet = next(each for each in yaml.safe_load_all(base.read_text()) if each["spec"])["spec"]
    pod = fleet["template"]
    ports = [port["name"] for port in pod["spec"]["containers"][0]["ports"]]
    job, brokers = yaml.safe_load((MONITORING / "scrape.yaml").read_text())["scrape_configs"]
    assert all(set(each["labels"]) == {"broker"} for each in brokers["static_configs"])
    of_app, of_port, *_ = job["relabel_configs"]
    assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == of_app["regex"]
    assert all(re.fullmatch(of_port["regex"], port) for port in ports)
    incomplete = next(each for each in alerts() if each["alert"] == "WebhookWorkerFleetIncomplete")
    assert incomplete["expr"].endswith(f" < {fleet['replicas'] * len(ports)}")
