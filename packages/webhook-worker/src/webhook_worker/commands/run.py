"""``webhook-worker run``: a worker process, from the environment alone."""

import argparse
import logging
import resource
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiokafka.errors import KafkaError

from app_worker.ending import run_to_end
from app_worker.errors import AppWorkerError
from app_worker.handler import Handler
from app_worker.observability.logs import configure_logging
from app_worker.observability.metrics import create_registry
from app_worker.worker import WorkerPlan, run_worker
from kafka_utils import KafkaUtilsError
from webhook_worker.commands.configured_sender import sender_of
from webhook_worker.commands.loading import Source, load_for_run
from webhook_worker.commands.upkeep import (
    kept_directory,
    kept_states,
    opened_outbox,
    written_besides,
)
from webhook_worker.delivery import WebhookHandler
from webhook_worker.errors import WebhookError
from webhook_worker.isolation.gate import Isolation
from webhook_worker.journal import Journal
from webhook_worker.metrics import WebhookMetrics
from webhook_worker.plan import plan_of
from webhook_worker.sending.pool import limits_within
from webhook_worker.settings import AllSettings, strangers

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
    handler = webhook_handler(settings, source, WebhookMetrics(registry), plan)
    return run_to_end(run_worker(plan, settings.kafka, settings.worker, handler, registry))


@asynccontextmanager
async def webhook_handler(
    settings: AllSettings, source: Source, metrics: WebhookMetrics, plan: WorkerPlan
) -> AsyncIterator[Handler]:
    """The handler with what it needs: connections, and endpoints that are kept up to date."""
    webhook = settings.webhook
    places = settings.worker.max_in_flight
    most = places * CONNECTIONS_PER_RECORD
    limits = limits_within(_open_files(), most)
    async with (
        sender_of(webhook, limits) as sender,
        opened_outbox(settings, metrics) as outbox,
    ):
        topics = written_besides(webhook, outbox)
        async with (
            kept_states(settings, outbox, topics, metrics, plan) as states,
            kept_directory(settings, source, metrics, plan) as directory,
        ):
            yield WebhookHandler(
                directory,
                sender,
                Isolation(
                    places,
                    webhook.endpoint_concurrency or places,
                    metrics,
                    share=lambda: plan.share.fraction,
                ),
                states,
                Journal(metrics, states, topics),
                webhook.schedule,
                metrics,
                max_event_bytes=webhook.max_event_bytes,
                unknown_customer=webhook.unknown_customer,
                gate=plan.gate,
                in_order=webhook.ordered_topic is not None,
            )


def _open_files() -> int:
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if allowed == resource.RLIM_INFINITY else allowed
