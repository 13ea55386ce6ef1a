"""Spans of a handler's calls, as the SDK's exporter gets them."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from scripted.bench import A, Bench, soon
from scripted.handler import ScriptedHandler

from app_worker.handler import DeadLetter, Done, Outcome, Park, SetsAside
from app_worker.observability.spans import traced
from app_worker.record import Origin, Record
from app_worker.worker import _traced

TRACE, SENDER = 0x1111111111111111AAAAAAAAAAAAAAAA, 0x2222222222222222
PARENT = b"00-1111111111111111aaaaaaaaaaaaaaaa-2222222222222222-01"
SENT = (("traceparent", PARENT), ("tracestate", b"vendor=1"), ("mine", b"secret"))


class Exported:
    """What was exported, and a provider that exports it at once."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    @property
    def span(self) -> ReadableSpan:
        (only,) = self.spans
        return only


@pytest.fixture
def exported() -> Exported:
    return Exported()


def record(headers: Any = SENT, attempts: int = 0) -> Record:
    origin = Origin("names", 3, 17)
    topic = "names.retry.5s" if attempts else "names"
    return Record(topic, 3, 17, b"key", b"value", headers, 7, origin, attempts=attempts)


class Returning:
    """Returns this, or raises it."""

    def __init__(self, outcome: Any) -> None:
        self._outcome = outcome
        self.current: list[trace.SpanContext] = []

    async def handle(self, _: Record) -> Sequence[Outcome]:
        self.current.append(trace.get_current_span().get_span_context())
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome  # type: ignore[no-any-return]


class Patient(ScriptedHandler):
    """Allows that its records are set aside."""

    def set_aside(self, record: Record) -> Sequence[Outcome]:
        return [Done(str(record.offset))]


async def test_a_call_is_a_span_in_the_trace_that_the_record_came_with(exported: Exported) -> None:
    handler = Returning([Done()])
    assert await traced(handler, "group", exported.provider).handle(record()) == [Done()]
    span = exported.span
    assert (span.name, span.kind) == ("process names", trace.SpanKind.CONSUMER)
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id) == (TRACE, SENDER)
    assert span.context.trace_id == TRACE
    assert span.context.trace_state.to_header() == "vendor=1"
    assert dict(span.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "names",
        "messaging.destination.partition.id": "3",
        "messaging.kafka.offset": 17,
        "messaging.consumer.group.name": "group",
    }
    assert span.status.status_code is trace.StatusCode.UNSET
    # What the handler does in between is part of it.
    assert [each.span_id for each in handler.current] == [span.context.span_id]
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_parked_record_has_a_trace_of_its_own_that_links_to_where_it_was_sent(
    exported: Exported,
) -> None:
    await traced(Returning([Done()]), "group", exported.provider).handle(record(attempts=1))
    span = exported.span
    assert span.parent is None
    assert span.context.trace_id != TRACE
    assert [(each.context.trace_id, each.context.span_id) for each in span.links] == [
        (TRACE, SENDER)
    ]
    assert span.name == "process names.retry.5s"


async def test_without_a_trace_a_span_begins_one_and_links_to_nothing(exported: Exported) -> None:
    for attempts in (0, 1):
        await traced(Returning([]), "group", exported.provider).handle(record((), attempts))
    assert [(span.parent, list(span.links)) for span in exported.spans] == [(None, [])] * 2


@pytest.mark.parametrize(
    ("returned", "error"),
    [
        ([], None),
        ([Done("a"), Done("b")], None),
        ([Done("a"), Park("b", 1, "5s", "status")], "status"),
        ([Park("a", 1, "5s", "status"), DeadLetter("b", 3, "exhausted")], "exhausted"),
        (None, "HandlerFault"),
        (17, "HandlerFault"),
        (["done"], "HandlerFault"),
        (KeyError("secret"), "KeyError"),
        (asyncio.CancelledError("secret"), "CancelledError"),
    ],
)
async def test_the_status_follows_from_what_became_of_the_record_and_shows_no_values(
    returned: Any, error: str | None, exported: Exported
) -> None:
    handler = traced(Returning(returned), "group", exported.provider)
    if isinstance(returned, BaseException):
        with pytest.raises(type(returned)):
            await handler.handle(record())
    else:
        assert await handler.handle(record()) is returned
    span = exported.span
    assert (span.attributes or {}).get("error.type") == error
    failed = trace.StatusCode.ERROR if error else trace.StatusCode.UNSET
    assert (span.status.status_code, span.status.description) == (failed, None)
    assert not span.events
    assert "secret" not in span.to_json()


def test_who_allows_that_a_record_is_set_aside_still_does_and_no_other(exported: Exported) -> None:
    patient = traced(Patient(), "group", exported.provider)
    assert isinstance(patient, SetsAside)
    assert patient.set_aside(record()) == [Done("17")]
    assert not isinstance(traced(ScriptedHandler(), "group", exported.provider), SetsAside)


names = st.sampled_from(["traceparent", "tracestate", "mine"])
values = st.none() | st.binary(max_size=80) | st.just(PARENT) | st.just(b"a=1,b=2")


@given(st.lists(st.tuples(names, values), max_size=6), st.integers(0, 2))
def test_whatever_stands_in_the_headers_the_handler_is_called_within_one_span(
    headers: list[tuple[str, bytes | None]], attempts: int
) -> None:
    exported, handler = Exported(), Returning([Done()])
    asyncio.run(traced(handler, "group", exported.provider).handle(record(headers, attempts)))
    assert [each.span_id for each in handler.current] == [exported.span.context.span_id]


@pytest.mark.looptime
async def test_records_in_work_at_a_time_have_a_span_each_and_park_the_trace_with_the_record(
    exported: Exported,
) -> None:
    bench = Bench()
    bench.handler.hold(0, 0)
    bench.handler.outcomes = lambda one: [Park(None, 1, "5s", "status")]
    bench.controller._execution._handler = traced(bench.handler, "group", exported.provider)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, headers=SENT)
        bench.consumer.append(A, 1)
        await bench.consumer.assign(A)
        await soon()
        assert exported.span.context.trace_id != TRACE
        bench.handler.let_go(0, 0)
        await soon()
    assert exported.spans[1].context.trace_id == TRACE
    (_, second), (_, first) = bench.producer.stored
    assert (first["traceparent"], first["tracestate"]) == (PARENT, b"vendor=1")
    assert "traceparent" not in second


def test_a_worker_loads_nothing_of_it_by_itself() -> None:
    program = (
        "import sys, app_worker; sys.exit(any('opentelemetry' in each for each in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("loaded", [False, True])
def test_a_handler_stays_as_it_is_unless_a_provider_was_set(
    loaded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not loaded:
        monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    handler = ScriptedHandler()
    assert _traced(handler, "group") is handler


def test_a_handler_is_traced_where_a_provider_was_set(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: exported.provider)
    asyncio.run(_traced(Returning([Done()]), "group").handle(record()))
    assert exported.span.name == "process names"
