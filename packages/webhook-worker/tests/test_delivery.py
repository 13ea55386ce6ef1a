"""What becomes of a record, with a sender that follows a script."""

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence

import pytest
from prometheus_client import CollectorRegistry
from standardwebhooks import Webhook

from app_worker.delays import DelaySchedule
from app_worker.handler import DeadLetter, Done, Outcome, Park
from app_worker.record import Origin, Record
from app_worker.send_gate import GivenUpError, SendGate
from webhook_worker.announcement import Announcement
from webhook_worker.attempt import Answered, Attempt, Failed
from webhook_worker.delivery import UnknownCustomer, WebhookHandler
from webhook_worker.directory import BrokenEndpoint, Snapshot
from webhook_worker.endpoint import Endpoint, Limits
from webhook_worker.endpoint_state.judgement import Patience
from webhook_worker.endpoint_state.keeper import EndpointStates
from webhook_worker.endpoint_state.state import Disabled, EndpointState
from webhook_worker.event import parse_event
from webhook_worker.isolation.gate import Isolation
from webhook_worker.journal import Journal, Topics
from webhook_worker.metrics import WebhookMetrics
from webhook_worker.request import Check, Request
from webhook_worker.signing import Secret
from webhook_worker.url import parse_url

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SCHEDULE = DelaySchedule("webhook", ("5s", "5m"))
OK = Answered(200)
NOW = 1_700_000_000.0
HOUR_MS = 3_600_000
PATIENCE = Patience(HOUR_MS, 120 * HOUR_MS, 48 * HOUR_MS)
EVENT = {
    "id": "evt_1",
    "type": "order.paid",
    "customer_id": "acme",
    "timestamp": "2026-01-01T00:00:00Z",
    "data": {"total": 1},
}


def endpoint(endpoint_id: str, customer_id: str = "acme", **fields: object) -> Endpoint:
    secrets = (Secret.parse(SECRET),)
    url = parse_url(f"https://hooks.example/{endpoint_id}?token=hidden")
    return Endpoint(
        id=endpoint_id,
        customer_id=customer_id,
        url=url,
        secrets=secrets,
        **fields,  # type: ignore[arg-type]
    )


def record(
    value: bytes | None = None,
    *,
    delivery: str | None = None,
    attempts: int = 0,
    postponed: int = 0,
    **event: object,
) -> Record:
    return Record(
        topic="webhook",
        partition=3,
        offset=7,
        key=b"acme",
        value=json.dumps(EVENT | event).encode() if value is None else value,
        headers=(),
        timestamp_ms=int(NOW * 1000) - 2500,
        origin=Origin("webhook", 3, 7),
        delivery=delivery,
        attempts=attempts,
        postponed=postponed,
    )


class ScriptedSender:
    """Answers by the endpoint's path; records what it was given."""

    def __init__(self, answers: Mapping[str, Attempt] | None = None) -> None:
        self.answers = answers or {}
        self.requests: list[Request] = []
        self.at_once = 0
        self.most_at_once = 0

    async def attempt(self, request: Request, check: Check | None = None) -> Attempt:
        if check is not None:
            check()
        self.requests.append(request)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return self.answers.get(request.url.target.strip("/").split("?")[0], OK)


