"""One Java process: its command, its log, and how it is ended, paused and started again."""

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from deploy.local.guard import Guard, kill_sessions

TAIL_LINES = 15


class JavaProcess:
    """A Java program that can be started more than once; its output is appended to one log."""

    def __init__(self, name: str, command: Sequence[str | Path], log: Path, guard: Guard) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._guard = guard
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The id of the process that was started last."""
        return self._started().pid

    def start(self) -> None:
        """Start it, in a session of its own, watched by the guard."""
        with self.log.open("ab") as output:
            self._process = self._guard.spawn(self._command, output=output)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        kill_sessions([self.pid], number)

    def kill(self) -> None:
        """End it at once; nothing happens if it has ended."""
        if self.running:
            self.send(signal.SIGKILL)
            self.wait(None)

    def wait(self, timeout_seconds: float | None) -> int:
        """Its exit status, once it has ended; raises subprocess.TimeoutExpired."""
        status = self._started().wait(timeout_seconds)
        self._guard.release(self.pid)
        return status

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        if not self.log.exists():
            return ""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} has not been started")
        return self._process
