"""``webhook-worker endpoints put`` and ``delete``: what the topic of endpoints holds."""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from webhook_worker.commands.endpoints_once import read_into, write
from webhook_worker.commands.exit_codes import FAILED, MISUSED, OK
from webhook_worker.directory.document import Stranger
from webhook_worker.directory.entry import ReadSecrets, parse_endpoint
from webhook_worker.directory.file import read_document, read_secrets, read_text
from webhook_worker.directory.table import EndpointTable
from webhook_worker.errors import BadEndpointError
from webhook_worker.outbox import Letter
from webhook_worker.settings import AllSettings, EndpointsTopic, load_all


def put(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Put all endpoints of a file into the topic; none if anything is wrong in it."""
    settings = load_all(environ, need_endpoints=True)
    topic = _topic_of(settings, "put")
    if topic is None:
        return MISUSED
    entries, mistakes = read_entries(arguments.file)
    for mistake in mistakes:
        print(mistake)
    if mistakes:
        print("nothing was put", file=sys.stderr)
        return FAILED
    asyncio.run(_put(settings, topic, entries))
    return OK


def delete(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Take endpoints out of the topic, and forget what is known of them."""
    settings = load_all(environ, need_endpoints=True)
    topic = _topic_of(settings, "delete")
    return MISUSED if topic is None else asyncio.run(_delete(settings, topic, arguments.ids))


def _topic_of(settings: AllSettings, command: str) -> str | None:
    source = settings.webhook.endpoints
    if isinstance(source, EndpointsTopic):
        return source.name
    said = f"WEBHOOK_ENDPOINTS is {str(source)!r}, and endpoints of a topic only can be written"
    print(f"webhook-worker endpoints {command}: {said}", file=sys.stderr)
    return None


def read_entries(file: Path) -> tuple[dict[str, bytes], list[str]]:
    """The entries of a file as a topic has them, by id, and what is wrong with them.

    What a ``secrets_file`` holds is taken in. Raises DirectoryError.
    """
    entries: dict[str, bytes] = {}
    mistakes: list[str] = []

    def secrets(name: str) -> Sequence[str]:
        return read_secrets(file.parent / name)

    for piece in read_document(read_text(file), file):
        if isinstance(piece, Stranger):
            mistakes.append(f"{file}:{piece.line}: {piece.name}: endpoints is the only field here")
            continue
        try:
            endpoint = parse_endpoint(piece.value, secrets, piece.repeated)
        except BadEndpointError as error:
            mistakes += [
                f"{file}:{piece.line_of(each.path)}: {each.field or 'the entry'}: {each.message}"
                for each in error.problems
            ]
            continue
        if endpoint.id in entries:
            mistakes.append(f"{file}:{piece.line_of(('id',))}: id: there is one with it before")
        entries[endpoint.id] = _as_text(piece.value, secrets)
    return entries, mistakes


def _as_text(entry: Any, secrets: ReadSecrets) -> bytes:
    whole = dict(entry)
    if "secrets_file" in whole:
        whole["secrets"] = list(secrets(whole.pop("secrets_file")))
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


async def _put(settings: AllSettings, topic: str, entries: Mapping[str, bytes]) -> None:
    there = EndpointTable()
    await read_into(there, settings, topic)
    await write(settings, [Letter(topic, key.encode(), text) for key, text in entries.items()])
    for key in entries:
        known = there.get(key) is not None or there.is_broken(key)
        print(f"{key}: {'replaced' if known else 'added'}")


async def _delete(settings: AllSettings, topic: str, ids: Sequence[str]) -> int:
    there = EndpointTable()
    await read_into(there, settings, topic)
    known = [each for each in ids if there.get(each) is not None or there.is_broken(each)]
    state_topic = settings.webhook.topic_names.endpoint_state
    letters = [
        Letter(where, each.encode(), None) for where in (state_topic, topic) for each in known
    ]
    await write(settings, letters)
    for each in ids:
        if each in known:
            print(f"{each}: deleted")
        else:
            print(f"{each}: there is none of that id in {topic}", file=sys.stderr)
    return OK if len(known) == len(ids) else FAILED
