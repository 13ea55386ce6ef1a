"""Sends events from Kafka to customers' endpoints, as signed webhooks."""

__version__ = "0.2.0"
