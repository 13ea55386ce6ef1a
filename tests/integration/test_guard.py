"""What a process started ends with it, even when it is killed with SIGKILL."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.local.guard import Guard, living

ROOT = Path(__file__).parents[2]
# A child that starts another in a process group of its own, as supervisord does.
CHILD = "import subprocess; subprocess.run(['sleep', '1000'], process_group=0)"
PARENT = f"""
import subprocess, sys, time
from pathlib import Path
from deploy.local.guard import Guard
guard = Guard()
guard.remove(Path(sys.argv[1]))
child = guard.spawn([sys.executable, "-c", {CHILD!r}], output=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(1000)
"""
REPORT = "import os, sys; print(sys.argv[1:], os.environ['A'], os.getcwd(), repr(sys.stdin.read()))"


def wait_until_ended(session: int) -> None:
    deadline = time.monotonic() + 10
    while living([session]):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    (made / "file").touch()
    return made


def test_children_and_directories_go_when_the_parent_is_killed(directory: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, directory], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as parent:
        assert parent.stdout is not None
        session = int(parent.stdout.readline())
        assert living([session])
        parent.kill()
    wait_until_ended(session)
    deadline = time.monotonic() + 10
    while directory.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_closing_the_guard_ends_what_it_watches(directory: Path) -> None:
    with Guard() as guard:
        guard.remove(directory)
        child = guard.spawn(["sleep", "1000"], output=subprocess.DEVNULL)
    assert child.wait() != 0
    assert not directory.exists()


def test_closing_the_guard_waits_for_a_child_that_nobody_holds() -> None:
    with Guard() as guard:
        pid = guard.spawn(["sleep", "1000"], output=subprocess.DEVNULL).pid
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_a_released_process_is_left_alone() -> None:
    with Guard() as guard:
        child = guard.spawn(["sh", "-c", "echo runs; exec sleep 1000"], output=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"runs\n"
        guard.release(child.pid)
    with child:
        assert child.poll() is None
        child.kill()


def test_a_spawned_command_gets_its_arguments_environment_and_directory(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with Guard() as guard, output.open("wb") as log:
        child = guard.spawn(
            [
                sys.executable,
                "-c",
                REPORT,
                "a b",
                "$c",
            ],
            output=log,
            cwd=tmp_path,
            env={"A": "1"},
        )
        assert child.wait(10) == 0
    assert output.read_text() == f"['a b', '$c'] 1 {tmp_path} ''\n"


def test_a_spawned_command_has_a_session_of_its_own() -> None:
    with Guard() as guard:
        child = guard.spawn(["sleep", "1000"], output=subprocess.DEVNULL)
        assert os.getsid(child.pid) == child.pid
    child.wait()
