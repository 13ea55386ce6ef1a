"""A worker process as a whole: what starts before what, and how it ends."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry

from app_worker.admission import Admission, Source
from app_worker.clients import connected
from app_worker.controller import Controller, ControllerSettings, Subscription
from app_worker.delays import DelaySchedule
from app_worker.ending import Closing
from app_worker.errors import MetricsPortError
from app_worker.handler import Handler
from app_worker.handover.needs import Words
from app_worker.handover_topic.kept import Asked, kept_words, mode_state
from app_worker.lanes import Lanes
from app_worker.lifecycle import stop_signals
from app_worker.observability.group_metrics import GroupMetrics
from app_worker.observability.http_server import HttpServer
from app_worker.observability.loop_lag import watch_loop_lag
from app_worker.observability.metrics import WorkerMetrics
from app_worker.observability.readiness import Readiness
from app_worker.observability.task_stacks import shown_on_request
from app_worker.observability.watchdog import watchdog
from app_worker.offset_map import Scope
from app_worker.ordered_lane import OrderedLanes
from app_worker.parked_headers import KafkaRecord, fresh, unpark, unqueue
from app_worker.parking import Parking
from app_worker.positions import committed_in
from app_worker.record import Record
from app_worker.renewable_producer import RenewableProducer
from app_worker.send_gate import SendGate
from app_worker.settings import (
    ORDERED_GROUP_SUFFIX,
    RETRY_GROUP_SUFFIX,
    KafkaSettings,
    WorkerSettings,
)
from app_worker.settled_heap import settled_heap
from app_worker.share import Share
from app_worker.startup import Seen, cluster_of, wait_for_topics
from kafka_utils import GroupError, create_consumer, create_producer

EXIT_STOPPED = 0
EXIT_CRASHED = 1
EXIT_MISCONFIGURED = 2

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """What the layer above wants worked on."""

    topic: str
    schedule: DelaySchedule
    dead_letter_topic: str
    needed_topics: tuple[str, ...]
    """Topics that must exist before anything starts."""
    create_command: str
    """The command that creates them, to be shown when they are missing."""
    retries: bool = True
    """Whether this process also reads the delay topics."""
    ordered_topic: str | None = None
    """Where deliveries are made one after the other for each key; None if there are none."""
    share: Share = field(default_factory=Share)
    """Says, from before it joins, what part of the topic's partitions it owns."""
    readiness: Readiness = field(default_factory=Readiness)
    """Of this process: a handler that waits while it is entered tells it what for."""
    seen: Seen = field(default_factory=Seen)
    """By this process, of its cluster."""
    gate: SendGate = field(default_factory=SendGate)
    """Of this process: a handler asks it right before a request that acts on the world."""


class _OfSource(NamedTuple):
    """How the records of a source are consumed."""

    group_suffix: str
    read: Callable[[KafkaRecord], Record]


_OF_SOURCE = {
    Source.FRESH: _OfSource("", fresh),
    Source.PARKED: _OfSource(RETRY_GROUP_SUFFIX, unpark),
    Source.ORDERED: _OfSource(ORDERED_GROUP_SUFFIX, unqueue),
}


class Member(NamedTuple):
    """This process in one consumer group."""

    group_id: str
    controller: Controller
    subscription: Subscription


async def run_worker(
    plan: WorkerPlan,
    kafka: KafkaSettings,
    worker: WorkerSettings,
    handler: AbstractAsyncContextManager[Handler],
    registry: CollectorRegistry,
) -> int:
    """Work until a stop signal; return the exit code: 0 stopped, 1 crashed, 2 port not to be had.

    Whatever the end, everything that was started is stopped, in the opposite order. The handler is
    entered before any connection to Kafka and left after the last one.
    """
    asyncio.get_running_loop().set_exception_handler(_log_stray)
    closing = Closing()
    with watchdog(worker.watchdog_seconds), shown_on_request(), stop_signals() as stop:
        try:
            async with AsyncExitStack() as stack:
                worker_parts = _Worker(plan, kafka, worker, registry, stack)
                await worker_parts.show_health()
                ready_handler = await _entered(stack, handler, stop)
                if ready_handler is None:
                    return EXIT_STOPPED
                stack.push(closing.begin)
                members = await _unless(stop, worker_parts.connect(ready_handler))
                if members is not None:
                    await _take_part(members, worker_parts.readiness, stop)
        except MetricsPortError as error:
            _log.critical("%s", error)
            return EXIT_MISCONFIGURED
        except GroupError:
            return EXIT_CRASHED  # It was said when it came, before the others were left.
        except Exception:
            _log.critical("crashed", exc_info=True)
            return EXIT_CRASHED
        finally:
            closing.over()
    _log.info("stopped")
    return EXIT_STOPPED


