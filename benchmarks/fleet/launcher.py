"""Starts the processes of a fleet as one session, so that none of them outlives it; ends them.

``python -m benchmarks.fleet.launcher DIRECTORY`` reads what to start from there and writes their
ids and how they ended. They get the processor after brokers and customers, if there is too little.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.processes import ended
from benchmarks.rebalance.fleet import ROOT, FleetError
from deploy.local.guard import Guard, kill_sessions

NICE = 10
LAUNCH_SECONDS = 60.0
STOP_SECONDS = 45.0
LOOK_SECONDS = 0.05
TAIL_CHARACTERS = 2_000
ORDERLY = (0, 128 + signal.SIGTERM, -signal.SIGTERM)
"""Exit statuses; Java has the second, and a program without a handler the third."""
SPEC, PIDS, STATUSES, LOG = "spec.json", "pids.json", "statuses.json", "fleet.log"


@dataclass(frozen=True, slots=True)
class Program:
    """One process to be started."""

    words: Sequence[str]
    environ: Mapping[str, str]
    """What it has beside the launcher's own."""
    ready: Path | None = None
    """The file that it keeps while it is ready, if it does so."""


@dataclass(frozen=True, slots=True)
class End:
    """How a fleet ended."""

    seconds: float
    disorderly: int
    """How many had to be killed, or ended with a status that says that something was wrong."""


class Launched:
    """A fleet that runs."""

    def __init__(
        self, guard: Guard, directory: Path, process: subprocess.Popen[bytes], pids: Sequence[int]
    ) -> None:
        self._guard = guard
        self._directory = directory
        self._process = process
        self.pids = pids

    @classmethod
    def start(
        cls,
        guard: Guard,
        directory: Path,
        programs: Sequence[Program],
        environ: Mapping[str, str],
    ) -> Self:
        """Start all of them at once; ``directory`` is theirs alone. Raises FleetError."""
        directory.mkdir()
        spec = [{"words": each.words, "environ": dict(each.environ)} for each in programs]
        (directory / SPEC).write_text(json.dumps(spec))
        words = [sys.executable, "-m", __name__, str(directory)]
        with (directory / LOG).open("wb") as output:
            process = guard.spawn(words, output=output, cwd=ROOT, env=environ)
        give_up = time.monotonic() + LAUNCH_SECONDS
        while not (directory / PIDS).exists():
            if process.poll() is not None or time.monotonic() > give_up:
                kill_sessions([process.pid])
                raise FleetError(f"the launcher did not come up: {_said(directory)}")
            time.sleep(LOOK_SECONDS)
        return cls(guard, directory, process, json.loads((directory / PIDS).read_text()))

    def check(self) -> None:
        """Raises FleetError if a process has ended by itself."""
        if gone := ended(self.pids):
            said = _said(self._directory)
            raise FleetError(f"{len(gone)} of {len(self.pids)} ended by themselves: {said}")

    def signal(self, number: signal.Signals) -> None:
        """To all of them, and to their launcher."""
        kill_sessions([self._process.pid], number)

    def stop(self) -> End:
        """Ask all to stop, and wait; those that do not within a time are killed."""
        began = time.monotonic()
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS + LAUNCH_SECONDS)
            statuses = json.loads((self._directory / STATUSES).read_text())
        except (subprocess.TimeoutExpired, OSError):
            self.kill()
            statuses = [None] * len(self.pids)
        self._guard.release(self._process.pid)
        disorderly = sum(status not in ORDERLY for status in statuses)
        return End(time.monotonic() - began, disorderly)

    def kill(self) -> None:
        """End all at once; returns when they are gone."""
        kill_sessions([self._process.pid])
        self._process.wait()
        while not set(self.pids) <= set(ended(self.pids)):
            time.sleep(LOOK_SECONDS)
        self._guard.release(self._process.pid)


def _said(directory: Path) -> str:
    return (directory / LOG).read_text(errors="replace")[-TAIL_CHARACTERS:]


def main(directory: Path) -> None:
    """The launcher's side."""
    os.nice(NICE)
    started = [
        subprocess.Popen(each["words"], env=os.environ | each["environ"])  # noqa: S603
        for each in json.loads((directory / SPEC).read_text())
    ]
    # Not before: they would inherit it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    _write(directory / PIDS, [process.pid for process in started])
    signal.sigwait({signal.SIGTERM})
    for process in started:
        process.terminate()
    give_up = time.monotonic() + STOP_SECONDS
    for process in started:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, give_up - time.monotonic()))
    statuses = [process.poll() for process in started]
    for process in started:
        process.kill()
        process.wait()
    _write(directory / STATUSES, statuses)


def _write(file: Path, what: Sequence[int | None]) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(what))
    new.replace(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
