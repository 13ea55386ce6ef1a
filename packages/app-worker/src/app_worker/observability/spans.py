"""One span for each call of a handler, in the trace that the record's headers tell of.

The only module that needs OpenTelemetry: it is loaded where a program has set that up.
"""

from collections.abc import Callable, Sequence

from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    StatusCode,
    TracerProvider,
    get_current_span,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app_worker.handler import DeadLetter, Done, Handler, Outcome, Park, SetsAside
from app_worker.record import Headers, Record

NO_OUTCOME = "HandlerFault"
"""The ``error.type`` of what is no outcome, as it is called in ``worker_handler_errors_total``."""


def traced(handler: Handler, group_id: str, provider: TracerProvider) -> Handler:
    """The same handler, whose calls for records of this group are spans.

    Spans hold no payload, no key, and of an exception its type alone.
    """
    made = _Traced(handler, group_id, provider)
    if isinstance(handler, SetsAside):
        made.set_aside = handler.set_aside
    return made


class _Traced:
    set_aside: Callable[[Record], Sequence[Outcome]]
    """Absent unless the handler has it, since its presence allows it."""

    def __init__(self, handler: Handler, group_id: str, provider: TracerProvider) -> None:
        self._handler = handler
        self._group_id = group_id
        self._tracer = provider.get_tracer("app_worker")

    async def handle(self, record: Record) -> Sequence[Outcome]:
        span = self._begin(record)
        with use_span(
            span, end_on_exit=True, record_exception=False, set_status_on_exception=False
        ):
            try:
                outcomes = await self._handler.handle(record)
            except BaseException as error:
                _tell(span, type(error).__name__)
                raise
            _tell(span, error_of(outcomes))
            return outcomes

    def _begin(self, record: Record) -> Span:
        sent = _PROPAGATOR.extract(record.headers, Context(), _HEADERS)
        links = []
        if record.attempts:
            # It comes back after up to a day: by then its first trace is over, and judged.
            origin = get_current_span(sent).get_span_context()
            sent, links = Context(), [Link(origin)] if origin.is_valid else []
        return self._tracer.start_span(
            f"process {record.topic}",
            context=sent,
            kind=SpanKind.CONSUMER,
            links=links,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
                "messaging.consumer.group.name": self._group_id,
            },
        )


class _HeadersGetter(Getter[Headers]):
    """Reads headers as Kafka has them: bytes, of any content."""

    def get(self, carrier: Headers, key: str) -> list[str] | None:
        found = [
            value.decode("ascii", "replace") for name, value in carrier if name == key and value
        ]
        return found or None

    def keys(self, carrier: Headers) -> list[str]:
        return [name for name, _ in carrier]


_HEADERS = _HeadersGetter()
_PROPAGATOR = TraceContextTextMapPropagator()


def error_of(outcomes: object) -> str | None:
    """The ``error.type`` of what a handler returned; None if nothing is owed any more.

    Of several outcomes the first dead letter gives its reason, else the first that is parked.
    """
    if not isinstance(outcomes, Sequence):
        return NO_OUTCOME
    if not all(isinstance(each, Done | Park | DeadLetter) for each in outcomes):
        return NO_OUTCOME
    for kind in (DeadLetter, Park):
        for each in outcomes:
            if isinstance(each, kind):
                return str(each.reason)
    return None


def _tell(span: Span, error: str | None) -> None:
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(StatusCode.ERROR)
