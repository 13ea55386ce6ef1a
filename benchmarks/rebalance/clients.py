"""The clients that are compared, and the command that starts a pod of each."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.rebalance.java import compiled

PACKAGE = "benchmarks.rebalance.members"


class ClientUnavailableError(Exception):
    """This client cannot be run here; the message says what is not there."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a client's command may need beside this Python."""

    directory: Path
    """Takes compiled classes."""
    confluent_python: str = field(default=sys.executable)
    """A Python that has confluent-kafka."""


Command = list[str | Path]


def _aiokafka(_: Tools) -> Command:
    return [sys.executable, "-m", f"{PACKAGE}.aiokafka_member"]


def _ours(tools: Tools) -> Command:
    from kafka_utils.assignors import registry

    if "cooperative-sticky" not in registry.names():
        raise ClientUnavailableError("kafka_utils has no cooperative-sticky")
    return _aiokafka(tools)


def _worker(_: Tools) -> Command:
    return [sys.executable, "-m", f"{PACKAGE}.controller_member"]


def _confluent(program: str) -> Callable[[Tools], Command]:
    def command(tools: Tools) -> Command:
        if not _has_confluent(tools.confluent_python):
            raise ClientUnavailableError("no confluent-kafka")
        return [tools.confluent_python, "-m", f"{PACKAGE}.{program}"]

    return command


def _has_confluent(python: str) -> bool:
    if python == sys.executable:
        return importlib.util.find_spec("confluent_kafka") is not None
    words = [python, "-c", "import confluent_kafka"]
    done = subprocess.run(words, capture_output=True, check=False)  # noqa: S603 - the caller's own
    return done.returncode == 0


def _java(tools: Tools) -> Command:
    command = compiled(tools.directory)
    if command is None:
        raise ClientUnavailableError("no JDK")
    return command


CLIENTS: Mapping[str, Callable[[Tools], Command]] = {
    "ours": _ours,
    "worker": _worker,
    "worker-drain": _worker,
    "ours-roundrobin": _aiokafka,
    "stock-roundrobin": _aiokafka,
    "stock-sticky": _aiokafka,
    "java": _java,
    "confluent": _confluent("confluent_member"),
    "confluent-aio": _confluent("confluent_aio_member"),
}
"""By name. `worker` is our controller, which hands over, `worker-drain` the same without that;
`ours-roundrobin` is what our factory makes with an eager assignor."""

DEFAULT = tuple(name for name in CLIENTS if name not in ("ours-roundrobin", "worker-drain"))


def command_of(client: str, tools: Tools) -> Command:
    """The words that start a pod, before its arguments; raises ClientUnavailableError."""
    return CLIENTS[client](tools)
