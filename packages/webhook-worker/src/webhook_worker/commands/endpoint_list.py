"""``webhook-worker endpoints list``: all of them, and in what state each is."""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from webhook_worker.commands.endpoints_once import Listed, directory_of, states_of
from webhook_worker.commands.exit_codes import FAILED, OK
from webhook_worker.commands.loading import Source, load_for_run
from webhook_worker.commands.moments import time_of
from webhook_worker.endpoint import Endpoint
from webhook_worker.endpoint_state.state import Disabled, EndpointState
from webhook_worker.endpoint_state.table import word_for
from webhook_worker.outcome import printable
from webhook_worker.settings import AllSettings


@dataclass(frozen=True, slots=True)
class Row:
    """One endpoint as it is shown. Its URL can hold a token, so only the origin is."""

    id: str
    customer_id: str
    state: str
    """One of words.LISTED_STATES."""
    why: str = ""
    since: str | None = None
    origin: str = ""
    event_types: tuple[str, ...] | None = None

    def line(self) -> str:
        """Apart from the types."""
        since = f"since {self.since}" if self.since else ""
        said = (self.id, printable(self.customer_id), self.state, self.origin, since, self.why)
        return "  ".join(part for part in said if part)

    def as_json(self) -> str:
        """Everything, on one line."""
        shown = {
            "id": self.id,
            "customer_id": self.customer_id,
            "state": self.state,
            "why": self.why or None,
            "since": self.since,
            "origin": self.origin or None,
            "event_types": self.event_types,
        }
        return json.dumps(shown)


def show_all(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the endpoints meant, one a line."""
    settings, source = load_for_run(environ)
    return asyncio.run(_list(settings, source, arguments))


async def _list(settings: AllSettings, source: Source, arguments: argparse.Namespace) -> int:
    states = await states_of(settings)
    async with AsyncExitStack() as stack:
        directory = await directory_of(settings, source, stack)
        if not isinstance(directory, Listed):
            print(f"{source}: this source cannot name all its endpoints", file=sys.stderr)
            return FAILED
        for row in rows(directory, states):
            if arguments.customer not in (None, row.customer_id):
                continue
            if arguments.state in (None, row.state):
                print(row.as_json() if arguments.json else row.line())
    return OK


def rows(directory: Listed, states: Mapping[str, EndpointState]) -> Iterator[Row]:
    """The endpoints in the order of their source, those with a wrong entry last."""
    for endpoint in directory.endpoints:
        yield _row(endpoint, states.get(endpoint.id))
    for broken in directory.broken:
        why = "its entry is wrong"
        yield Row(broken.id or "-", broken.customer_id or "-", "invalid", why)


def _row(endpoint: Endpoint, state: EndpointState | None) -> Row:
    word, why, since = "enabled", "", None
    if state is not None:
        word, since = word_for(state), time_of(state.since_ms)
        why = str(state) if isinstance(state, Disabled) else ""
    if not endpoint.enabled:
        word, why, since = "disabled", "by its entry", None
    return Row(
        endpoint.id,
        endpoint.customer_id,
        word,
        printable(why),
        since,
        endpoint.url.origin,
        None if endpoint.event_types is None else tuple(sorted(endpoint.event_types)),
    )
