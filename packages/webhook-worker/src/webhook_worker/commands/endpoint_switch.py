"""``webhook-worker endpoints disable`` and ``enable``: whether anything is sent to one of them."""

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping

from webhook_worker.announcement import Announcement, endpoint_disabled, endpoint_enabled
from webhook_worker.commands.endpoints_once import find, states_of, write
from webhook_worker.commands.exit_codes import FAILED, OK
from webhook_worker.commands.loading import Source, load_for_run
from webhook_worker.commands.moments import time_of
from webhook_worker.endpoint_state.state import Disabled, EndpointState, written
from webhook_worker.outbox import Letter
from webhook_worker.settings import AllSettings


def disable(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Nothing is sent to it from now on; what is due to it becomes dead letters."""
    settings, source = load_for_run(environ)
    return asyncio.run(_disable(settings, source, arguments.id, arguments.why))


def enable(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """It is sent to again, whoever had disabled it."""
    settings, source = load_for_run(environ)
    return asyncio.run(_enable(settings, source, arguments.id))


async def _disable(settings: AllSettings, source: Source, endpoint_id: str, why: str) -> int:
    endpoint = await find(settings, source, endpoint_id)
    if endpoint is None:
        return FAILED
    state = (await states_of(settings)).get(endpoint_id)
    if isinstance(state, Disabled):
        print(f"{endpoint_id}: is disabled already, since {time_of(state.since_ms)}: {state}")
        return OK
    now_ms = round(time.time() * 1000)
    disabled = Disabled(now_ms, "operator", why)
    announcement = endpoint_disabled(endpoint, disabled.reason, disabled.detail, now_ms)
    await _write(settings, endpoint_id, disabled, announcement)
    print(f"{endpoint_id}: disabled; what is due to it becomes dead letters, endpoint_disabled")
    return OK


async def _enable(settings: AllSettings, source: Source, endpoint_id: str) -> int:
    endpoint = await find(settings, source, endpoint_id)
    if endpoint is None:
        return FAILED
    state = (await states_of(settings)).get(endpoint_id)
    if not endpoint.enabled:
        print(f"{endpoint_id}: its entry says that it is not enabled", file=sys.stderr)
    if not isinstance(state, Disabled):
        print(f"{endpoint_id}: was not disabled")
        return OK
    announcement = endpoint_enabled(endpoint, round(time.time() * 1000))
    await _write(settings, endpoint_id, None, announcement)
    print(f"{endpoint_id}: enabled; it had been disabled since {time_of(state.since_ms)}")
    print(
        "what was due meanwhile can be delivered with: webhook-worker dead-letters replay "
        f"--endpoint {endpoint_id} --reason endpoint_disabled"
    )
    return OK


async def _write(
    settings: AllSettings,
    endpoint_id: str,
    state: EndpointState | None,
    announcement: Announcement,
) -> None:
    names = settings.webhook.topic_names
    value = None if state is None else written(state)
    letters = [Letter(names.endpoint_state, endpoint_id.encode(), value)]
    if names.operational_events:
        key = announcement.customer_id.encode()
        letters.append(Letter(names.operational_events, key, announcement.value()))
    await write(settings, letters)
