"""``webhook-worker dead-letters``: what was given up, one of it in full, and delivered again."""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping

from aiokafka.errors import ProducerFenced

from app_worker.dead_letters import StoredLetter, read_letter
from app_worker.parked_headers import NotParkedError
from app_worker.startup import what_is_missing
from kafka_utils import ConsumerConfig
from webhook_worker.commands.exit_codes import FAILED, MISUSED, OK
from webhook_worker.commands.moments import time_of
from webhook_worker.dead_letters.reading import everything_in, record_at
from webhook_worker.dead_letters.replay import Progress, Topics, rehearse, replay
from webhook_worker.dead_letters.selection import Selection, event_id_of, obstacle
from webhook_worker.outcome import printable
from webhook_worker.plan import CREATE_COMMAND
from webhook_worker.settings import AllSettings, load_all

LONGEST_DETAIL = 100
WHAT_NOW = (
    "\nnothing was replayed from there on. Begin again and it goes on there; --except leaves out a "
    "letter that the topic will never take (max.message.bytes of the topic: how large one may be)"
)


def show_all(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the letters meant, one a line, and how many there are by reason."""
    settings = load_all(environ, need_endpoints=False)
    return asyncio.run(_list(settings, _selection(arguments), arguments))


def show(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print everything about one letter; its payload only if that is asked for."""
    settings = load_all(environ, need_endpoints=False)
    return asyncio.run(_show(settings, arguments))


def replay_all(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Deliver the letters meant again, if --yes says so; else say what that would do."""
    settings = load_all(environ, need_endpoints=False)
    selection = _selection(arguments)
    if selection.is_everything and not arguments.all:
        print(
            "webhook-worker dead-letters replay: say which (--endpoint, --reason, --since, "
            "--until), or --all",
            file=sys.stderr,
        )
        return MISUSED
    try:
        return asyncio.run(_replay(settings, selection, arguments))
    except ProducerFenced:
        print("another replay of these dead letters has begun; this one stops", file=sys.stderr)
        return FAILED


def _selection(arguments: argparse.Namespace) -> Selection:
    return Selection(
        endpoint=arguments.endpoint,
        reasons=frozenset(arguments.reasons or ()),
        since_ms=arguments.since,
        until_ms=arguments.until,
        without=frozenset(f"{part}:{offset}" for part, offset in arguments.without or ()),
    )


async def _list(settings: AllSettings, selection: Selection, arguments: argparse.Namespace) -> int:
    topic = settings.webhook.dead_letter_topic
    if await _is_missing(settings, topic):
        return FAILED
    counts: Counter[str] = Counter()
    foreign = 0
    async for record in everything_in(_reading(settings), topic):
        try:
            letter = read_letter(record)
        except NotParkedError:
            foreign += 1
            continue
        if selection.has(letter):
            counts[letter.reason] += 1
            if not arguments.count:
                print(json.dumps(_as_json(letter)) if arguments.json else _line(letter))
    if not arguments.json or arguments.count:
        _tell_counts(counts, as_json=arguments.json)
    if foreign:
        print(f"{foreign} records were not written by a worker", file=sys.stderr)
    return OK


def _tell_counts(counts: Counter[str], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(dict(counts.most_common())))
        return
    for reason, count in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        print(f"{count:>8}  {reason}")
    print(f"{counts.total():>8}  in all")


async def _show(settings: AllSettings, arguments: argparse.Namespace) -> int:
    topic = settings.webhook.dead_letter_topic
    if await _is_missing(settings, topic):
        return FAILED
    partition, offset = arguments.place
    record = await record_at(_reading(settings), topic, partition, offset)
    if record is None:
        print(f"there is no record at {partition}:{offset} of {topic}", file=sys.stderr)
        return FAILED
    try:
        letter = read_letter(record)
    except NotParkedError as error:
        print(f"the record at {partition}:{offset} is no dead letter: {error}", file=sys.stderr)
        return FAILED
    shown = _as_json(letter)
    if arguments.payload:
        shown["payload"] = (letter.record.value or b"").decode("utf-8", "backslashreplace")
    print(json.dumps(shown, indent=2))
    return OK


async def _replay(
    settings: AllSettings, selection: Selection, arguments: argparse.Namespace
) -> int:
    webhook = settings.webhook
    topics = Topics(
        dead_letters=webhook.dead_letter_topic,
        audit=webhook.topic_names.replayed,
        schedule=webhook.schedule,
    )
    first = topics.schedule.topic_for(topics.schedule.delays[0])
    if await _is_missing(settings, topics.dead_letters, topics.audit, first):
        return FAILED
    if not arguments.yes:
        rehearsed = await rehearse(topics, selection, _reading(settings))
        _tell(rehearsed, "would be replayed")
        print("nothing was done; --yes does it", file=sys.stderr)
        return OK
    if settings.kafka.isolation_level != "read_committed":
        print(
            "warning: workers that read uncommitted records deliver twice what an interrupted "
            "replay leaves behind (KAFKA_ISOLATION_LEVEL)",
            file=sys.stderr,
        )
    progress = await replay(
        topics,
        selection,
        _reading(settings),
        settings.kafka.producer_config(),
        rate=arguments.rate,
        tell=_Bar() if sys.stderr.isatty() else lambda _: None,
    )
    _tell(progress, "replayed")
    if progress.stopped is not None:
        print(f"{progress.stopped}{WHAT_NOW}", file=sys.stderr)
        return FAILED
    return OK


def _tell(progress: Progress, what: str) -> None:
    print(f"{progress.replayed:>8}  {what}")
    print(f"{progress.already:>8}  replayed before")
    for why, count in progress.left.most_common():
        print(f"{count:>8}  left: {why}")


class _Bar:
    """One line that is written over as it goes on. How many there will be nobody knows before."""

    def __call__(self, progress: Progress) -> None:
        said = f"{progress.replayed} replayed of {progress.seen} looked at"
        print(f"\r{said:<60}", end="", file=sys.stderr, flush=True)


def _reading(settings: AllSettings) -> ConsumerConfig:
    return settings.kafka.consumer_config(revoke_timeout_ms=1)


async def _is_missing(settings: AllSettings, *topics: str) -> bool:
    async with settings.kafka.admin() as admin:
        missing = what_is_missing(topics, await admin.list_topics(), CREATE_COMMAND)
    if missing:
        print(missing, file=sys.stderr)
    return bool(missing)


def _line(letter: StoredLetter) -> str:
    detail = printable(letter.detail)[:LONGEST_DETAIL]
    named = (letter.record.delivery or "-", event_id_of(letter) or "-")
    return "  ".join(
        [letter.place, time_of(letter.dead_at_ms), letter.reason, *map(printable, named), detail]
    ).rstrip()


def _as_json(letter: StoredLetter) -> dict[str, object]:
    record = letter.record
    origin = record.origin
    why_not = obstacle(letter)
    return {
        "place": letter.place,
        "dead_at": time_of(letter.dead_at_ms),
        "reason": letter.reason,
        "detail": letter.detail,
        "endpoint": record.delivery,
        "event": event_id_of(letter) or None,
        "attempts": record.attempts,
        "origin": f"{origin.topic}:{origin.partition}:{origin.offset}",
        "produced_at": time_of(record.timestamp_ms),
        "replayable": why_not is None,
        "obstacle": why_not,
    }
