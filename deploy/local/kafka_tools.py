"""Kafka's own command-line tools, as far as a cluster needs them before it can be used."""

import base64
import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.local.errors import BrokersUnavailable
from deploy.local.java import java_command

TIMEOUT_SECONDS = 90.0
"""Three of them start at once, beside whatever else the machine does."""


def format_storage(class_path: str, files: Sequence[Path], users: Sequence[str]) -> None:
    """Prepare the empty data directories of brokers without ZooKeeper, as those of one cluster."""
    # An id of Kafka's kind; it begins with A, since "-" would be taken for an option.
    identity = base64.urlsafe_b64encode(b"\0" + os.urandom(15)).decode().rstrip("=")

    def format_one(file: Path) -> None:
        options = ("--cluster-id", identity, "--config", str(file), *users)
        _run(class_path, "kafka.tools.StorageTool", "format", *options)

    with ThreadPoolExecutor() as pool:
        list(pool.map(format_one, files))


def change_configs(class_path: str, bootstrap_servers: str, options: Sequence[str]) -> None:
    """Run ConfigCommand against running brokers."""
    where = ("--bootstrap-server", bootstrap_servers)
    _run(class_path, "kafka.admin.ConfigCommand", *where, *options)


def _run(class_path: str, main_class: str, *arguments: str) -> None:
    try:
        done = subprocess.run(
            java_command(class_path, main_class, *arguments),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrokersUnavailable(f"{main_class} cannot be run: {error}.") from error
    if done.returncode != 0:
        raise BrokersUnavailable(
            f"{main_class} ended with status {done.returncode} and said:\n{done.stdout.strip()}"
        )
