"""What the pod itself says: on standard output, as its workers do, and where Kubernetes looks."""

import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

LONGEST_LINE = 4_096
"""Bytes, as for the workers' lines."""
TERMINATION_LOG = "/dev/termination-log"
"""Where Kubernetes reads, by default, why a container ended."""
LONGEST_TERMINATION_MESSAGE = 4_096
"""What it shows of that, in bytes."""
LONGEST_TAIL = 1_500


def line_of(now: datetime, level: str, text: str) -> str:
    """A line of the log, with the fields that a worker's has; too long a text is cut."""
    stamp = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields = {"ts": stamp, "level": level, "logger": "pod", "msg": text}
    line = json.dumps(fields)
    while len(line) >= LONGEST_LINE - 1:
        text = text[: len(text) // 2]
        line = json.dumps(fields | {"msg": text, "cut": True})
    return line


def say(level: str, text: str) -> None:
    """One line on standard output."""
    sys.stdout.write(line_of(datetime.now(UTC), level, text) + "\n")
    sys.stdout.flush()


def pass_on(lines: bytes) -> None:
    """What a worker has said, as it said it."""
    if lines:
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()


def leave_word(termination_log: Path, problems: Iterable[str]) -> None:
    """Tell Kubernetes why the pod ends: ``kubectl describe pod`` shows it. Raises OSError."""
    if termination_log.exists():  # There is none outside of Kubernetes, and none is made.
        text = "\n".join(problems).encode(errors="replace")
        termination_log.write_bytes(text[:LONGEST_TERMINATION_MESSAGE])


def tail(words: bytes) -> str:
    """The last whole lines of what a worker printed, without those that say nothing."""
    lines = [line for line in words[-LONGEST_TAIL:].decode(errors="replace").splitlines() if line]
    return "\n".join(lines[1:] if len(words) > LONGEST_TAIL and len(lines) > 1 else lines)
