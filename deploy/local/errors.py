"""What goes wrong when this machine cannot have brokers."""


class BrokersUnavailable(Exception):  # noqa: N818 - reads as the sentence that it carries
    """Brokers cannot be had here; the message says what was tried, what came back, what to do."""