class _Worker:
    """Builds the parts of one process; ``stack`` closes what it opens."""

    def __init__(
        self,
        plan: WorkerPlan,
        kafka: KafkaSettings,
        worker: WorkerSettings,
        registry: CollectorRegistry,
        stack: AsyncExitStack,
    ) -> None:
        self.readiness = plan.readiness
        self._plan = plan
        self._kafka = kafka
        self._worker = worker
        self._registry = registry
        self._stack = stack
        self._metrics = WorkerMetrics(registry)
        self._metrics.tell_build(kafka.assignor)
        self._limits = Admission(worker.max_in_flight, worker.max_in_flight_bytes)
        self._members: list[Member] = []
        self._words: Words | None = None

    def _state(self) -> dict[str, object]:
        limits = self._limits
        return {
            "pid": os.getpid(),
            "unready": self.readiness.reason,
            "in_flight": limits.in_flight,
            "in_flight_bytes": limits.bytes_in_flight,
            "max_in_flight": limits.max_records,
            "max_in_flight_bytes": limits.max_bytes,
            "handover": None if self._words is None else mode_state(self._words.mode),
            "groups": {each.group_id: each.controller.state() for each in self._members},
        }

    async def show_health(self) -> None:
        """Serve metrics and health from now on, and keep the readiness file if one is wanted."""
        worker, readiness = self._worker, self.readiness
        server = HttpServer(worker.port, self._registry, lambda: readiness.reason, self._state)
        await self._stack.enter_async_context(server)
        background = [watch_loop_lag(self._metrics.event_loop_lag.set)]
        if worker.ready_dir:
            file = worker.ready_dir / f"ready.{worker.process_index}"
            background.append(readiness.keep_file(file))
        await self._stack.enter_async_context(_in_background(*background))

    async def connect(self, handler: Handler) -> list[Member]:
        """Wait for the brokers and topics, then connect; no group is joined yet."""
        plan, index = self._plan, self._worker.process_index
        cluster = await wait_for_topics(
            plan.needed_topics,
            plan.create_command,
            partial(cluster_of, partial(self._kafka.admin, index)),
            self.readiness.not_yet,
            plan.seen,
        )
        # Or what is parked would be worked on, until the first assignment, as if nobody else did.
        plan.share.set(0, cluster.topics.get(plan.topic, 0))
        config = self._kafka.producer_config(index)
        producer = await self._stack.enter_async_context(
            connected(lambda: RenewableProducer(lambda: create_producer(config)))
        )
        asked = Asked(
            topic=plan.topic,
            create_command=plan.create_command,
            kafka=self._kafka,
            worker=self._worker,
        )
        self._words = await self._stack.enter_async_context(kept_words(asked, self._metrics))
        parking = Parking(
            producer,
            plan.schedule,
            plan.dead_letter_topic,
            self._metrics,
            ordered_topic=plan.ordered_topic,
        )
        sources: dict[Source, tuple[str, ...]] = {Source.FRESH: (plan.topic,)}
        delayed = plan.schedule.among(cluster.topics)
        if plan.retries and delayed:
            sources[Source.PARKED] = delayed
        if plan.ordered_topic:
            sources[Source.ORDERED] = (plan.ordered_topic,)
        for source, read in sources.items():
            member = await self._member(source, read, handler, parking, cluster.cluster_id)
            self._members.append(member)
        return self._members

    async def _member(
        self,
        source: Source,
        topics: tuple[str, ...],
        handler: Handler,
        parking: Parking,
        cluster_id: str,
    ) -> Member:
        kafka, worker, of_source = self._kafka, self._worker, _OF_SOURCE[source]
        fresh_ones, in_order = source is Source.FRESH, source is Source.ORDERED
        config = kafka.consumer_config(
            of_source.group_suffix,
            process_index=worker.process_index,
            revoke_timeout_ms=worker.drain_timeout_ms,
        )
        events = GroupMetrics(self._metrics, config.group_id, config.session_timeout_ms)
        controller = Controller(
            consumer=await self._stack.enter_async_context(
                connected(lambda: create_consumer(config, events))
            ),
            committed=partial(
                committed_in, config.group_id, partial(kafka.admin, worker.process_index)
            ),
            handler=_traced(handler, config.group_id),
            parking=parking,
            limits=self._limits,
            settings=ControllerSettings(
                source=source,
                handler_timeout_seconds=worker.handler_timeout_seconds,
                drain_timeout_seconds=worker.drain_timeout_seconds,
                # Only fresh records may be left out: what we have stored is still owed.
                auto_offset_reset=kafka.auto_offset_reset if fresh_ones else "earliest",
                max_poll_records=kafka.max_poll_records,
            ),
            metrics=self._metrics,
            scope=Scope(cluster_id, config.group_id),
            read=of_source.read,
            share=self._plan.share if fresh_ones else None,
            # A new owner would begin what stands behind a record in flight: they are drained.
            words=None if in_order else self._words,
            gate=self._plan.gate,
            lanes=OrderedLanes(config.group_id, self._metrics) if in_order else Lanes(),
        )
        return Member(config.group_id, controller, Subscription(topics=topics))


