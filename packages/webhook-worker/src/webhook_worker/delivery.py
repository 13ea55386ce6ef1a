"""The way of a record: its event, the endpoints, and each delivery's attempt and outcome."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, Protocol

from app_worker.delays import DelaySchedule
from app_worker.handler import DeadLetter, Enqueue, Outcome
from app_worker.record import Record
from app_worker.send_gate import SendGate
from webhook_worker.attempt import Answered, Attempt
from webhook_worker.attempt_log import AttemptMade
from webhook_worker.directory import Directory
from webhook_worker.endpoint import Endpoint
from webhook_worker.endpoint_state.keeper import EndpointStates
from webhook_worker.errors import BadEventError
from webhook_worker.event import Event, body, parse_event
from webhook_worker.isolation.gate import Isolation, Refusal
from webhook_worker.journal import Journal
from webhook_worker.metrics import WebhookMetrics
from webhook_worker.order import LineOrder
from webhook_worker.outcome import done, outcome_of, park_or_give_up, postpone
from webhook_worker.request import Check, Request, build

UnknownCustomer = Literal["drop", "dead-letter"]

_log = logging.getLogger(__name__)


class Attempts(Protocol):
    """What makes an attempt; the Sender does."""

    async def attempt(self, request: Request, check: Check | None = None) -> Attempt:
        """Send ``request`` and return what came back.

        Raises nothing but a cancellation, and what ``check`` raises right before the first byte.
        """
        ...


class WebhookHandler:
    """Handles records that hold events; app_worker's Handler.

    A record becomes a validated event, which finds its customer's endpoints. Each (event, endpoint)
    is a delivery: a signed request, an attempt, an outcome. A parked record is about one of them.
    """

    def __init__(
        self,
        directory: Directory,
        sender: Attempts,
        isolation: Isolation,
        states: EndpointStates,
        journal: Journal,
        schedule: DelaySchedule,
        metrics: WebhookMetrics,
        *,
        max_event_bytes: int,
        unknown_customer: UnknownCustomer = "drop",
        gate: SendGate | None = None,
        in_order: bool = False,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``gate`` is asked right before each request; ``in_order`` says whether there is an
        ordered topic. ``now`` gives unix seconds, ``chance`` a number from 0 to 1 (excluded)."""
        self._directory = directory
        self._sender = sender
        self._isolation = isolation
        self._states = states
        self._journal = journal
        self._schedule = schedule
        self._metrics = metrics
        self._max_event_bytes = max_event_bytes
        self._unknown_customer = unknown_customer
        self._gate = gate or SendGate()
        self._line = LineOrder(schedule) if in_order else None
        self._told_not_in_order = False
        self._now = now
        self._chance = chance

    async def handle(self, record: Record) -> Sequence[Outcome]:
        """The outcomes of all deliveries that the record is about."""
        try:
            event = parse_event(record.value, self._max_event_bytes)
        except BadEventError as error:
            return [self._no_event(record, error)]
        if record.delivery is not None:
            if record.delivery in record.enqueued:
                return []
            return [await self._deliver_one(record, event, record.delivery)]
        return await self._deliver_fresh(record, event)

    async def _deliver_fresh(self, record: Record, event: Event) -> Sequence[Outcome]:
        endpoints = self._directory.endpoints_for(event.customer_id, event.type)
        if self._line is not None and endpoints:
            queued = self._to_be_put_in_line(self._line, record, endpoints)
            if queued:
                return queued
            endpoints = tuple([each for each in endpoints if each.id not in record.enqueued])
        broken = self._directory.broken_for(event.customer_id, event.type)
        if not endpoints and not broken and not record.enqueued:
            return self._nobody_wants(record, event)
        self._metrics.saw_event("matched")
        content = body(event)
        if len(endpoints) == 1 and not broken:
            return [await self._deliver(record, event, content, endpoints[0])]
        waiting = [self._wait_for_repair(record, event, endpoint_id) for endpoint_id in broken]
        async with asyncio.TaskGroup() as deliveries:
            tasks = [
                deliveries.create_task(self._deliver(record, event, content, endpoint))
                for endpoint in endpoints
            ]
        return [*(task.result() for task in tasks), *waiting]

    def _to_be_put_in_line(
        self, line: LineOrder, record: Record, endpoints: Sequence[Endpoint]
    ) -> Sequence[Outcome]:
        """Before anything is waited for, so that they come into line in the order of the log."""
        if record.key is None and any(each.ordered for each in endpoints):
            self._metrics.without_key.inc()
        return [Enqueue(each.id) for each in endpoints if line.belongs_in_line(record, each)]

    async def _deliver_one(self, record: Record, event: Event, endpoint_id: str) -> Outcome:
        endpoint = self._directory.get(endpoint_id)
        if endpoint is None and self._directory.is_broken(endpoint_id):
            return self._wait_for_repair(record, event, endpoint_id)
        if endpoint is None or endpoint.customer_id != event.customer_id:
            return DeadLetter(endpoint_id, record.attempts, "endpoint_gone")
        if not endpoint.enabled:
            return DeadLetter(endpoint_id, record.attempts, "endpoint_disabled")
        if self._line is not None and self._line.belongs_in_line(record, endpoint):
            return Enqueue(endpoint_id)
        return await self._deliver(record, event, body(event), endpoint)

    async def _deliver(
        self, record: Record, event: Event, content: bytes, endpoint: Endpoint
    ) -> Outcome:
        if why := self._states.why_disabled(endpoint.id):
            return DeadLetter(endpoint.id, record.attempts, "endpoint_disabled", why)
        permit = await self._isolation.enter(endpoint)
        if isinstance(permit, Refusal):
            return self._postpone(record, event, endpoint, permit)
        if endpoint.ordered and self._line is None:
            self._tell_not_in_order(endpoint)
        attempt = None
        began = time.monotonic()
        try:
            request = build(content, event.id, endpoint, self._now())
            attempt = await self._sender.attempt(request, partial(self._gate.check, record))
        finally:
            self._isolation.leave(permit, attempt)
        seconds = time.monotonic() - began
        attempts = record.attempts + 1
        outcome: Outcome
        if isinstance(attempt, Answered) and attempt.is_success:
            outcome = done(endpoint.id)  # whatever order it is to be kept in
            if not self._journal.tells_of_each:
                self._journal.delivered(record, endpoint, seconds)
                return outcome
        else:
            outcome = self._not_delivered(record, endpoint, attempts, attempt)
        self._journal.made(
            AttemptMade(record, event, endpoint, attempts, attempt, outcome, seconds)
        )
        return outcome

    def _not_delivered(
        self, record: Record, endpoint: Endpoint, attempts: int, attempt: Attempt
    ) -> Outcome:
        line = self._line if record.queued_ms and endpoint.ordered == "block" else None
        schedule = line.schedule if line else self._schedule
        charged = attempts if line else self._attempts_outside(record, attempts)
        outcome = outcome_of(attempt, endpoint.id, charged, schedule, postponed=record.postponed)
        return line.kept(outcome, record, self._now()) if line else outcome

    def _postpone(
        self, record: Record, event: Event, endpoint: Endpoint, refusal: Refusal
    ) -> Outcome:
        self._metrics.postponed.labels(refusal.reason).inc()
        _log.debug(
            "postponed",
            extra={"event": event.id, "endpoint": endpoint.id, "reason": refusal.reason},
        )
        line = self._line if record.queued_ms and endpoint.ordered == "block" else None
        charged = record.attempts if line else self._attempts_outside(record, record.attempts)
        outcome: Outcome = postpone(
            endpoint.id,
            record._replace(attempts=charged),
            self._schedule,
            refusal.reason,
            refusal.seconds,
            self._chance(),
        )
        if line:
            outcome = line.kept(outcome, record, self._now(), refusal.seconds)
        self._journal.given_up(event, outcome, refusal.reason)
        return outcome

    def _tell_not_in_order(self, endpoint: Endpoint) -> None:
        """Wherever endpoints come from: only a file is looked through as it is read."""
        self._metrics.not_in_order.inc()
        if not self._told_not_in_order:
            self._told_not_in_order = True
            _log.warning(
                "not in order, since WEBHOOK_ORDERED_TOPIC is not set; "
                "webhook_not_in_order_total counts all deliveries like this one",
                extra={"endpoint": endpoint.id},
            )

    def _attempts_outside(self, record: Record, attempts: int) -> int:
        """Of what leaves the line, since its endpoint does not want it to be blocked any more."""
        if self._line and record.queued_ms:
            return self._line.attempts_outside(attempts)
        return attempts

    def _wait_for_repair(self, record: Record, event: Event, endpoint_id: str | None) -> Outcome:
        if endpoint_id is None:
            said = (
                "an entry of the customer has no id of its own, so nothing can wait for its repair"
            )
            return DeadLetter(None, record.attempts, "endpoint_invalid", said)
        line = self._line if record.queued_ms else None
        outcome: Outcome = park_or_give_up(
            endpoint_id,
            record.attempts + 1,
            line.schedule if line else self._schedule,
            "endpoint_invalid",
            "the endpoint's entry is wrong, so nothing was sent",
        )
        if line:
            # Whatever the entry said of order: it is kept until the entry can be read again.
            outcome = line.kept(outcome, record, self._now())
        self._journal.given_up(event, outcome, "endpoint_invalid")
        return outcome

    def _nobody_wants(self, record: Record, event: Event) -> Sequence[Outcome]:
        if self._directory.knows_customer(event.customer_id):
            self._metrics.saw_event("no_endpoint")
            return []
        self._metrics.saw_event("unknown_customer")
        if self._unknown_customer == "drop":
            return []
        return [DeadLetter(None, record.attempts, "unknown_customer")]

    def _no_event(self, record: Record, error: BadEventError) -> Outcome:
        self._metrics.saw_event(error.reason)
        _log.info(
            "a record is no event",
            extra={
                "topic": record.origin.topic,
                "partition": record.origin.partition,
                "offset": record.origin.offset,
                "reason": error.reason,
                "detail": error.detail,
            },
        )
        return DeadLetter(record.delivery, record.attempts, error.reason, error.detail)
