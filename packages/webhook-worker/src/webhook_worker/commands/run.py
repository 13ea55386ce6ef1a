"""``webhook-worker run``: a worker process, from the environment alone."""

import argparse
import asyncio
import logging
import resource
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from aiokafka.errors import KafkaError

from app_worker.clients import connected
from app_worker.errors import AppWorkerError
from app_worker.handler import Handler
from app_worker.observability.logs import configure_logging
from app_worker.observability.metrics import create_registry
from app_worker.share import Share
from app_worker.startup import cluster_of, wait_for_topics
from app_worker.worker import run_worker
from kafka_utils import KafkaUtilsError, create_reader
from webhook_worker.commands.loading import load_for_run
from webhook_worker.delivery import WebhookHandler
from webhook_worker.directory import Directory
from webhook_worker.directory.file import FileDirectory
from webhook_worker.directory.topic import TopicDirectory
from webhook_worker.endpoint_report import EndpointReport, TopicReport
from webhook_worker.errors import WebhookError
from webhook_worker.isolation.gate import Isolation
from webhook_worker.metrics import WebhookMetrics
from webhook_worker.plan import CREATE_COMMAND, plan_of
from webhook_worker.sending.pool import limits_within
from webhook_worker.sending.sender import Sender
from webhook_worker.settings import AllSettings, EndpointsTopic, strangers
from webhook_worker.tls import tls_context

SPOKEN = (AppWorkerError, WebhookError, KafkaUtilsError, KafkaError, OSError)
"""Exceptions whose text may be logged: none of them holds a record, a secret or a URL."""
QUIET = ("httpcore", "httpx")
"""Libraries that would log headers, signatures among them, at debug."""
CONNECTIONS_PER_RECORD = 4
"""An event can go to several endpoints at once."""

_log = logging.getLogger(__name__)


def run(_: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Work until a stop signal. Raises EnvironmentProblems."""
    settings, source = load_for_run(environ)
    configure_logging(
        settings.worker.log_level,
        spoken=SPOKEN,
        quiet=QUIET,
        worker=settings.worker.process_index,
    )
    for warning in strangers(environ):
        _log.warning("%s", warning)
    registry = create_registry()
    plan = plan_of(settings.webhook)
    handler = webhook_handler(settings, source, WebhookMetrics(registry), plan.share)
    return asyncio.run(run_worker(plan, settings.kafka, settings.worker, handler, registry))


@asynccontextmanager
async def webhook_handler(
    settings: AllSettings,
    source: FileDirectory | EndpointsTopic,
    metrics: WebhookMetrics,
    share: Share,
) -> AsyncIterator[Handler]:
    """The handler with what it needs: connections, and endpoints that are kept up to date."""
    webhook = settings.webhook
    places = settings.worker.max_in_flight
    most = places * CONNECTIONS_PER_RECORD
    limits = limits_within(_open_files(), most)
    async with (
        Sender(
            webhook.egress_policy,
            limits,
            webhook.attempt_timeout_seconds,
            tls=tls_context(webhook.tls_cafile),
        ) as sender,
        _up_to_date(settings, source, metrics) as directory,
    ):
        yield WebhookHandler(
            directory,
            sender,
            Isolation(
                places,
                webhook.endpoint_concurrency or places,
                metrics,
                share=lambda: share.fraction,
            ),
            webhook.schedule,
            metrics,
            max_event_bytes=webhook.max_event_bytes,
            unknown_customer=webhook.unknown_customer,
        )


@asynccontextmanager
async def _up_to_date(
    settings: AllSettings, source: FileDirectory | EndpointsTopic, metrics: WebhookMetrics
) -> AsyncIterator[Directory]:
    """All endpoints, which within the block follow their source."""
    async with asyncio.TaskGroup() as background:
        directory: Directory
        if isinstance(source, FileDirectory):
            report = EndpointReport(str(source.path), metrics)
            report.loaded(source.snapshot)
            directory = source
            following = background.create_task(source.watch(report.changed))
        else:
            directory = await _topic_directory(settings, source, metrics)
            following = background.create_task(directory.follow())
            await directory.caught_up.wait()
            _log.info("endpoints loaded", extra={"source": str(source)})
        try:
            yield directory
        finally:
            following.cancel()


async def _topic_directory(
    settings: AllSettings, source: EndpointsTopic, metrics: WebhookMetrics
) -> TopicDirectory:
    kafka, index = settings.kafka, settings.worker.process_index
    await wait_for_topics(
        [source.name], CREATE_COMMAND, partial(cluster_of, partial(kafka.admin, index)), str
    )
    config = kafka.consumer_config(process_index=index, revoke_timeout_ms=1)
    return TopicDirectory(
        lambda: connected(lambda: create_reader(config, source.name)),
        TopicReport(source.name, metrics),
    )


def _open_files() -> int:
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if allowed == resource.RLIM_INFINITY else allowed
