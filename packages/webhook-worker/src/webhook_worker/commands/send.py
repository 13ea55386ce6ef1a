"""``webhook-worker send``: produces sample events."""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from contextlib import aclosing

from aiokafka.errors import MessageSizeTooLargeError

from app_worker.startup import what_is_missing
from webhook_worker.commands.exit_codes import FAILED, MISUSED, OK
from webhook_worker.errors import BadEventError
from webhook_worker.json_text import NotJsonError, expect_end, read_value, skip_space
from webhook_worker.plan import CREATE_COMMAND
from webhook_worker.sample import Sample, check_sample, send
from webhook_worker.settings import AllSettings, load_all


def produce(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print id, partition and offset of each event that the brokers have acknowledged."""
    settings = load_all(environ, need_endpoints=False)
    try:
        sample = Sample(
            customer_id=arguments.customer,
            type=arguments.type,
            data=_data(arguments),
            event_id=arguments.id,
            count=arguments.count,
            per_second=arguments.rate,
        )
        if not arguments.force:
            check_sample(sample, settings.webhook.max_event_bytes)
    except BadEventError as error:
        said = f"the worker would make this event a dead letter, {error}"
        print(f"webhook-worker send: {said}; --force sends it nevertheless", file=sys.stderr)
        return MISUSED
    except (OSError, ValueError) as error:
        print(f"webhook-worker send: {error}", file=sys.stderr)
        return MISUSED
    try:
        return asyncio.run(_send(sample, settings))
    except MessageSizeTooLargeError:
        said = "the event is too large for a record of this topic; nothing more was sent"
        print(f"webhook-worker send: {said}", file=sys.stderr)
        return FAILED


async def _send(sample: Sample, settings: AllSettings) -> int:
    topic = settings.webhook.topic
    async with settings.kafka.admin() as admin:
        missing = what_is_missing([topic], await admin.list_topics(), CREATE_COMMAND)
        if missing:
            print(missing, file=sys.stderr)
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
        try:
            text = arguments.data_file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{source} is not UTF-8 at byte {error.start + 1}") from None
    if not arguments.force:
        try:
            _, end = read_value(text, skip_space(text, 0), numbers=False)
            expect_end(text, end)
        except NotJsonError as error:
            raise ValueError(f"{source} is no JSON: {error}") from None
    return text.strip()
