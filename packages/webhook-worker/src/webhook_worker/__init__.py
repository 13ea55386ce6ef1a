"""Sends events from Kafka to customers' endpoints, as signed webhooks."""

from importlib.metadata import version

__version__ = version("webhook-worker")
