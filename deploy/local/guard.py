"""A small process that ends what its parent started when the parent ends, however it ends.

A parent that is killed with SIGKILL cannot clean up. The guard reads orders from a pipe whose only
writer is the parent; when the pipe closes it kills every process of the sessions that it was told
of and removes the directories that it was told of. A session, not a process group: supervisord
gives each of its programs a group of its own.

This file runs by itself as that process, so it imports the standard library only.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

# Says its own id to the guard before it becomes the command: there is no moment at which the
# command runs unknown to the guard. The guard's pipe arrives as standard input and goes away.
ANNOUNCE = 'echo "adopt $$" >&0; exec "$@" </dev/null'


PATIENCE_SECONDS = 10.0


class Guard:
    """The parent's side; a context manager, whose end kills what is still adopted."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        if self._process.stdin is None:
            raise AssertionError("Popen was asked for a pipe")
        self._orders = self._process.stdin
        self._spawned: list[subprocess.Popen[bytes]] = []

    def spawn(
        self,
        command: Sequence[str | Path],
        *,
        output: IO[bytes] | int,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own, adopted from its first moment.

        A Ctrl-C at the terminal does not reach it. `output` takes both stdout and stderr.
        """
        spawned = subprocess.Popen(
            ["/bin/sh", "-c", ANNOUNCE, "sh", *command],
            stdin=self._orders,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=cwd,
            env=env,
        )
        # Whoever lets go of it would leave a child that nobody waits for.
        self._spawned = [each for each in self._spawned if each.poll() is None]
        self._spawned.append(spawned)
        return spawned

    def release(self, session: int) -> None:
        """Forget the session of an ended process (its id names it): the id may be used again."""
        self._order(f"release {session}")
        self._spawned = [each for each in self._spawned if each.pid != session]

    def remove(self, directory: Path) -> None:
        """Remove this directory with all that is in it when the parent ends."""
        self._order(f"remove {directory.resolve()}")

    def close(self) -> None:
        """Kill what is adopted, remove what is to be removed, and return when that is done."""
        self._orders.close()
        self._process.wait()
        for each in self._spawned:
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.wait(PATIENCE_SECONDS)

    def __enter__(self) -> "Guard":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _order(self, line: str) -> None:
        # One write of less than PIPE_BUF: the orders of threads and of children do not mix.
        os.write(self._orders.fileno(), f"{line}\n".encode())


def kill_sessions(sessions: Iterable[int], number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to every process of these sessions."""
    wanted = set(sessions)
    for pid in list(_pids()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) in wanted:
                os.kill(pid, number)


def living(sessions: Iterable[int]) -> bool:
    """Whether a process of these sessions is left, except the dead whom nobody has waited for."""
    wanted = set(sessions)
    return any(_session(pid) in wanted and not _is_zombie(pid) for pid in _pids())


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _pids() -> Iterator[int]:
    if Path("/proc/self/stat").exists():
        yield from (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    else:
        listing = subprocess.run(["ps", "-A", "-o", "pid="], capture_output=True, check=True)
        yield from (int(pid) for pid in listing.stdout.split())


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] == b"Z"
    except OSError:
        return False


def main(orders: Iterable[str]) -> None:
    """The guard's side: take orders until the parent is gone, then carry them out."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions: set[int] = set()
    directories: set[str] = set()
    for order in orders:
        verb, _, what = order.rstrip("\n").partition(" ")
        if verb == "adopt":
            sessions.add(int(what))
        elif verb == "release":
            sessions.discard(int(what))
        elif verb == "remove":
            directories.add(what)
    # Again and again: a process may have been starting another one meanwhile.
    give_up = time.monotonic() + PATIENCE_SECONDS
    while living(sessions) and time.monotonic() < give_up:
        kill_sessions(sessions)
        time.sleep(0.02)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(sys.stdin)
