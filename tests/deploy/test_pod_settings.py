"""What a pod is told about itself, and what is made of the ends of its workers."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.image.crash_loop import MOST_ENDS, WITHIN_SECONDS, CrashLoop
from deploy.image.messages import LONGEST_LINE, LONGEST_TAIL, leave_word, line_of, tail
from deploy.image.not_ready import main as not_ready
from deploy.image.pod_settings import PodProblems, PodSettings
from deploy.image.whole_lines import LONGEST_PART, WholeLines

USUAL = {"POD_PROCESSES": "4", "POD_DIRECTORY": "/run/worker"}
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def test_members_are_dynamic_unless_it_is_said_otherwise() -> None:
    settings = PodSettings.from_environment(USUAL | {"POD_NAME": "webhook-worker-3"})
    assert settings == PodSettings(4, Path("/run/worker"), "dynamic", "webhook-worker-3")
    assert settings.for_workers == {"WORKER_READY_DIR": "/run/worker", "TMPDIR": "/run/worker"}


def test_one_variable_makes_members_static_which_are_called_after_their_pod() -> None:
    static = {"POD_NAME": "webhook-worker-3", "POD_MEMBERSHIP": "static"}
    settings = PodSettings.from_environment(USUAL | static)
    assert settings.for_workers["KAFKA_GROUP_INSTANCE_ID"] == "webhook-worker-3"


@pytest.mark.parametrize(
    ("environ", "mistakes"),
    [
        ({"POD_PROCESSES": "0"}, ["POD_PROCESSES is '0'"]),
        ({"POD_PROCESSES": "٤"}, ["POD_PROCESSES is '٤'"]),
        (
            {"POD_PROCESSES": "", "POD_DIRECTORY": ""},
            ["POD_PROCESSES is not set", "POD_DIRECTORY is"],
        ),
        ({"POD_DIRECTORY": "run"}, ["POD_DIRECTORY is 'run'"]),
        ({"POD_MEMBERSHIP": "Static"}, ["POD_MEMBERSHIP is 'Static'"]),
        ({"POD_MEMBERSHIP": "static"}, ["POD_NAME is not set"]),
        (
            {"POD_MEMBERSHIP": "static", "POD_NAME": "a", "KAFKA_GROUP_INSTANCE_ID": "b"},
            ["KAFKA_GROUP_INSTANCE_ID is 'b'"],
        ),
    ],
)
def test_each_mistake_is_a_sentence(environ: dict[str, str], mistakes: list[str]) -> None:
    with pytest.raises(PodProblems) as caught:
        PodSettings.from_environment(USUAL | environ)
    assert len(caught.value.problems) == len(mistakes)
    for said, begins in zip(caught.value.problems, mistakes, strict=True):
        assert said.startswith(begins)
        assert ", but must be " in said


@given(st.lists(st.floats(0, 2_000), min_size=1, max_size=30))
def test_a_loop_is_so_many_ends_of_one_worker_within_the_time(gaps: list[float]) -> None:
    loop, now, ends = CrashLoop(), 0.0, list[float]()
    for gap in gaps:
        now += gap
        ends.append(now)
        # What another one does is nothing to this one.
        loop = (
            loop.ended("worker-1", now).ended("worker-2", now)
            if gap
            else loop.ended("worker-1", now)
        )
        recent = [end for end in ends if end > now - WITHIN_SECONDS]
        assert loop.holds("worker-1") == (len(recent) >= MOST_ENDS)
    assert not CrashLoop().holds("worker-1")


@given(st.text(max_size=40))
def test_a_line_of_the_pod_is_one_line_of_json_that_a_pipe_takes_in_one_piece(text: str) -> None:
    for said in (text, text * 200):
        line = line_of(NOON, "info", said)
        assert "\n" not in line
        assert len(line.encode()) < LONGEST_LINE - 1
        assert said.startswith(json.loads(line)["msg"])
    assert json.loads(line_of(NOON, "info", text)) == {
        "ts": "2026-11-25T12:00:00.000Z",
        "level": "info",
        "logger": "pod",
        "msg": text,
    }


def test_of_the_last_words_those_lines_are_shown_that_are_whole() -> None:
    assert tail(b"") == ""
    assert tail(b"one\n\ntwo\n") == "one\ntwo"
    assert tail(b"x" * LONGEST_TAIL + b"\nlast\n") == "last"
    assert tail(b"x" * (LONGEST_TAIL + 1)) == "x" * LONGEST_TAIL


@given(st.lists(st.tuples(st.sampled_from("ab"), st.binary(max_size=5)), max_size=30))
def test_lines_of_several_processes_come_whole_and_in_order(said: list[tuple[str, bytes]]) -> None:
    said = [(process, piece.replace(b"0", b"\n")) for process, piece in said]
    lines, passed_on = WholeLines(), {"a": b"", "b": b""}
    for process, piece in said:
        whole = lines.said(process, piece)
        assert whole.endswith(b"\n") or not whole
        passed_on[process] += whole
    for process in "ab":
        everything = b"".join(piece for name, piece in said if name == process)
        rest = lines.ended(process)
        assert lines.ended(process) == b""
        missing_end = b"" if everything.endswith(b"\n") or not everything else b"\n"
        assert passed_on[process] + rest == everything + missing_end


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    lines = WholeLines()
    assert lines.said("a", b"x" * LONGEST_PART) == b""
    assert lines.said("a", b"y") == b"x" * LONGEST_PART + b"y\n"
    assert lines.ended("a") == b""


def test_no_termination_log_is_made_where_there_is_none(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    leave_word(log, ["why"])
    assert not log.exists()
    log.touch()
    leave_word(log, ["why", "and " * 5_000])
    assert log.read_text().startswith("why\nand and")
    assert log.stat().st_size == 4_096


def test_a_worker_that_does_not_answer_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    # Nothing can listen there.
    assert not_ready({"WORKER_METRICS_PORT": "0", "POD_PROCESSES": "2"}) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "worker-0: port 0 does not answer (Connection refused)"
    assert lines[1].startswith("worker-1: port 1 does not answer")