class Way:
    """A handler, its sender and its metrics."""

    def __init__(
        self,
        *endpoints: Endpoint,
        broken: Sequence[BrokenEndpoint] = (),
        answers: Mapping[str, Attempt] | None = None,
        unknown_customer: UnknownCustomer = "drop",
        in_order: bool = False,
        schedule: DelaySchedule = SCHEDULE,
    ) -> None:
        self.gate = SendGate()
        self.sender = ScriptedSender(answers)
        self.registry = CollectorRegistry()
        metrics = WebhookMetrics(self.registry)
        self.isolation = Isolation(100, 100, metrics, jitter=lambda: 0.0, waited=lambda: 0.0)
        self.states: dict[str, EndpointState] = {}
        self.written: list[tuple[str, bytes | None]] = []
        self.announced: list[Announcement] = []
        self.logged: list[tuple[bytes, bytes]] = []
        states = EndpointStates(
            lambda: self.states,
            lambda key, value: self.written.append((key, value)),
            self.announced.append,
            PATIENCE,
            metrics,
            now=lambda: self.now,
        )
        topics = Topics(self.announced.append, lambda key, line: self.logged.append((key, line)))
        self.now = NOW
        self.handler = WebhookHandler(
            Snapshot(endpoints, broken),
            self.sender,
            self.isolation,
            states,
            Journal(metrics, states, topics, now=lambda: self.now),
            schedule,
            metrics,
            max_event_bytes=1000,
            unknown_customer=unknown_customer,
            gate=self.gate,
            in_order=in_order,
            now=lambda: self.now,
        )

    async def outcomes(self, given: Record | None = None) -> list[Outcome]:
        return list(await self.handler.handle(record() if given is None else given))

    def counted(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


async def test_an_event_goes_to_every_endpoint_of_its_customer_that_wants_it() -> None:
    way = Way(
        endpoint("all"),
        endpoint("paid", event_types=frozenset({"order.paid"})),
        endpoint("other", event_types=frozenset({"order.sent"})),
        endpoint("off", enabled=False),
        endpoint("theirs", customer_id="bolt"),
    )
    assert await way.outcomes() == [Done("all"), Done("paid")]
    assert way.sender.most_at_once == 2
    assert way.counted("webhook_events_total", result="matched") == 1
    assert way.counted("webhook_attempts_total", outcome="2xx") == 2
    assert way.counted("webhook_attempt_seconds_count", outcome="2xx") == 2
    assert way.counted("webhook_end_to_end_seconds_sum") == pytest.approx(5.0)


async def test_what_is_sent_verifies_and_has_the_data_byte_for_byte() -> None:
    value = (
        b'{"id":"evt_1","type":"t","customer_id":"acme","timestamp":"2026-01-01T00:00:00Z",'
        b'"data": {"b":1.50, "a" : "\\u00e9"}}'
    )
    way = Way(endpoint("a"))
    way.handler._now = time.time
    assert await way.outcomes(record(value)) == [Done("a")]
    (request,) = way.sender.requests
    headers = {name.decode(): text.decode() for name, text in request.headers}
    Webhook(SECRET).verify(request.body, headers)
    assert headers["webhook-id"] == "evt_1"
    assert request.body == (
        b'{"type":"t","timestamp":"2026-01-01T00:00:00Z","data":{"b":1.50, "a" : "\\u00e9"}}'
    )


async def test_each_delivery_has_its_own_outcome() -> None:
    way = Way(
        endpoint("good"),
        endpoint("bad"),
        endpoint("gone"),
        answers={"bad": Failed("connect", "Connection refused"), "gone": Answered(410)},
    )
    assert await way.outcomes() == [
        Done("good"),
        Park("bad", 1, "5s", "connect", "connect: Connection refused"),
        DeadLetter("gone", 1, "gone", "status 410"),
    ]
    assert way.counted("webhook_attempts_total", outcome="connect") == 1
    assert way.counted("webhook_attempts_total", outcome="4xx") == 1


async def test_a_parked_record_is_about_its_one_delivery() -> None:
    way = Way(endpoint("a"), endpoint("b"))
    assert await way.outcomes(record(delivery="b", attempts=1)) == [Done("b")]
    assert len(way.sender.requests) == 1


async def test_a_parked_delivery_goes_on_through_the_schedule_and_is_exhausted() -> None:
    way = Way(endpoint("a"), answers={"a": Answered(500)})
    assert await way.outcomes(record(delivery="a", attempts=1)) == [
        Park("a", 2, "5m", "status", "status 500")
    ]
    assert await way.outcomes(record(delivery="a", attempts=2)) == [
        DeadLetter("a", 3, "exhausted", "status 500")
    ]


async def test_a_fault_of_ours_charges_a_parked_delivery_no_attempt() -> None:
    way = Way(endpoint("a"), answers={"a": Failed("internal", "no sockets", ours=True)})
    assert await way.outcomes(record(delivery="a", attempts=2, postponed=1)) == [
        Park("a", 2, "5m", "internal", "internal: no sockets", postponed=2)
    ]


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ((), "endpoint_gone"),
        ((endpoint("a", customer_id="bolt"),), "endpoint_gone"),
        ((endpoint("a", enabled=False),), "endpoint_disabled"),
    ],
)
async def test_a_parked_delivery_without_its_endpoint_is_a_dead_letter(
    known: Sequence[Endpoint], reason: str
) -> None:
    way = Way(*known)
    assert await way.outcomes(record(delivery="a", attempts=2)) == [DeadLetter("a", 2, reason)]
    assert not way.sender.requests


