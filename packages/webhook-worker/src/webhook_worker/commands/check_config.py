"""``webhook-worker check-config``: what would be in effect, and whether Kafka agrees."""

import argparse
import asyncio
import sys
from collections.abc import Mapping

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from app_worker.environment import describe
from app_worker.settings import RETRY_GROUP_SUFFIX
from kafka_utils import Admin, KafkaUtilsError, create_consumer
from webhook_worker.commands.exit_codes import FAILED, OK
from webhook_worker.commands.loading import load_for_run
from webhook_worker.endpoint_report import count_endpoints
from webhook_worker.plan import plan_of
from webhook_worker.settings import AllSettings, strangers


def check_config(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the effective settings, secrets masked; with --connect, ask the brokers too."""
    settings, directory = load_for_run(environ)
    for warning in strangers(environ):
        print(f"warning: {warning}", file=sys.stderr)
    for part in (settings.kafka, settings.worker, settings.webhook):
        for name, value in describe(part):
            print(f"{name}={value}")
    snapshot = directory.snapshot
    counts = count_endpoints(snapshot)
    print("endpoints:", ", ".join(f"{count} {state}" for state, count in counts.items()))
    for problem in snapshot.problems:
        print(f"warning: {settings.webhook.endpoints}: {problem}", file=sys.stderr)
    return asyncio.run(_connect(settings)) if arguments.connect else OK


async def _connect(settings: AllSettings) -> int:
    async with settings.kafka.admin() as admin:
        print(f"brokers: {await admin.brokers()} alive")
        missing = await _tell_topics(admin, settings)
    readable = True
    for suffix in ("", RETRY_GROUP_SUFFIX):
        readable &= await _tell_group(settings, suffix)
    return FAILED if missing or not readable else OK


async def _tell_topics(admin: Admin, settings: AllSettings) -> bool:
    plan = plan_of(settings.webhook)
    counts = await admin.partition_counts(plan.needed_topics)
    for topic in plan.needed_topics:
        found = f"{counts[topic]} partitions" if topic in counts else "missing"
        print(f"topic {topic}: {found}")
    missing = not counts.keys() >= set(plan.needed_topics)
    if missing:
        print(f"create the missing topics with: {plan.create_command}", file=sys.stderr)
    return missing


async def _tell_group(settings: AllSettings, suffix: str) -> bool:
    """Ask for a committed offset, as a member would, without joining the group."""
    config = settings.kafka.consumer_config(
        suffix,
        process_index=settings.worker.process_index,
        revoke_timeout_ms=settings.worker.drain_timeout_ms,
    )
    consumer = create_consumer(config)
    try:
        async with asyncio.timeout(config.request_timeout_ms / 1000):
            await consumer.start()
            partition = TopicPartition(settings.webhook.topic, 0)
            consumer.assign([partition])
            await consumer.committed(partition)
    except (KafkaError, KafkaUtilsError, TimeoutError) as error:
        print(f"group {config.group_id}: not readable: {str(error) or type(error).__name__}")
        return False
    finally:
        await consumer.stop()
    print(f"group {config.group_id}: readable")
    return True
