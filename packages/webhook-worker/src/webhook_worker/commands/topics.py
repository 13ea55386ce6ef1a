"""``webhook-worker topics create``: the topics that the settings name."""

import argparse
import asyncio
import sys
from collections.abc import Mapping

from kafka_utils import Admin, Created, TopicCreationError, TopicSpec
from webhook_worker.commands.exit_codes import FAILED, OK
from webhook_worker.settings import load_all
from webhook_worker.topics import topic_specs


def create(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Create those that are missing. Raises EnvironmentProblems and what the brokers refuse."""
    settings = load_all(environ, need_endpoints=False)
    specs = topic_specs(
        settings.webhook.schedule,
        settings.webhook.topic_names,
        partitions=arguments.partitions,
        replication=arguments.replication,
        retry_partitions=arguments.retry_partitions,
    )
    try:
        result = asyncio.run(_create(settings.kafka.admin(), specs))
    except TopicCreationError as error:
        _tell(Created(created=error.created, existing=error.existing))
        for topic, reason in error.failures.items():
            print(f"{topic}: not created: {reason}", file=sys.stderr)
        return FAILED
    _tell(result)
    return OK


async def _create(admin: Admin, specs: tuple[TopicSpec, ...]) -> Created:
    async with admin:
        return await admin.create(specs)


def _tell(result: Created) -> None:
    for topic in result.created:
        print(f"{topic}: created")
    for topic in result.existing:
        print(f"{topic}: exists, left as it is")
