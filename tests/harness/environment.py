"""The environment of a command under test, and what it finds there."""

import os
import sys
from pathlib import Path

COMMAND = Path(sys.executable).parent / "webhook-worker"
OURS = ("KAFKA_", "WORKER_", "WEBHOOK_")


def without_settings() -> dict[str, str]:
    """The environment of this process, of which none of our settings comes."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
