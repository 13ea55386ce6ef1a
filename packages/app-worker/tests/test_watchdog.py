"""A process whose loop hangs is ended and shows where; one that was merely stopped goes on."""

import signal
import subprocess
import sys
import textwrap

from app_worker.observability.watchdog import Beat

PROGRAM = """
import asyncio, re, signal, sys, threading, time
from app_worker.observability.watchdog import watchdog

def sleeps_in_place():
    time.sleep(60)

def computes_and_lets_nobody_in():
    re.match(r"(a+)+$", "a" * 60 + "b")

async def main():
    with watchdog(3.0):
        await asyncio.sleep(0.1)
        print("ready", flush=True)
        {what}
    print("over", flush=True)

asyncio.run(main())
"""


class Process:
    """One that does what it is told within a watchdog of 3 s."""

    def __init__(self, what: str) -> None:
        program = textwrap.dedent(PROGRAM).replace("{what}", what)
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop_as_a_whole(self) -> None:
        """SIGSTOP, once it is within the watchdog."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> tuple[int, str, str]:
        """Its exit code, what it printed (after ``ready`` if that was read), and its errors."""
        with self._process:
            output, errors = self._process.communicate(timeout=60)
        return self._process.returncode, output, errors


def test_a_loop_that_hangs_ends_its_process_and_shows_where_and_no_other_does() -> None:
    stopped = Process("await asyncio.sleep(4.5)")
    sleeping, computing = Process("sleeps_in_place()"), Process("computes_and_lets_nobody_in()")
    running = Process("await asyncio.sleep(4.5)")
    stopped.stop_as_a_whole()

    code, output, errors = sleeping.end()
    assert (code, output) == (1, "ready\n")
    assert "in sleeps_in_place" in errors
    code, output, errors = computing.end()
    assert (code, output) == (-signal.SIGPROF, "ready\n")
    assert "in computes_and_lets_nobody_in" in errors
    assert running.end() == (0, "ready\nover\n", "")

    # It was still for as long as the others took, which is longer than its watchdog.
    stopped.go_on()
    assert stopped.end() == (0, "over\n", "")


def looks(beat: Beat, *times: float) -> list[bool]:
    return [beat.hangs(now) for now in times]


def test_the_time_without_a_beat_counts() -> None:
    beat = Beat(3.0, 0.0)
    assert looks(beat, 1, 2, 3) == [False] * 3
    beat.beat(3.0)
    assert looks(beat, 4, 5, 6, 7) == [False, False, False, True]


def test_time_in_which_the_watching_thread_stood_still_too_does_not_count() -> None:
    beat = Beat(3.0, 0.0)
    assert looks(beat, 1, 60, 61, 62, 63, 64) == [False] * 5 + [True]
