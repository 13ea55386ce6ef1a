"""What the fleet needs of Kafka: its topics, and who may do what with them.

``python -m deploy.kubernetes.kafka_needs`` prints the commands that grant the rights, for the names
that the environment gives; with ``tables`` the two tables of README.md.
"""

import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from app_worker.environment import load
from app_worker.handover.words import handover_topic
from app_worker.settings import ORDERED_GROUP_SUFFIX, RETRY_GROUP_SUFFIX, KafkaSettings
from webhook_worker.settings import WebhookSettings
from webhook_worker.topics import DAY_SECONDS, topic_specs

WORKER, OPERATOR = "webhook-worker", "webhook-operator"
"""Two principals: what runs all the time, and whoever looks after it by the command line."""
DAY_MS = DAY_SECONDS * 1000


@dataclass(frozen=True, slots=True)
class Grant:
    """What a principal may do with a resource, or with all whose name begins so."""

    principal: str
    resource: str
    """``topic``, ``group``, ``transactional-id`` or ``cluster``."""
    name: str
    operations: tuple[str, ...]
    why: str
    prefixed: bool = False

    @property
    def options(self) -> list[str]:
        """As kafka-acls.sh has to be told it."""
        named = [f"--{self.resource}", self.name] if self.name else [f"--{self.resource}"]
        operations = [part for each in self.operations for part in ("--operation", each)]
        pattern = ["--resource-pattern-type", "prefixed"] if self.prefixed else []
        return ["--allow-principal", f"User:{self.principal}", *operations, *named, *pattern]


def grants(webhook: WebhookSettings, group: str) -> tuple[Grant, ...]:
    """Every right that is needed; Read brings Describe with it, and so does Write."""
    topic, delays, names = webhook.topic, f"{webhook.topic}.retry.", webhook.topic_names
    handover = handover_topic(topic)
    dead, delay_groups = names.dead_letters, f"{group}{RETRY_GROUP_SUFFIX}"
    found = [
        Grant(WORKER, "topic", topic, ("Read",), "events"),
        Grant(WORKER, "topic", delays, ("Read", "Write"), "park, and try again", prefixed=True),
        Grant(WORKER, "topic", dead, ("Write",), "give up"),
        Grant(WORKER, "topic", names.endpoint_state, ("Read", "Write"), "disable endpoints"),
        Grant(
            WORKER, "topic", handover, ("Read", "Write", "DescribeConfigs"), "`WORKER_HANDOVER=on`"
        ),
        Grant(WORKER, "group", group, ("Read",), "join, commit"),
        Grant(WORKER, "group", delay_groups, ("Read",), "the same for what is parked"),
        Grant(OPERATOR, "cluster", "", ("Create",), "`topics create`"),
        Grant(OPERATOR, "topic", topic, ("Write",), "`send`, the lag"),
        Grant(OPERATOR, "topic", delays, ("Write",), "`dead-letters replay`", prefixed=True),
        Grant(OPERATOR, "topic", dead, ("Read",), "`dead-letters`"),
        Grant(OPERATOR, "topic", names.replayed, ("Read", "Write"), "`dead-letters replay`"),
        Grant(OPERATOR, "transactional-id", f"{dead}.replay", ("Write",), "`dead-letters replay`"),
        Grant(OPERATOR, "topic", names.endpoint_state, ("Read", "Write"), "`endpoints`"),
        Grant(OPERATOR, "group", group, ("Read",), "`group describe`, `group remove-members`"),
        Grant(OPERATOR, "group", delay_groups, ("Read",), "the same"),
    ]
    if names.endpoints:
        found += [
            Grant(WORKER, "topic", names.endpoints, ("Read",), "`WEBHOOK_ENDPOINTS=kafka:`"),
            Grant(OPERATOR, "topic", names.endpoints, ("Read", "Write"), "`endpoints`"),
        ]
    if names.operational_events:
        why = "`WEBHOOK_OPERATIONAL_EVENTS_TOPIC`"
        found.append(Grant(WORKER, "topic", names.operational_events, ("Write",), why))
    if names.attempt_log:
        why = "`WEBHOOK_ATTEMPT_LOG_TOPIC`"
        found.append(Grant(WORKER, "topic", names.attempt_log, ("Write",), why))
    if names.ordered:
        groups = f"{group}{ORDERED_GROUP_SUFFIX}"
        why = "`WEBHOOK_ORDERED_TOPIC`"
        found += [
            Grant(WORKER, "topic", names.ordered, ("Read", "Write"), why),
            Grant(WORKER, "group", groups, ("Read",), why),
            Grant(OPERATOR, "group", groups, ("Read",), "`group describe --group`"),
        ]
    return tuple(sorted(found, key=lambda each: each.principal, reverse=True))


def topics_table(webhook: WebhookSettings) -> str:
    """What `topics create` makes, as a Markdown table."""
    rows = []
    for spec in topic_specs(webhook.schedule, webhook.topic_names):
        configs = dict(spec.configs)
        policy = configs.pop("cleanup.policy")
        kept = configs.pop("retention.ms", None)
        if kept is not None:
            kept = f"`{kept}`, {int(kept) / DAY_MS:.3g} days"
        elif policy == "delete":
            kept = "as the brokers keep"
        others = ", ".join(f"`{name}={value}`" for name, value in sorted(configs.items()))
        rows.append((f"`{spec.name}`", spec.partitions, f"`{policy}`", kept or "", others))
    headings = ("topic", "partitions", "`cleanup.policy`", "`retention.ms`", "besides")
    return _table(headings, rows)


def grants_table(webhook: WebhookSettings, group: str) -> str:
    """The rights as a Markdown table."""
    rows = (
        (
            f"`{each.principal}`",
            each.resource,
            f"`{each.name}{'*' if each.prefixed else ''}`" if each.name else "",
            ", ".join(each.operations),
            each.why,
        )
        for each in grants(webhook, group)
    )
    return _table(("principal", "resource", "name", "operations", "for"), rows)


def _table(headings: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = list(headings)
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def main(arguments: list[str]) -> None:
    """Print the commands, or the tables."""
    webhook = load(WebhookSettings, os.environ)
    group = os.environ.get("KAFKA_GROUP_ID") or KafkaSettings.fields["group_id"].default
    if arguments == ["tables"]:
        print(topics_table(webhook), grants_table(webhook, group), sep="\n", end="")
        return
    for each in grants(webhook, group):
        print("kafka-acls.sh $ADMIN --add", shlex.join(each.options))


if __name__ == "__main__":
    main(sys.argv[1:])
