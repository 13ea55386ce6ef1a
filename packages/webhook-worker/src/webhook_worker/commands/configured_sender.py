"""The sender that the settings ask for, the same for a worker and for a trial."""

from webhook_worker.sending.pool import ConnectionLimits
from webhook_worker.sending.sender import Sender
from webhook_worker.settings import WebhookSettings
from webhook_worker.tls import tls_context


def sender_of(webhook: WebhookSettings, limits: ConnectionLimits) -> Sender:
    """Not yet entered. Raises OSError if the authorities' file cannot be read any more."""
    authorities = webhook.tls_cafile
    return Sender(
        webhook.egress_policy,
        limits,
        webhook.attempt_timeout_seconds,
        tls=None if authorities is None else tls_context(authorities),
        proxy=webhook.egress_proxy,
    )
