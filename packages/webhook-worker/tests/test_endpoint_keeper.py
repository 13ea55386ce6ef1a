"""What a process remembers of endpoints that fail, however many they are."""

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from webhook_worker.endpoint import Endpoint
from webhook_worker.endpoint_state import keeper
from webhook_worker.endpoint_state.judgement import Patience
from webhook_worker.endpoint_state.keeper import EndpointStates
from webhook_worker.endpoint_state.state import EndpointState
from webhook_worker.endpoint_state.table import word_for
from webhook_worker.metrics import WebhookMetrics
from webhook_worker.url import parse_url

MINUTE = 60.0
PATIENCE = Patience(3_600_000, 5 * 86_400_000, 2 * 86_400_000)


def endpoint(name: str) -> Endpoint:
    return Endpoint(id=name, customer_id="acme", url=parse_url("https://a.test/"), secrets=())


def keeper_of(states: dict[str, EndpointState], now: Callable[[], float]) -> EndpointStates:
    return EndpointStates(
        lambda: states,
        lambda *_: None,
        lambda _: None,
        PATIENCE,
        WebhookMetrics(CollectorRegistry()),
        now=now,
    )


def test_of_more_failing_endpoints_than_are_remembered_all_are_disabled_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "MOST_STREAKS", 10)
    now = [1_800_000_000.0]
    states: dict[str, EndpointState] = {}
    kept = keeper_of(states, lambda: now[0])
    endpoints = [endpoint(f"e{number}") for number in range(25)]
    for _ in range(6 * 24 * 6):
        now[0] += 10 * MINUTE
        for each in endpoints:
            kept.failed(each, "status 500")
    assert {word_for(state) for state in states.values()} == {"disabled"}
    assert len(states) == 25


def test_endpoints_that_fail_no_longer_hold_no_place_of_those_that_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "MOST_STREAKS", 10)
    now = [1_800_000_000.0]
    states: dict[str, EndpointState] = {}
    kept = keeper_of(states, lambda: now[0])
    for number in range(10):
        kept.failed(endpoint(f"once{number}"), "status 500")
    for _ in range(12):
        now[0] += 10 * MINUTE
        kept.failed(endpoint("e"), "status 500")
    now[0] += 60 * MINUTE
    kept.failed(endpoint("e"), "status 500")
    assert word_for(states["e"]) == "failing"