def _traced(handler: Handler, group_id: str) -> Handler:
    """The same, with a span for each call where this program has set up OpenTelemetry.

    Whoever has set it up has loaded it: where it is not loaded it need not even be installed.
    """
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return handler
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        return handler  # A library has loaded it, and nobody wants spans.
    from app_worker.observability.spans import traced

    _log.info("calls of the handler are traced", extra={"group": group_id})
    return traced(handler, group_id, provider)


async def _take_part(members: Sequence[Member], readiness: Readiness, stop: asyncio.Event) -> None:
    """Work in all groups until ``stop``, or until one fails: then leave the others in order too."""
    runs = [asyncio.create_task(each.controller.run(each.subscription)) for each in members]
    stopping = asyncio.create_task(stop.wait())
    async with _in_background(_tell_when_joined(members, readiness)):
        await asyncio.wait([*runs, stopping], return_when=asyncio.FIRST_COMPLETED)
        readiness.stopping()
        for member in members:
            member.controller.stop()
        errors = await asyncio.gather(*map(_end_of, members, runs))
    stopping.cancel()
    for error in errors:
        if error is not None:
            raise error


async def _end_of(member: Member, run: asyncio.Task[None]) -> BaseException | None:
    """Wait until it is over; if it failed, tell of it at once, and return the error."""
    await asyncio.wait([run])
    error = run.exception()
    if error is not None:
        _tell_of_failure(member, error)
    return error


def _tell_of_failure(member: Member, error: BaseException) -> None:
    detail = {"group": member.group_id}
    if isinstance(error, GroupError):
        # A sentence that says what to do. Where in the code it was found out helps nobody.
        _log.critical("%s", error, extra=detail)
    else:
        _log.critical("working failed for good", exc_info=error, extra=detail)


async def _tell_when_joined(members: Sequence[Member], readiness: Readiness) -> None:
    """Go through the start, and see to what follows it until cancelled."""
    for member in members:
        readiness.not_yet(f"joining group {member.group_id}")
        await member.controller.joined.wait()
        _log.info("joined", extra={"group": member.group_id})
    readiness.ready()
    with settled_heap():
        await asyncio.Event().wait()


async def _entered(
    stack: AsyncExitStack, handler: AbstractAsyncContextManager[Handler], stop: asyncio.Event
) -> Handler | None:
    """Enter it, in this very task, since it may hold task groups; None if ``stop`` came first."""

    async def give_up() -> None:
        await stop.wait()
        patience.reschedule(asyncio.get_running_loop().time())

    try:
        async with _in_background(give_up()), asyncio.timeout(None) as patience:
            return await stack.enter_async_context(handler)
    except TimeoutError:
        if not stop.is_set():
            raise
        return None


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of ``work``; None if ``stop`` came first: then it is cancelled."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        await asyncio.wait([working])
    return None if working.cancelled() else working.result()


@asynccontextmanager
async def _in_background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Within the block, let these run; afterwards they are cancelled."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _log_stray(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an exception that nobody waits for; asyncio itself would also print its values."""
    _log.error("%s", context["message"], exc_info=context.get("exception"))
