"""A pod's first process over workers that do nothing: the real supervisord, really configured."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.container import CONTAINED, USER, WHY_NOT, container, hurried, pod_directory

WORKER = """#!{python} -IS
import os, signal, sys, time
index = int(os.environ.get("WORKER_PROCESS_INDEX", "-1"))
def say(text):
    os.write(2, (text + chr(10)).encode())
def end(*_):
    say('{{"msg": "drained", "worker": %d}}' % index)
    sys.exit(0)
if sys.argv[1:] == ["check-config"]:
    {check}
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
say('{{"msg": "started", "worker": %d, "instance": "%s"}}'
    % (index, os.environ.get("KAFKA_GROUP_INSTANCE_ID", "")))
{work}
while True:
    time.sleep(60)
"""


class Scene:
    """A directory for a pod, with a command `webhook-worker` that does what it is told."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.conf = hurried(directory)
        self.environ = {"POD_PROCESSES": "3"}

    def worker(self, work: str = "", check: str = "pass") -> dict[str, str]:
        commands = self.directory / "bin"
        commands.mkdir()
        commands.chmod(0o755)
        command = commands / "webhook-worker"
        command.write_text(WORKER.format(python=sys.executable, work=work, check=check))
        command.chmod(0o755)
        path = f"{commands}:{Path(sys.executable).parent}:/usr/bin:/bin"
        return self.environ | {"PATH": path}


@pytest.fixture
def scene() -> Iterator[Scene]:
    with pod_directory() as directory:
        yield Scene(directory)


def test_sigterm_drains_all_workers_and_the_pod_ends_with_0(scene: Scene) -> None:
    environ = scene.worker() | {"POD_MEMBERSHIP": "static", "POD_NAME": "webhook-worker-7"}
    with container(scene.directory, environ, conf=scene.conf) as pod:
        pod.until(lambda: sum(line.get("msg") == "started" for line in pod.log) == 3)
        pod.signal(signal.SIGTERM)
        assert pod.ended() == 0
    assert sorted(line["worker"] for line in pod.log if line["msg"] == "drained") == [0, 1, 2]
    # Static members are called after their pod.
    named = {line["instance"] for line in pod.log if line["msg"] == "started"}
    assert named == {"webhook-worker-7"}
    assert pod.last_word == ""


def test_a_worker_that_cannot_start_ends_the_pod_with_1_and_its_last_words(scene: Scene) -> None:
    broken = """if index == 1:
    say("port 9101 is taken")
    sys.exit(2)"""
    with container(scene.directory, scene.worker(broken), conf=scene.conf) as pod:
        assert pod.ended() == 1
    assert pod.last_word.startswith("worker-1 could not be started in 2 tries.")
    assert pod.last_word.endswith("port 9101 is taken")
    assert pod.said(json.dumps(pod.last_word))
    drained = [line for line in pod.lines if '"drained"' in line]
    assert len(drained) == 2


def test_a_worker_that_keeps_ending_ends_the_pod_with_1(scene: Scene) -> None:
    broken = """if index == 2:
    say("out of its group")
    sys.exit(1)"""
    # Whenever it ends, it has run for longer than a start takes.
    conf = hurried(scene.directory, startsecs=0)
    with container(scene.directory, scene.worker(broken), conf=conf) as pod:
        assert pod.ended() == 1
    assert pod.last_word.startswith("worker-2 ended 3 times within 300 s.")
    assert pod.last_word.endswith("out of its group")


def test_a_worker_that_was_killed_comes_back_and_is_told_of(scene: Scene) -> None:
    killed = """marker = os.environ["POD_DIRECTORY"] + "/was-killed"
if index == 0 and not os.path.exists(marker):
    open(marker, "w").close()
    os.write(2, b'{"msg": "said without an end"}')
    os.kill(os.getpid(), signal.SIGKILL)"""
    conf = hurried(scene.directory, startsecs=0)
    with container(scene.directory, scene.worker(killed), conf=conf) as pod:
        pod.until(lambda: sum(line.get("worker") == 0 for line in pod.log) == 2)
        pod.signal(signal.SIGTERM)
        assert pod.ended() == 0
    told = [line["msg"] for line in pod.log]
    assert sum("worker-0 was killed by a signal" in line for line in told) == 1
    assert told.count("said without an end") == 1


def test_what_is_configured_wrongly_is_said_before_anything_starts(scene: Scene) -> None:
    check = """say("KAFKA_SASL_PASSWORD_FILE is wrong.")
    say("WORKER_METRICS_PORT is wrong with %d." % index)
    sys.exit(2)"""
    with container(scene.directory, scene.worker(check=check), conf=scene.conf) as pod:
        assert pod.ended() == 2
    mistakes = ["KAFKA_SASL_PASSWORD_FILE is wrong.", "WORKER_METRICS_PORT is wrong with 2."]
    assert [line["msg"] for line in pod.log] == mistakes
    assert {line["level"] for line in pod.log} == {"critical"}
    assert pod.last_word.splitlines() == mistakes


