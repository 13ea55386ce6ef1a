"""What the worker is asked to work on: the topics that the settings name."""

from app_worker.worker import WorkerPlan
from webhook_worker.settings import WebhookSettings

CREATE_COMMAND = "webhook-worker topics create"


def plan_of(webhook: WebhookSettings) -> WorkerPlan:
    """What the worker has to read and to write."""
    schedule = webhook.schedule
    needed = (webhook.topic, *schedule.topics(), *webhook.topic_names.for_work)
    return WorkerPlan(
        topic=webhook.topic,
        schedule=schedule,
        dead_letter_topic=webhook.dead_letter_topic,
        needed_topics=tuple(dict.fromkeys(needed)),
        create_command=CREATE_COMMAND,
        ordered_topic=webhook.ordered_topic,
    )
