"""Sample events are events."""

import json
from datetime import UTC, datetime, timedelta, timezone

from webhook_worker.event import body, parse_event
from webhook_worker.sample import Sample, sample_value

NOON = datetime(2026, 1, 2, 12, 0, 0, 250_000, tzinfo=UTC)


def test_a_sample_is_an_event_with_its_data_as_written() -> None:
    sample = Sample(customer_id="acmé", type="order.paid", data='{ "total": 1.50 }')
    event = parse_event(sample_value(sample, "evt_1", NOON), 1_000_000)
    assert (event.id, event.type, event.customer_id) == ("evt_1", "order.paid", "acmé")
    assert event.data == b'{ "total": 1.50 }'
    assert json.loads(body(event))["timestamp"] == "2026-01-02T12:00:00.250000Z"


def test_the_time_is_told_in_utc() -> None:
    sample = Sample(customer_id="c", type="t", data="1")
    there = NOON.astimezone(timezone(timedelta(hours=5)))
    assert sample_value(sample, "e", there) == sample_value(sample, "e", NOON)
