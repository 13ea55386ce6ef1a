"""supervisord in this very process, so that the pod learns why its workers end.

By itself supervisord stays up when what it has started is gone for good, and Kubernetes sees a pod
that runs. A listener beside it would be one process more in each pod. What workers print it passes
on in pieces, and to a file that it has to open: here they are whole lines, for the output that
is there.
"""

import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

from supervisor import events
from supervisor.loggers import Handler
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.options import ServerOptions
from supervisor.states import SupervisorStates
from supervisor.supervisord import Supervisor

from deploy.image.crash_loop import MOST_ENDS, WITHIN_SECONDS, CrashLoop
from deploy.image.messages import LONGEST_TAIL, pass_on, say, tail
from deploy.image.whole_lines import WholeLines

KILLED = -1
"""What supervisord calls the exit status of a process that a signal has ended."""
LEVELS = {"CRIT": "critical", "ERRO": "error", "WARN": "warning"}


def supervise(conf: Path) -> str | None:
    """Run the pod that ``conf`` describes until SIGTERM or until a worker is lost for good.

    Either way all workers have ended, in order. Returns why none could go on; None after a signal.
    """
    options = ServerOptions()
    options.realize(["-c", str(conf)])
    options.first, options.test = True, False
    options.silent = True  # Until the log is ours.
    for group in options.process_group_configs:
        for process in group.process_configs:
            process.stdout_logfile = None  # It comes to us, as events.
    supervised = _Supervised(options)
    with suppress(asyncore.ExitNow):  # This is how it ends.
        supervised.main()
    return supervised.verdict


class _Supervised(Supervisor):  # type: ignore[misc] # it has no types
    """supervisord, which ends when a worker cannot be kept running."""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.verdict: str | None = None
        self._loop = CrashLoop()
        self._lines = WholeLines()
        self._words: dict[str, bytes] = defaultdict(bytes)

    def runforever(self) -> None:
        """Its loop. What listens to events is cleared right before it begins."""
        self.options.logger.addHandler(_OwnLines())
        events.subscribe(events.ProcessLogStdoutEvent, self._printed)
        for over in (
            events.ProcessStateExitedEvent,
            events.ProcessStateBackoffEvent,
            events.ProcessStateStoppedEvent,
        ):
            events.subscribe(over, self._silent)
        events.subscribe(events.ProcessStateExitedEvent, self._ended)
        events.subscribe(events.ProcessStateFatalEvent, self._given_up)
        super().runforever()

    def _printed(self, event: Any) -> None:
        name = event.process.config.name
        # One byte more than is shown tells that there was more.
        self._words[name] = (self._words[name] + event.data)[-LONGEST_TAIL - 1 :]
        pass_on(self._lines.said(name, event.data))

    def _silent(self, event: Any) -> None:
        pass_on(self._lines.ended(event.process.config.name))

    def _ended(self, event: Any) -> None:
        name = event.process.config.name
        if event.process.exitstatus == KILLED:
            say(
                "error",
                f"{name} was killed by a signal; it comes back, and what it had in flight is sent "
                "again. If that was SIGKILL and nobody sent it, memory ran out.",
            )
        self._loop = self._loop.ended(name, time.monotonic())
        if self._loop.holds(name):
            self._end(name, f"ended {MOST_ENDS} times within {WITHIN_SECONDS:.0f} s")

    def _given_up(self, event: Any) -> None:
        process = event.process
        tries = process.config.startretries + 1
        self._end(process.config.name, f"could not be started in {tries} tries")

    def _end(self, name: str, what: str) -> None:
        if self.options.mood < SupervisorStates.RUNNING:
            return  # The pod ends anyway.
        words = tail(self._words[name])
        self.verdict = f"{name} {what}. " + (
            f"Its last words:\n{words}" if words else "It is mute."
        )
        self.options.mood = SupervisorStates.SHUTDOWN


class _OwnLines(Handler):  # type: ignore[misc] # it has no types
    """supervisord's own log as lines like those of its workers."""

    def emit(self, record: Any) -> None:
        """Say what supervisord says."""
        fields = record.asdict()
        say(LEVELS.get(fields["levelname"], "info"), fields["message"])
