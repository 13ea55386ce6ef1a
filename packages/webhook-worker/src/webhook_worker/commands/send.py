"""``webhook-worker send``: produces sample events."""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import aclosing

from webhook_worker.commands.exit_codes import FAILED, MISUSED, OK
from webhook_worker.plan import CREATE_COMMAND
from webhook_worker.sample import Sample, send
from webhook_worker.settings import AllSettings, load_all


def produce(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print id, partition and offset of each event that the brokers have acknowledged."""
    settings = load_all(environ, need_endpoints=False)
    try:
        data = _data(arguments)
    except (OSError, ValueError) as error:
        print(f"webhook-worker send: {error}", file=sys.stderr)
        return MISUSED
    sample = Sample(
        customer_id=arguments.customer,
        type=arguments.type,
        data=data,
        event_id=arguments.id,
        count=arguments.count,
        per_second=arguments.rate,
    )
    return asyncio.run(_send(sample, settings))


async def _send(sample: Sample, settings: AllSettings) -> int:
    topic = settings.webhook.topic
    async with settings.kafka.admin() as admin:
        if topic not in await admin.list_topics():
            print(f"missing topic {topic}; create with: {CREATE_COMMAND}", file=sys.stderr)
            return FAILED
    async with aclosing(send(sample, topic, settings.kafka.producer_config())) as acknowledged:
        async for stored in acknowledged:
            print(stored.event_id, stored.partition, stored.offset, flush=True)
    return OK


def _data(arguments: argparse.Namespace) -> str:
    """The JSON to send. Raises OSError and ValueError, both fit to be shown."""
    text: str = arguments.data
    source = "--data"
    if arguments.data_file is not None:
        source = str(arguments.data_file)
        text = arguments.data_file.read_text(encoding="utf-8")
    try:
        json.loads(text)
    except ValueError as error:
        raise ValueError(f"{source} is no JSON: {error}") from error
    return text.strip()
