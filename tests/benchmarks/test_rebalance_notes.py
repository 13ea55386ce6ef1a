"""The notes of the rebalance benchmark, and the words that its programs are started with."""

from pathlib import Path

import pytest

from benchmarks.rebalance.arguments import Arguments
from benchmarks.rebalance.notes import FORMAT, Kind, Note, Notebook, NotesTail

A = Note(Kind.BEGAN, 3, 99, 2**40, 2**62, 2**62 + 1)
B = Note(Kind.REVOKED, 0, 0, 0, 0, 5)


def test_notes_come_back_as_they_were_written_and_each_once(tmp_path: Path) -> None:
    book, tail = Notebook(tmp_path / "a.notes"), NotesTail(tmp_path)
    book.note(A)
    assert list(tail.read_new()) == [A]
    book.note(B)
    assert list(tail.read_new()) == [B]
    assert list(tail.read_new()) == []


def test_a_note_that_is_half_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    file, tail = tmp_path / "a.notes", NotesTail(tmp_path)
    packed = FORMAT.pack(*A)
    file.write_bytes(packed + packed[:10])
    assert list(tail.read_new()) == [A]
    file.write_bytes(packed * 2)
    assert list(tail.read_new()) == [A]


def test_the_notes_of_all_files_are_read_and_other_files_are_not(tmp_path: Path) -> None:
    Notebook(tmp_path / "a.notes").note(A)
    Notebook(tmp_path / "b.notes").note(B)
    (tmp_path / "a.log").write_bytes(FORMAT.pack(*B))
    assert sorted(NotesTail(tmp_path).read_new()) == sorted([A, B])


def test_a_note_has_the_layout_that_the_java_pod_writes() -> None:
    packed = bytes.fromhex(
        "02 00 0003 00000063 0000010000000000 4000000000000000 4000000000000001".replace(" ", "")
    )
    assert FORMAT.pack(*A) == packed


def arguments() -> Arguments:
    return Arguments(
        client="ours",
        servers="127.0.0.1:1,127.0.0.1:2",
        group="g=1",
        topic="t",
        notes="/n",
        pod="pod-01",
        members=4,
        slots=20,
        session_ms=1,
        heartbeat_ms=2,
        rebalance_ms=3,
        commit_ms=4,
        idle=1,
    )


def test_arguments_come_back_from_their_words() -> None:
    assert Arguments.parse(arguments().words()) == arguments()


def test_a_word_that_is_no_argument_is_refused() -> None:
    with pytest.raises(TypeError, match="speed"):
        Arguments.parse([*arguments().words(), "speed=1"])