async def test_a_broken_entry_holds_up_only_its_own_deliveries() -> None:
    way = Way(endpoint("a"), broken=[BrokenEndpoint("b", "acme", None, enabled=True)])
    detail = "the endpoint's entry is wrong, so nothing was sent"
    assert await way.outcomes() == [Done("a"), Park("b", 1, "5s", "endpoint_invalid", detail)]
    assert await way.outcomes(record(delivery="b", attempts=1)) == [
        Park("b", 2, "5m", "endpoint_invalid", detail)
    ]
    assert await way.outcomes(record(delivery="b", attempts=2)) == [
        DeadLetter("b", 3, "exhausted", detail)
    ]


@pytest.mark.parametrize("known", [(), (endpoint("a"),), (endpoint("a"), endpoint("b"))])
async def test_what_is_due_to_an_entry_without_an_id_is_a_dead_letter_beside_the_others(
    known: Sequence[Endpoint],
) -> None:
    nameless = BrokenEndpoint(None, "acme", frozenset({"order.paid"}), enabled=True)
    way = Way(*known, broken=[nameless, nameless])
    detail = "an entry of the customer has no id of its own, so nothing can wait for its repair"
    assert await way.outcomes(record(attempts=0)) == [
        *(Done(each.id) for each in known),
        DeadLetter(None, 0, "endpoint_invalid", detail),
    ]
    assert way.counted("webhook_events_total", result="matched") == 1
    assert await way.outcomes(record(type="other")) == [Done(each.id) for each in known]


async def test_a_record_that_was_parked_as_a_whole_is_delivered_to_all() -> None:
    way = Way(endpoint("a"), endpoint("b"), answers={"b": Answered(500)})
    assert await way.outcomes(record(attempts=1)) == [
        Done("a"),
        Park("b", 2, "5m", "status", "status 500"),
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff\xfe", "not_utf8"),
        (b"{", "not_json"),
        (b"[]", "bad_shape"),
        (b'{"id":"a"}', "bad_shape"),
        (b" " * 1001, "too_large"),
        (json.dumps(EVENT | {"id": "a.b"}).encode(), "bad_id"),
    ],
)
async def test_a_record_that_is_no_event_is_a_dead_letter_with_its_reason(
    value: bytes, reason: str
) -> None:
    way = Way(endpoint("a"))
    (outcome,) = await way.outcomes(record(value))
    assert isinstance(outcome, DeadLetter)
    assert (outcome.delivery, outcome.reason) == (None, reason)
    assert way.counted("webhook_events_total", result=reason) == 1


async def test_a_tombstone_is_a_dead_letter() -> None:
    way = Way(endpoint("a"))
    empty = Record("webhook", 0, 0, b"k", None, (), 0, Origin("webhook", 0, 0))
    (outcome,) = await way.outcomes(empty)
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason == "tombstone"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("drop", []), ("dead-letter", [DeadLetter(None, 0, "unknown_customer")])],
)
async def test_an_unknown_customers_event_follows_the_setting_and_is_counted(
    setting: UnknownCustomer, expected: list[Outcome]
) -> None:
    way = Way(endpoint("a", customer_id="bolt"), unknown_customer=setting)
    assert await way.outcomes() == expected
    assert way.counted("webhook_events_total", result="unknown_customer") == 1


async def test_a_known_customers_event_that_nobody_wants_is_done_and_counted() -> None:
    way = Way(endpoint("a", event_types=frozenset({"other"})), unknown_customer="dead-letter")
    assert await way.outcomes() == []
    assert way.counted("webhook_events_total", result="no_endpoint") == 1


async def test_a_record_without_a_time_counts_no_end_to_end_time() -> None:
    way = Way(endpoint("a"))
    value = json.dumps(EVENT).encode()
    await way.outcomes(Record("webhook", 0, 0, None, value, (), -1, Origin("webhook", 0, 0)))
    assert way.counted("webhook_end_to_end_seconds_count") == 0


