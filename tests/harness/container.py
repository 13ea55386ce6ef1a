"""A pod's container without a container engine: the entrypoint, and around it what is promised.

As root on Linux it is the first process of a namespace of its own, as a user who owns nothing, on a
root file system that cannot be written; where that cannot be had it is a plain process, and
`CONTAINED` says so.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.harness.environment import without_settings

ROOT = Path(__file__).parents[2]
CONF = ROOT / "deploy" / "image" / "supervisord.conf"
USER = 10001
PATIENCE_SECONDS = 60.0

# Directories that are closed to others, as root's own is, are covered, and what is needed of them
# is laid open.
_GROUND = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 kept /mnt
number=0
for path in $NEEDED; do
    number=$((number + 1))
    mkdir /mnt/$number
    mount --bind "$path" /mnt/$number
done
for path in $CLOSED; do mount -t tmpfs -o mode=755 open "$path"; done
number=0
for path in $NEEDED; do
    number=$((number + 1))
    mkdir -p "$path"
    mount --bind /mnt/$number "$path"
done
mount --bind "$POD_DIRECTORY" "$POD_DIRECTORY"
mount -o remount,bind,ro /
mount -t proc proc /proc
exec setpriv --reuid {user} --regid {user} --clear-groups --no-new-privs --inh-caps=-all -- "$@"
"""


def _ground() -> str:
    needed = [Path(sys.base_prefix), ROOT]
    closed = {
        next(above for above in reversed(path.parents) if not above.stat().st_mode & 0o001)
        for path in needed
        if any(not above.stat().st_mode & 0o001 for above in path.parents)
    }
    script = _GROUND.replace("{user}", str(USER))
    script = script.replace("$NEEDED", " ".join(shlex.quote(str(path)) for path in needed))
    return script.replace("$CLOSED", " ".join(shlex.quote(str(path)) for path in closed))


def _walls() -> list[str]:
    """What stands before the entrypoint's own command; empty where no container can be had."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"):
        return []
    walls = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c"]
    walls += [_ground(), "container"]
    with tempfile.TemporaryDirectory() as directory:
        tried = subprocess.run(
            [*walls, "sh", "-c", f"{sys.executable} -c 'import deploy.image.entrypoint'"],
            env={**os.environ, "POD_DIRECTORY": directory, "PYTHONPATH": str(ROOT)},
            cwd="/",
            check=False,
            capture_output=True,
        )
    return [] if tried.returncode else walls


WALLS = _walls()
CONTAINED = bool(WALLS)
WHY_NOT = "needs root, Linux namespaces, and a checkout that any user can read"


class Container:
    """A container that runs: what it prints, and signals to its first process."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path, output: int) -> None:
        self.process = process
        self.directory = directory
        self._printed = bytearray()
        self._reader = threading.Thread(target=self._read, args=(output,))
        self._reader.start()

    def _read(self, output: int) -> None:
        with open(output, "rb", buffering=0) as stream:
            while piece := stream.read(65_536):
                self._printed += piece

    @property
    def lines(self) -> list[str]:
        """What has its end yet."""
        whole, _, _ = self._printed.rpartition(b"\n")
        return whole.decode().splitlines()

    def said(self, text: str) -> bool:
        return text in self._printed.decode(errors="replace")

    @property
    def log(self) -> list[dict[str, Any]]:
        """Every line, of which each must be JSON."""
        return [json.loads(line) for line in self.lines]

    @property
    def last_word(self) -> str:
        """What Kubernetes is told."""
        return (self.directory / "termination-log").read_text()

    @property
    def first_pid(self) -> int:
        """The pid, as seen from here, of the container's first process."""
        pid = self.process.pid
        if not CONTAINED:
            return pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def until(self, reached: Callable[[], object]) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not reached():
            assert self.process.poll() is None, self._printed.decode()
            assert time.monotonic() < give_up, self._printed.decode()
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.first_pid, number)

    def ended(self) -> int:
        """Wait for its end, until nobody has its output open any more; returns the exit status."""
        status = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        assert not self._reader.is_alive(), "somebody lives on"
        return status


def hurried(directory: Path, startsecs: int = 1) -> Path:
    """The pod's own configuration, but with less time and two tries for a start."""
    text = CONF.read_text()
    for name, value in (("startsecs", startsecs), ("startretries", 1)):
        text, found = re.subn(rf"(?m)^{name}=.*$", f"{name}={value}", text)
        assert found == 1, name
    conf = directory / "supervisord.conf"
    conf.write_text(text)
    conf.chmod(0o644)
    return conf


@contextmanager
def pod_directory() -> Iterator[Path]:
    """A directory of the container's user; pytest's own are closed to that one."""
    with tempfile.TemporaryDirectory(prefix="pod-") as name:
        directory = Path(name)
        (directory / "termination-log").touch()
        if CONTAINED:
            for path in (directory, directory / "termination-log"):
                os.chown(path, USER, USER)
        yield directory


@contextmanager
def container(
    directory: Path, environ: Mapping[str, str], *, conf: Path = CONF, owned_output: bool = True
) -> Iterator[Container]:
    """Run the entrypoint; whatever is left of it afterwards is killed."""
    output, its_output = os.pipe()
    if CONTAINED and owned_output:
        os.fchown(its_output, USER, USER)
    command = [*WALLS, sys.executable, "-m", "deploy.image.entrypoint", str(conf)]
    settings = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "POD_DIRECTORY": str(directory),
        "POD_TERMINATION_LOG": str(directory / "termination-log"),
    }
    process = subprocess.Popen(
        command,
        stdout=its_output,
        stderr=its_output,
        stdin=subprocess.DEVNULL,
        env={**without_settings(), **settings, **environ},
        cwd="/",
        start_new_session=True,
    )
    os.close(its_output)
    running = Container(process, directory, output)
    try:
        yield running
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        running.ended()
