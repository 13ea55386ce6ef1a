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
from app_worker.settings import RETRY_GROUP_SUFFIX, KafkaSettings
from webhook_worker.settings import ENDPOINTS_TOPIC, EndpointsTopic, WebhookSettings
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
    topic, dead = webhook.topic, webhook.dead_letter_topic
    delays, replayed = f"{topic}.retry.", webhook.replayed_topic
    source = webhook.endpoints
    endpoints = source.name if isinstance(source, EndpointsTopic) else ENDPOINTS_TOPIC
    delay_groups = f"{group}{RETRY_GROUP_SUFFIX}"
    return (
        Grant(WORKER, "topic", topic, ("Read",), "events"),
        Grant(WORKER, "topic", delays, ("Read", "Write"), "park, and try again", prefixed=True),
        Grant(WORKER, "topic", dead, ("Write",), "give up"),
        Grant(WORKER, "topic", endpoints, ("Read",), "only with WEBHOOK_ENDPOINTS=kafka:"),
        Grant(WORKER, "group", group, ("Read",), "join, commit"),
        Grant(WORKER, "group", delay_groups, ("Read",), "the same for what is parked"),
        Grant(OPERATOR, "cluster", "", ("Create",), "`topics create`"),
        Grant(OPERATOR, "topic", topic, ("Describe", "Write"), "`send`, the lag"),
        Grant(OPERATOR, "topic", delays, ("Describe", "Write"), "`replay`", prefixed=True),
        Grant(OPERATOR, "topic", dead, ("Read",), "`dead-letters`"),
        Grant(OPERATOR, "topic", replayed, ("Read", "Write"), "`dead-letters replay`"),
        Grant(OPERATOR, "transactional-id", f"{dead}.replay", ("Write",), "`dead-letters replay`"),
        Grant(OPERATOR, "group", group, ("Read",), "`group describe`, `group remove-members`"),
        Grant(OPERATOR, "group", delay_groups, ("Read",), "the same"),
    )


def topics_table(webhook: WebhookSettings) -> str:
    """What `topics create` makes, as a Markdown table."""
    source = webhook.endpoints
    specs = topic_specs(
        webhook.schedule,
        webhook.dead_letter_topic,
        webhook.replayed_topic,
        endpoints_topic=source.name if isinstance(source, EndpointsTopic) else ENDPOINTS_TOPIC,
    )
    rows = []
    for spec in specs:
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
    group = os.environ.get("KAFKA_GROUP_ID") or KafkaSettings.model_fields["group_id"].default
    if arguments == ["tables"]:
        print(topics_table(webhook), grants_table(webhook, group), sep="\n", end="")
        return
    for each in grants(webhook, group):
        print("kafka-acls.sh $ADMIN --add", shlex.join(each.options))


if __name__ == "__main__":
    main(sys.argv[1:])