@pytest.mark.parametrize(
    ("attempt", "level", "said"),
    [
        (OK, "DEBUG", {"status": 200, "outcome": "delivered"}),
        (Answered(503), "INFO", {"status": 503, "outcome": "parked", "delay": "5s"}),
        (
            Failed("tls", "the handshake failed"),
            "INFO",
            {"failure": "tls", "detail": "the handshake failed", "ours": False},
        ),
        (Failed("internal", "no sockets", ours=True), "WARNING", {"ours": True}),
    ],
)
async def test_every_attempt_is_one_log_line_without_url_payload_and_secret(
    caplog: pytest.LogCaptureFixture, attempt: Attempt, level: str, said: dict[str, object]
) -> None:
    way = Way(endpoint("a"), answers={"a": attempt})
    with caplog.at_level(logging.DEBUG, "webhook_worker"):
        await way.outcomes()
    (line,) = caplog.records
    assert line.levelname == level
    fields = vars(line)
    assert said.items() <= fields.items()
    assert (fields["event"], fields["endpoint"], fields["attempt"]) == ("evt_1", "a", 1)
    everything = repr(fields)
    for hidden in ("hidden", "hooks.example", "whsec", "total"):
        assert hidden not in everything


async def test_a_success_costs_no_log_line_by_default(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "webhook_worker"):
        await Way(endpoint("a")).outcomes()
    assert not caplog.records


async def test_what_may_not_be_sent_now_is_parked_without_an_attempt() -> None:
    way = Way(
        endpoint("bad", limits=Limits(rate=0.5)),
        endpoint("good"),
        answers={"bad": Failed("timeout", "no answer within 15 s")},
    )
    await way.outcomes()
    assert await way.outcomes() == [
        Park("bad", 0, "5s", "rate_limited", "no attempt was made", 1),
        Done("good"),
    ]
    assert way.counted("webhook_postponed_total", reason="rate_limited") == 1
    assert len(way.sender.requests) == 3


async def test_after_an_attempt_a_delivery_is_postponed_no_longer() -> None:
    way = Way(endpoint("bad"), answers={"bad": Answered(503)})
    parked = record(delivery="bad", attempts=0)._replace(postponed=7)
    assert await way.outcomes(parked) == [Park("bad", 1, "5s", "status", "status 503")]


async def test_an_attempt_that_is_cancelled_gives_its_permit_back() -> None:
    way = Way(endpoint("a"))
    handling = asyncio.ensure_future(way.outcomes())
    await asyncio.sleep(0)
    handling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handling
    assert way.isolation.state()["places"] == 0


async def test_nothing_is_sent_to_an_endpoint_that_is_disabled_and_what_is_due_is_kept() -> None:
    way = Way(endpoint("a"), endpoint("b"))
    way.states["a"] = Disabled(0, "gone", "status 410")
    assert await way.handler.handle(record()) == [
        DeadLetter("a", 0, "endpoint_disabled", "gone: status 410"),
        Done("b"),
    ]
    assert await way.handler.handle(record(delivery="a", attempts=3)) == [
        DeadLetter("a", 3, "endpoint_disabled", "gone: status 410")
    ]
    assert len(way.sender.requests) == 1


async def test_410_disables_the_endpoint_for_the_whole_fleet_and_says_so() -> None:
    way = Way(endpoint("a"), answers={"a": Answered(410)})
    await way.handler.handle(record())
    await way.handler.handle(record())
    assert len(way.sender.requests) == 1
    ((key, value),) = way.written
    assert key == "a"
    assert json.loads(value or b"")["reason"] == "gone"
    (said,) = way.announced
    assert (said.type, said.customer_id) == ("endpoint.disabled", "acme")
    assert said.data == {"endpoint_id": "a", "reason": "gone", "detail": "status 410"}


async def test_an_endpoint_that_only_fails_is_suspected_then_announced_then_disabled() -> None:
    way = Way(endpoint("a"), answers={"a": Answered(404)})
    for hours in (0, 0.6, 1.2, 30, 60, 90, 119):
        way.now = NOW + hours * 3600
        await way.handler.handle(record())
    assert [said.type for said in way.announced] == ["endpoint.failing"]
    assert way.announced[0].data["disabled_at"] == "2023-11-19T22:13:20.000Z"
    way.now = NOW + 120 * 3600
    await way.handler.handle(record())
    assert [said.type for said in way.announced] == ["endpoint.failing", "endpoint.disabled"]
    assert way.announced[1].data["reason"] == "failing"
    assert len(way.written) <= 8


