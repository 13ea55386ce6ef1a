"""``webhook-worker endpoints test``: one signed event to one endpoint, and what came back."""

import argparse
import asyncio
import sys
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from webhook_worker.attempt import Answered, Attempt
from webhook_worker.commands.configured_sender import sender_of
from webhook_worker.commands.endpoints_once import find
from webhook_worker.commands.exit_codes import FAILED, MISUSED, OK
from webhook_worker.commands.loading import Source, load_for_run
from webhook_worker.errors import BadEventError
from webhook_worker.event import body, parse_event
from webhook_worker.outcome import printable
from webhook_worker.request import build
from webhook_worker.sample import Sample, sample_value
from webhook_worker.sending.pool import ConnectionLimits
from webhook_worker.settings import AllSettings


def send_test(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Make one attempt, as a worker would; FAILED unless it is answered with 2xx."""
    settings, source = load_for_run(environ)
    return asyncio.run(_test(settings, source, arguments))


async def _test(settings: AllSettings, source: Source, arguments: argparse.Namespace) -> int:
    endpoint = await find(settings, source, arguments.id)
    if endpoint is None:
        return FAILED
    webhook = settings.webhook
    sample = Sample(customer_id=endpoint.customer_id, type=arguments.type, data="{}")
    event_id = f"test_{uuid.uuid4().hex}"
    value = sample_value(sample, event_id, datetime.now(UTC))
    try:
        event = parse_event(value, webhook.max_event_bytes)
    except BadEventError as error:
        print(f"webhook-worker endpoints test: no such event can be: {error}", file=sys.stderr)
        return MISUSED
    limits = ConnectionLimits(most=1, most_idle=0)
    async with sender_of(webhook, limits) as sender:
        began = time.monotonic()
        attempt = await sender.attempt(build(body(event), event.id, endpoint, time.time()))
        seconds = time.monotonic() - began
    print(f"event {event.id} of type {event.type} to endpoint {endpoint.id}")
    for line in told(attempt, seconds):
        print(line)
    return OK if isinstance(attempt, Answered) and attempt.is_success else FAILED


def told(attempt: Attempt, seconds: float) -> list[str]:
    """What came back, for the person who asked: with the start of the answer's body."""
    if not isinstance(attempt, Answered):
        whose = "a fault on our side" if attempt.ours else "no answer"
        return [f"{whose} after {seconds:.3f} s: {attempt.kind}: {printable(attempt.detail)}"]
    lines = [f"status {attempt.status} after {seconds:.3f} s"]
    if attempt.retry_after is not None:
        lines.append(f"it asks to wait for {attempt.retry_after:g} s")
    if attempt.body_start:
        lines.append(printable(attempt.body_start.decode(errors="replace")))
    return lines