def test_all_mistakes_of_the_pod_itself_are_said_at_once(scene: Scene) -> None:
    environ = scene.worker() | {"POD_PROCESSES": "many", "POD_MEMBERSHIP": "sticky"}
    with container(scene.directory, environ, conf=scene.conf) as pod:
        assert pod.ended() == 2
    assert pod.last_word.splitlines() == [
        "POD_PROCESSES is 'many', but must be a whole number from 1 to 64.",
        "POD_MEMBERSHIP is 'sticky', but must be dynamic or static.",
    ]


def test_a_signal_before_the_start_ends_the_pod_with_0(scene: Scene) -> None:
    check = """open(os.environ["POD_DIRECTORY"] + "/asked", "w").close()
    time.sleep(60)"""
    with container(scene.directory, scene.worker(check=check), conf=scene.conf) as pod:
        pod.until((scene.directory / "asked").exists)
        pod.signal(signal.SIGTERM)
        assert pod.ended() == 0
    assert [line["msg"] for line in pod.log] == ["stopped by SIGTERM, before anything was started"]


def test_lines_of_four_processes_arrive_whole(scene: Scene) -> None:
    # The longest line that a worker writes is one of 4,095 bytes and its end.
    talkative = """import json
for number in range(500):
    line = '{"worker": %d, "number": %d, "msg": "' % (index, number)
    say(line + "x" * (number * 37 % (4093 - len(line))) + '"}')
say('{"worker": %d, "msg": "done"}' % index)"""
    environ = scene.worker(talkative) | {"POD_PROCESSES": "4"}
    with container(scene.directory, environ, conf=scene.conf) as pod:
        pod.until(lambda: sum('"done"' in line for line in pod.lines) == 4)
        pod.signal(signal.SIGTERM)
        assert pod.ended() == 0
    for worker in range(4):
        numbers = [
            line["number"] for line in pod.log if line.get("worker") == worker and "number" in line
        ]
        assert numbers == list(range(500))


def test_a_directory_that_cannot_be_written_is_named(scene: Scene) -> None:
    environ = scene.worker() | {"POD_DIRECTORY": "/proc/sys"}
    with container(scene.directory, environ, conf=scene.conf) as pod:
        assert pod.ended() == 2
    [said] = [line["msg"] for line in pod.log]
    assert said.startswith("POD_DIRECTORY is '/proc/sys', but must be a directory that user")
    assert said.endswith("in Kubernetes, mount an emptyDir there.")


def test_what_a_worker_says_in_pieces_tears_no_line_of_another(scene: Scene) -> None:
    # As the stacks of a process that hangs are written.
    halting = """for number in range(40):
    for piece in ('{"worker": %d, ' % index, '"msg": ', '"in pieces"}', chr(10)):
        os.write(2, piece.encode())
        time.sleep(0.002)
"""
    environ = scene.worker(halting)
    # Output that the workers' user could not open: it is written to as it is.
    with container(scene.directory, environ, conf=scene.conf, owned_output=False) as pod:
        pod.until(lambda: sum("in pieces" in line for line in pod.lines) == 120)
        pod.signal(signal.SIGTERM)
        assert pod.ended() == 0
    said = [line["msg"] for line in pod.log if "msg" in line]
    assert said.count("in pieces") == 120


@pytest.mark.skipif(not CONTAINED, reason=WHY_NOT)
def test_workers_are_nobody_and_can_write_nothing_but_the_pod_s_directory(scene: Scene) -> None:
    look = """def writable(path):
    try:
        open(path + "/probe", "w").close()
    except OSError:
        return False
    return True
places = ["/", "/usr", "/etc", os.environ["PYTHONPATH"], os.environ["POD_DIRECTORY"]]
say('{"uid": %d, "msg": "%s"}' % (os.geteuid(), [writable(place) for place in places]))"""
    with container(scene.directory, scene.worker(look), conf=scene.conf) as pod:
        pod.until(lambda: sum("uid" in line for line in pod.log) == 3)
        pod.signal(signal.SIGTERM)
        assert pod.ended() == 0
    assert {line["uid"] for line in pod.log if "uid" in line} == {USER}
    assert {line["msg"] for line in pod.log if "uid" in line} == {
        str([False, False, False, False, True])
    }


@pytest.mark.skipif(not CONTAINED, reason=WHY_NOT)
def test_when_the_first_process_is_killed_no_worker_lives_on(scene: Scene) -> None:
    with container(scene.directory, scene.worker(), conf=scene.conf) as pod:
        pod.until(lambda: sum(line.get("msg") == "started" for line in pod.log) == 3)
        pod.signal(signal.SIGKILL)
        assert pod.ended() != 0
    assert not pod.said("drained")