async def test_an_answer_of_2xx_ends_what_was_said_of_failing() -> None:
    way = Way(endpoint("a"), answers={"a": Answered(500)})
    for hours in (0, 0.6, 1.2):
        way.now = NOW + hours * 3600
        await way.handler.handle(record())
    way.sender.answers = {}
    way.now += 300  # The circuit lets one through.
    way.isolation = Isolation(100, 100, WebhookMetrics(CollectorRegistry()))
    way.handler._isolation = way.isolation
    await way.handler.handle(record())
    assert [said.type for said in way.announced] == ["endpoint.failing", "endpoint.recovered"]
    assert way.written[-1] == ("a", None)
    assert way.states == {}


async def test_a_fault_of_ours_says_nothing_of_the_endpoint() -> None:
    way = Way(endpoint("a"), answers={"a": Failed("internal", "no connection", ours=True)})
    for hours in (0, 2, 4, 200):
        way.now = NOW + hours * 3600
        await way.handler.handle(record())
    assert (way.written, way.announced) == ([], [])


async def test_a_delivery_that_is_given_up_is_announced_without_what_was_answered() -> None:
    way = Way(endpoint("a"), answers={"a": Answered(500, body_start=b"their text")})
    await way.handler.handle(record(delivery="a", attempts=2))
    (said,) = way.announced
    assert (said.type, said.customer_id) == ("message.exhausted", "acme")
    assert said.data == {
        "endpoint_id": "a",
        "event_id": "evt_1",
        "event_type": "order.paid",
        "attempts": 3,
        "last": "status 500",
    }


async def test_an_operational_event_that_is_given_up_is_not_announced() -> None:
    way = Way(endpoint("a"), answers={"a": Answered(500)})
    await way.handler.handle(record(delivery="a", attempts=2, type="message.exhausted"))
    assert way.announced == []


async def test_an_operational_event_is_an_event_that_can_be_delivered() -> None:
    way = Way(endpoint("a"), answers={"a": Answered(410)})
    await way.handler.handle(record())
    event = parse_event(way.announced[0].value(), 10_000)
    assert (event.type, event.customer_id) == ("endpoint.disabled", "acme")
    other = Way(endpoint("b"))
    assert await other.handler.handle(record(way.announced[0].value())) == [Done("b")]


async def test_each_attempt_is_a_line_of_the_log_without_url_payload_and_answer() -> None:
    answers: dict[str, Attempt] = {
        "b": Answered(503, body_start=b"their text"),
        "c": Failed("timeout", "15 s"),
    }
    way = Way(endpoint("a"), endpoint("b"), endpoint("c"), answers=answers)
    await way.handler.handle(record())
    lines = {key: json.loads(line) for key, line in way.logged}
    assert lines[b"a"] | {"seconds": 0} == {
        "at_ms": int(NOW * 1000),
        "event": "evt_1",
        "type": "order.paid",
        "customer": "acme",
        "endpoint": "a",
        "attempt": 1,
        "seconds": 0,
        "status": 200,
        "outcome": "delivered",
        "origin": "webhook:3:7",
    }
    assert (lines[b"b"]["status"], lines[b"b"]["outcome"], lines[b"b"]["delay"]) == (
        *(503, "parked"),
        "5s",
    )
    assert (lines[b"c"]["failure"], lines[b"c"]["ours"]) == ("timeout", False)
    text = repr(way.logged)
    assert not [word for word in ("hidden", "total", "their", "hooks") if word in text]


@pytest.mark.parametrize("endpoints", [1, 3])
async def test_a_record_that_others_may_have_is_sent_nowhere_and_nothing_is_said_of_it(
    endpoints: int,
) -> None:
    way = Way(*(endpoint(f"e{number}") for number in range(endpoints)))
    given = record()
    way.gate.ask(given, lambda _: False)
    with pytest.raises((GivenUpError, ExceptionGroup)) as raised:
        await way.outcomes(given)
    error = raised.value
    if isinstance(error, ExceptionGroup):
        assert error.subgroup(GivenUpError) is not None
    assert way.sender.requests == []
    assert not way.logged
    assert not way.announced
    assert not way.written
    assert way.isolation.state()["places"] == 0
    way.gate.forget(given)
    assert await way.outcomes(given)
