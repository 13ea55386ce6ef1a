"""``webhook-worker check-config``: what would be in effect, and whether Kafka agrees."""

import argparse
import asyncio
import sys
from collections.abc import Mapping

from aiokafka import TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError

from app_worker.environment import describe
from app_worker.handover.words import handover_topic
from app_worker.handover_topic.probe import look
from app_worker.settings import ORDERED_GROUP_SUFFIX, RETRY_GROUP_SUFFIX
from app_worker.worker import WorkerPlan
from kafka_utils import Admin
from webhook_worker.commands.exit_codes import FAILED, OK
from webhook_worker.commands.loading import load_for_run
from webhook_worker.directory.file import FileDirectory
from webhook_worker.endpoint_report import count_endpoints, not_in_order
from webhook_worker.plan import CREATE_COMMAND, plan_of
from webhook_worker.settings import AllSettings, strangers


def check_config(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the effective settings, secrets masked; with --connect, ask the brokers too."""
    settings, directory = load_for_run(environ)
    for warning in strangers(environ):
        print(f"warning: {warning}", file=sys.stderr)
    for part in (settings.kafka, settings.worker, settings.webhook):
        for name, value in describe(part):
            print(f"{name}={value}")
    if isinstance(directory, FileDirectory):
        _tell_endpoints(directory, in_order=settings.webhook.ordered_topic is not None)
    else:
        print(f"endpoints: from {directory}, not read here")
    return asyncio.run(_connect(settings)) if arguments.connect else OK


def _tell_endpoints(directory: FileDirectory, *, in_order: bool) -> None:
    snapshot = directory.snapshot
    counts = count_endpoints(snapshot)
    print("endpoints:", ", ".join(f"{count} {state}" for state, count in counts.items()))
    for problem in snapshot.problems:
        print(f"warning: {directory.path}: {problem}", file=sys.stderr)
    if warning := not_in_order(snapshot, in_order=in_order):
        print(f"warning: {directory.path}: {warning}", file=sys.stderr)


async def _connect(settings: AllSettings) -> int:
    plan = plan_of(settings.webhook)
    async with settings.kafka.admin() as admin:
        print(f"brokers: {await admin.brokers()} alive")
        replayed = settings.webhook.topic_names.replayed
        found = await admin.partition_counts((*plan.needed_topics, replayed))
        complete = _tell_topics(plan, found)
        # A worker has no need of it, so that an older one's topics are enough.
        print(f"topic {replayed}: {_partitions(replayed, found)}, for dead-letters replay only")
        await _tell_rights(admin, plan)
        await _tell_handover(admin, settings)
        readable = True
        ordered = (ORDERED_GROUP_SUFFIX,) if plan.ordered_topic else ()
        for suffix in ("", RETRY_GROUP_SUFFIX, *ordered):
            group = settings.kafka.group_id + suffix
            if plan.topic not in found:
                print(f"group {group}: not asked, since topic {plan.topic} is missing")
            else:
                readable &= await _tell_group(admin, group, TopicPartition(plan.topic, 0))
    return OK if complete and readable else FAILED


def _tell_topics(plan: WorkerPlan, found: Mapping[str, int]) -> bool:
    for topic in plan.needed_topics:
        print(f"topic {topic}: {_partitions(topic, found)}")
    complete = found.keys() >= set(plan.needed_topics)
    if not complete:
        print(f"create the missing topics with: {plan.create_command}", file=sys.stderr)
    return complete


async def _tell_rights(admin: Admin, plan: WorkerPlan) -> None:
    """Of what a worker could otherwise only be refused at work. An operator may have others."""
    both, reads = ("Read", "Write"), ("Read",)
    needed = {plan.topic: reads, **dict.fromkeys(plan.schedule.topics(), both)}
    needed[plan.dead_letter_topic] = ("Write",)
    if plan.ordered_topic:
        needed[plan.ordered_topic] = both
    try:
        rights = await admin.topic_rights()
    except IncompatibleBrokerVersion:
        print("rights: not asked for: brokers before Kafka 2.3 do not tell them")
        return
    for topic, names in needed.items():
        missing = [name for name in names if topic in rights and name not in rights[topic]]
        if missing:
            said = f"whoever asks has no right {' and '.join(missing)} on topic {topic}"
            print(f"warning: {said}, which a worker needs", file=sys.stderr)


async def _tell_handover(admin: Admin, settings: AllSettings) -> None:
    """Whether the topic of hand-over can be used, as far as that is seen without writing to it.

    A worker has no need of it: it drains.
    """
    topic = handover_topic(settings.webhook.topic)
    verdict = await look(admin, topic, CREATE_COMMAND)
    if verdict.why_not is None:
        print(f"topic {topic}: as hand-over needs it")
        return
    print(f"topic {topic}: not usable for hand-over: {verdict.sentence}")
    if settings.worker.handover == "on":
        print("warning: partitions that move are drained first: see above", file=sys.stderr)


def _partitions(topic: str, found: Mapping[str, int]) -> str:
    return f"{found[topic]} partitions" if topic in found else "missing"


async def _tell_group(admin: Admin, group: str, partition: TopicPartition) -> bool:
    """Ask for a committed offset, as a member would, without joining the group."""
    try:
        await admin.committed_offsets(group, [partition])
    except (KafkaError, TimeoutError) as error:
        print(f"group {group}: not readable: {str(error) or type(error).__name__}")
        return False
    print(f"group {group}: readable")
    return True
