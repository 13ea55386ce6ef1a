"""Keeps up to date, while a worker runs, what it knows of endpoints and what it tells of them."""

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from app_worker.clients import connected, stop_client
from app_worker.renewable_producer import RenewableProducer
from app_worker.startup import cluster_of, wait_for_topics
from app_worker.worker import WorkerPlan
from kafka_utils import create_producer, create_reader
from webhook_worker.announcement import Announcement
from webhook_worker.commands.loading import Source
from webhook_worker.compacted_topic import CompactedTopic, Reader
from webhook_worker.directory import Directory
from webhook_worker.directory.file import FileDirectory
from webhook_worker.directory.plugged import load_plugged
from webhook_worker.directory.topic import TopicDirectory
from webhook_worker.endpoint_report import EndpointReport, StateReport, TopicReport
from webhook_worker.endpoint_state.keeper import EndpointStates
from webhook_worker.endpoint_state.table import StateTable
from webhook_worker.journal import Topics
from webhook_worker.metrics import WebhookMetrics
from webhook_worker.outbox import Letter, Outbox
from webhook_worker.settings import AllSettings, PluggedSource, WebhookSettings

LONG_POLL_MS = 5_000
"""How long the brokers may wait for a change of endpoints or of their states."""

_log = logging.getLogger(__name__)


@asynccontextmanager
async def kept_directory(
    settings: AllSettings, source: Source, metrics: WebhookMetrics, plan: WorkerPlan
) -> AsyncIterator[Directory]:
    """All endpoints, which within the block follow their source."""
    if isinstance(source, PluggedSource):
        async with load_plugged(source.name)(source.location) as plugged:
            _log.info("endpoints loaded", extra={"source": str(source)})
            yield plugged
        return
    async with asyncio.TaskGroup() as background:
        directory: Directory
        if isinstance(source, FileDirectory):
            report = EndpointReport(
                str(source.path), metrics, in_order=settings.webhook.ordered_topic is not None
            )
            report.loaded(source.snapshot)
            directory = source
            following = background.create_task(source.watch(report.changed))
        else:
            connect = await _reader_of(settings, source.name, plan)
            directory = TopicDirectory(connect, TopicReport(source.name, metrics))
            following = background.create_task(directory.follow())
            await directory.caught_up.wait()
            _log.info("endpoints loaded", extra={"source": str(source)})
        try:
            yield directory
        finally:
            following.cancel()


@asynccontextmanager
async def kept_states(
    settings: AllSettings,
    outbox: Outbox,
    topics: Topics,
    metrics: WebhookMetrics,
    plan: WorkerPlan,
) -> AsyncIterator[EndpointStates]:
    """What the fleet knows of endpoints, which within the block follows its topic."""
    webhook = settings.webhook
    topic = webhook.topic_names.endpoint_state
    connect = await _reader_of(settings, topic, plan)
    table: CompactedTopic[StateTable]

    def write(endpoint_id: str, value: bytes | None) -> None:
        outbox.replace(Letter(topic, endpoint_id.encode(), value))

    states = EndpointStates(
        lambda: table.table.states,
        write,
        topics.announce,
        webhook.patience,
        metrics,
    )
    table = CompactedTopic(connect, lambda: StateTable(states.cleared), StateReport(topic, metrics))
    async with asyncio.TaskGroup() as background:
        following = background.create_task(table.follow())
        await table.caught_up.wait()
        try:
            yield states
        finally:
            following.cancel()


@asynccontextmanager
async def opened_outbox(settings: AllSettings, metrics: WebhookMetrics) -> AsyncIterator[Outbox]:
    """What is written besides the work. It connects when there is something to write."""
    config = settings.kafka.producer_config(settings.worker.process_index)
    producer = RenewableProducer(lambda: create_producer(config))
    outbox = Outbox(producer.send_and_wait, metrics)
    try:
        async with outbox.opened():
            yield outbox
    finally:
        await stop_client(producer)


def written_besides(webhook: WebhookSettings, outbox: Outbox) -> Topics:
    """What the settings want to be written."""
    topics = Topics()
    events, attempts = webhook.operational_events_topic, webhook.attempt_log_topic
    if events:

        def announce(announcement: Announcement) -> None:
            key = announcement.customer_id.encode()
            outbox.add(Letter(events, key, announcement.value()))

        topics = dataclasses.replace(topics, announce=announce)
    if attempts:

        def log_attempt(endpoint_id: bytes, line: bytes) -> None:
            outbox.add(Letter(attempts, endpoint_id, line))

        topics = dataclasses.replace(topics, log_attempt=log_attempt)
    return topics


async def _reader_of(
    settings: AllSettings, topic: str, plan: WorkerPlan
) -> Callable[[], AbstractAsyncContextManager[Reader]]:
    """What connects to the topic, which is waited for."""
    kafka, index = settings.kafka, settings.worker.process_index
    await wait_for_topics(
        [topic],
        plan.create_command,
        partial(cluster_of, partial(kafka.admin, index)),
        plan.readiness.not_yet,
        plan.seen,
    )
    plan.readiness.not_yet(f"reading topic {topic}")
    config = dataclasses.replace(
        kafka.consumer_config(process_index=index, revoke_timeout_ms=1),
        # A change is answered at once, and nobody waits behind a fetch.
        fetch_max_wait_ms=LONG_POLL_MS,
    )
    return lambda: connected(lambda: create_reader(config, topic))
