"""What the worker is asked to work on: the topics that the settings name."""

from app_worker.worker import WorkerPlan
from webhook_worker.settings import EndpointsTopic, WebhookSettings

CREATE_COMMAND = "webhook-worker topics create"


def plan_of(webhook: WebhookSettings) -> WorkerPlan:
    """What the worker has to read and to write."""
    schedule = webhook.schedule
    endpoints = (webhook.endpoints.name,) if isinstance(webhook.endpoints, EndpointsTopic) else ()
    return WorkerPlan(
        topic=webhook.topic,
        schedule=schedule,
        dead_letter_topic=webhook.dead_letter_topic,
        needed_topics=(webhook.topic, *schedule.topics(), webhook.dead_letter_topic, *endpoints),
        create_command=CREATE_COMMAND,
    )
