"""What a container runs: checks what it was given, then supervises the workers.

Exit status: 0 stopped by a signal; 1 a worker could not be kept running; 2 the pod or its workers
were given something wrong, and nothing was started. Why is said on standard output, and to
Kubernetes.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType

from deploy.image.messages import TERMINATION_LOG, leave_word, say
from deploy.image.pod_settings import PodProblems, PodSettings
from deploy.image.supervision import supervise

STOPPED, LOST_WORKER, MISCONFIGURED = 0, 1, 2
CONF = Path(__file__).with_name("supervisord.conf")
CHECK = ("webhook-worker", "check-config")
CHECK_SECONDS = 60.0


def main(conf: Path = CONF) -> int:
    """Check, supervise, and say why it ended; returns the exit status."""
    # The first process of a container gets no signal that it has no handler for.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop_before_the_start)
    try:
        settings = PodSettings.from_environment(os.environ)
        check_ground(settings)
        # supervisord gives its workers what it has itself.
        os.environ.update(settings.for_workers)
        check_workers(settings, os.environ)
    except PodProblems as error:
        return _end(error.problems, MISCONFIGURED)
    say("info", f"starting {settings.processes} workers, {settings.membership} members")
    verdict = supervise(conf)
    return STOPPED if verdict is None else _end((verdict,), LOST_WORKER)


def check_ground(settings: PodSettings) -> None:
    """Try what supervisord and its workers will do. Raises PodProblems."""
    probe = settings.directory / "probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise PodProblems(
            (
                f"POD_DIRECTORY is '{settings.directory}', but must be a directory that user "
                f"{os.geteuid()} can write ({error.strerror}); "
                "in Kubernetes, mount an emptyDir there.",
            )
        ) from None


def check_workers(settings: PodSettings, environ: Mapping[str, str]) -> None:
    """Ask a worker whether it would start, the one with the highest port. Raises PodProblems."""
    last = {**environ, "WORKER_PROCESS_INDEX": str(settings.processes - 1)}
    try:
        asked = subprocess.run(
            CHECK, env=last, capture_output=True, check=False, timeout=CHECK_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise PodProblems(
            (f"{' '.join(CHECK)} had no answer within {CHECK_SECONDS:.0f} s.",)
        ) from None
    except OSError as error:
        raise PodProblems((f"{CHECK[0]} cannot be started ({error.strerror}).",)) from None
    if asked.returncode:
        said = asked.stderr.decode(errors="replace").splitlines()
        status = f"{' '.join(CHECK)} ended with status {asked.returncode}."
        raise PodProblems(tuple(line for line in said if line) or (status,))


def _end(problems: tuple[str, ...], status: int) -> int:
    for problem in problems:
        say("critical", problem)
    with suppress(OSError):  # It was said.
        leave_word(Path(os.environ.get("POD_TERMINATION_LOG") or TERMINATION_LOG), problems)
    return status


def _stop_before_the_start(number: int, _: FrameType | None) -> None:
    say("info", f"stopped by {signal.Signals(number).name}, before anything was started")
    raise SystemExit(STOPPED)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
