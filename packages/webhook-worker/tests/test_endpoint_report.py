"""What operators are told of the endpoints."""

import logging

import pytest
from prometheus_client import CollectorRegistry

from webhook_worker.directory import BrokenEndpoint, EndpointProblem, Snapshot
from webhook_worker.endpoint import Endpoint, Limits
from webhook_worker.endpoint_report import EndpointReport, not_in_order
from webhook_worker.errors import DirectoryError
from webhook_worker.metrics import WebhookMetrics
from webhook_worker.signing import Secret
from webhook_worker.url import parse_url


def endpoint(endpoint_id: str, **fields: object) -> Endpoint:
    return Endpoint(
        id=endpoint_id,
        customer_id="acme",
        url=parse_url("https://hooks.example/"),
        secrets=(Secret(b"x" * 24),),
        **fields,  # type: ignore[arg-type]
    )


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def report(registry: CollectorRegistry) -> EndpointReport:
    return EndpointReport("endpoints.yaml", WebhookMetrics(registry), in_order=False)


SNAPSHOT = Snapshot(
    [endpoint("a"), endpoint("b", enabled=False), endpoint("c")],
    [
        BrokenEndpoint("d", "acme", None, enabled=True),
        BrokenEndpoint(None, "acme", None, enabled=True),
        BrokenEndpoint(None, None, None, enabled=True),
    ],
    [EndpointProblem(7, "url", "must begin with https:// or http://", "d")],
)


def test_endpoints_are_counted_by_state(
    report: EndpointReport, registry: CollectorRegistry
) -> None:
    report.loaded(SNAPSHOT)
    counts = {
        state: registry.get_sample_value("webhook_endpoints", {"state": state})
        for state in ("enabled", "disabled", "invalid")
    }
    assert counts == {"enabled": 2, "disabled": 1, "invalid": 3}


def test_each_problem_is_logged_with_its_line_and_field(
    report: EndpointReport, caplog: pytest.LogCaptureFixture
) -> None:
    report.loaded(SNAPSHOT)
    (warning,) = [line for line in caplog.records if line.levelno == logging.WARNING]
    problem = vars(warning)["problem"]
    assert problem == "line 7, endpoint d, url must begin with https:// or http://"


def test_a_flood_of_problems_is_cut_short(
    report: EndpointReport, caplog: pytest.LogCaptureFixture
) -> None:
    problems = [EndpointProblem(line, "url", "is missing") for line in range(500)]
    report.loaded(Snapshot(problems=problems))
    assert len(caplog.records) == 21
    assert caplog.records[-1].getMessage() == (
        "480 more problems: run webhook-worker endpoints check endpoints.yaml"
    )


def test_a_version_that_cannot_be_read_is_counted_and_logged_as_an_error(
    report: EndpointReport, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    report.loaded(SNAPSHOT)
    report.changed(DirectoryError("endpoints.yaml", "is no YAML", 3))
    assert registry.get_sample_value("webhook_endpoint_reload_failures_total") == 1
    assert registry.get_sample_value("webhook_endpoints", {"state": "enabled"}) == 2
    assert "endpoints.yaml, line 3: is no YAML" in caplog.records[-1].getMessage()
    assert caplog.records[-1].levelno == logging.ERROR


def test_order_that_is_wanted_and_not_kept_is_said_in_one_sentence() -> None:
    snapshot = Snapshot(
        [
            endpoint("a", limits=Limits(rate=5.0)),
            endpoint("b", limits=Limits(concurrency=2, rate=1.0)),
            endpoint("c", ordered="block"),
        ]
    )
    said = "not in order, since WEBHOOK_ORDERED_TOPIC is not set: endpoint c"
    assert not_in_order(snapshot, in_order=False) == said
    assert not_in_order(snapshot, in_order=True) is None
    assert not_in_order(SNAPSHOT, in_order=False) is None


def test_many_names_are_cut_short() -> None:
    many = Snapshot([endpoint(f"e{number}", ordered="park") for number in range(12)])
    sentence = not_in_order(many, in_order=False)
    assert sentence is not None
    assert sentence.endswith("e9 and 2 more")
