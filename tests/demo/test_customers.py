"""The demo's customers and their events."""

import json
import random
from collections import Counter
from datetime import UTC, datetime

from standardwebhooks import Webhook

from deploy.demo.customers import (
    SHARES,
    customer_of,
    demo_endpoints,
    endpoint_file,
    event_value,
    secrets_file,
)

ENDPOINTS = demo_endpoints(lambda count: bytes(range(count)))


def test_there_are_good_slow_and_failing_endpoints() -> None:
    assert {endpoint.manner for endpoint in ENDPOINTS} == {"ok", "slow", "fail"}
    assert {endpoint.customer_id for endpoint in ENDPOINTS} == set(SHARES)


def test_a_secret_is_one_that_the_public_library_takes() -> None:
    Webhook(ENDPOINTS[0].secret)


def test_the_workers_and_the_receiver_are_given_the_same_secrets() -> None:
    listed = json.loads(endpoint_file(ENDPOINTS, "http://127.0.0.1:1"))["endpoints"]
    verified_with = json.loads(secrets_file(ENDPOINTS))
    assert {entry["id"]: entry["secrets"] for entry in listed} == verified_with
    assert listed[0]["url"] == "http://127.0.0.1:1/ok/acme-orders"


def test_each_partition_has_events_of_every_customer_in_their_shares() -> None:
    for partition in (0, 7, 99):
        numbers = range(partition, 100 * 50, 100)
        seen = Counter(customer_of(number, 100) for number in numbers)
        assert seen == {"acme": 40, "bolt": 5, "cargo": 5}


def test_an_event_has_the_five_fields() -> None:
    value = event_value("evt-1", "acme", datetime(2026, 1, 2, tzinfo=UTC), random.Random(0))
    event = json.loads(value)
    assert sorted(event) == ["customer_id", "data", "id", "timestamp", "type"]
    assert event["timestamp"] == "2026-01-02T00:00:00+00:00"
