"""What a drill's ledger comes to, and which promises it says are broken."""

from pathlib import Path

import pytest

from deploy.drill.account import Account, Figures, Sent, Window
from deploy.drill.notes import Note, NoteTail
from deploy.drill.report import broken_promises, table
from deploy.drill.settings import STEPS, DrillSettings, DrillSettingsError
from deploy.drill.steps import ALL_STEPS, Played, moved
from deploy.drill.timeline import drawn

SECOND = 1_000_000_000
EVER = Window(0, 10**15)


def arrived(number: int, seconds: float) -> Note:
    return Note(False, number, round(seconds * SECOND))


def answered(number: int, seconds: float) -> Note:
    return Note(True, number, round(seconds * SECOND))


def sent(number: int, seconds: float, partition: int = 0) -> Sent:
    return Sent(number, partition, round(seconds * SECOND))


def test_what_was_acknowledged_and_never_arrived_is_lost() -> None:
    account = Account([sent(0, 1), sent(1, 1)], [arrived(1, 1.1)])
    assert account.lost == 1
    assert account.figures(EVER, {0}).lost == 1


def test_only_what_was_produced_in_the_window_counts() -> None:
    account = Account([sent(0, 1), sent(1, 5)], [arrived(0, 1.1), arrived(1, 7.5)])
    figures = account.figures(Window(4 * SECOND, 6 * SECOND), {0})
    assert (figures.events, figures.late, figures.worst_seconds) == (1, 1, 2.5)


@pytest.mark.parametrize(
    ("notes", "unexplained"),
    [
        ([arrived(0, 1), arrived(0, 9)], 0),
        ([arrived(0, 1), answered(0, 4.5), arrived(0, 9)], 0),
        ([arrived(0, 1), answered(0, 3.5), arrived(0, 9)], 1),
        ([arrived(0, 6), answered(0, 7), arrived(0, 9)], 1),
    ],
)
def test_a_crash_explains_what_was_in_flight_or_answered_just_before(
    notes: list[Note], unexplained: int
) -> None:
    figures = Account([sent(0, 1)], notes).figures(EVER, {0}, [5 * SECOND])
    assert (figures.repeated, figures.unexplained) == (1, unexplained)


def test_without_a_crash_nothing_explains_a_repetition() -> None:
    figures = Account([sent(0, 1)], [arrived(0, 1), arrived(0, 2)]).figures(EVER, {0})
    assert figures.unexplained == 1


def test_a_silence_is_one_only_while_events_wait() -> None:
    events = [sent(0, 1), sent(1, 1.5), sent(2, 9), sent(3, 1, partition=1)]
    notes = [arrived(0, 1.1), arrived(1, 4.1), arrived(2, 9.2), arrived(3, 99)]
    figures = Account(events, notes).figures(EVER, {0})
    assert figures.longest_silence == pytest.approx(2.6)


def test_the_worst_second_is_that_with_the_least_share_in_time() -> None:
    events = [sent(n, 1 + n / 10) for n in range(40)]
    notes = [arrived(n, 1 + n / 10 + (2 if 15 <= n < 20 else 0.1)) for n in range(40)]
    assert Account(events, notes).figures(EVER, {0}).least_in_time == 0.5


def figures(**other: object) -> Figures:
    usual: dict[str, object] = {
        "events": 10,
        "lost": 0,
        "repeated": 0,
        "unexplained": 0,
        "late": 0,
        "worst_seconds": 0.1,
        "p99_seconds": 0.1,
        "least_in_time": 1.0,
        "longest_silence": 0.2,
    }
    return Figures(**(usual | other))  # type: ignore[arg-type]


def played(name: str) -> Played:
    return Played(name, ALL_STEPS[name].graceful, EVER, frozenset(), ())


@pytest.mark.parametrize(
    ("name", "found", "said"),
    [
        ("kill", figures(repeated=3), None),
        ("kill", figures(repeated=3, unexplained=1), "kill: 1 deliveries were repeated that were"),
        ("rolling", figures(repeated=1, unexplained=1), "rolling: 1 deliveries were repeated."),
        ("rolling", figures(least_in_time=0.5), "rolling: in one second only 50%"),
        ("freeze", figures(longest_silence=1.25), "was silent for 1.25 s"),
        ("freeze", figures(longest_silence=1.15), None),
        ("quiet", figures(events=0), "quiet: nothing was sent"),
    ],
)
def test_each_promise_that_is_broken_is_named(name: str, found: Figures, said: str | None) -> None:
    quiet = [(played("quiet"), figures())] if name != "quiet" else []
    broken = broken_promises([*quiet, (played(name), found)], 0)
    assert len(broken) == (said is not None)
    assert said is None or said in broken[0]


def test_a_loss_is_named_whatever_the_steps() -> None:
    assert broken_promises([(played("quiet"), figures())], 2) == ["2 events are lost."]


def test_every_step_is_a_row_of_the_table() -> None:
    lines = table([(played(name), figures()) for name in STEPS])
    assert [line.split()[0] for line in lines] == ["step", *STEPS]


def test_every_step_that_can_be_asked_for_can_be_played() -> None:
    assert tuple(ALL_STEPS) == STEPS


def test_a_drill_that_cannot_be_is_refused_with_every_mistake() -> None:
    environ = {"DRILL_PODS": "1", "STEP": "kill,panic", "MEMBERSHIP": "none"}
    with pytest.raises(DrillSettingsError) as caught:
        DrillSettings.from_environment(environ)
    said = str(caught.value).splitlines()
    assert [line.partition("=")[0] for line in said] == ["MEMBERSHIP", "STEP", "DRILL_PODS"]


def test_steps_are_played_in_their_own_order() -> None:
    assert DrillSettings.from_environment({"STEP": "freeze, kill"}).steps == ("kill", "freeze")


def test_notes_are_read_whole_as_they_are_written(tmp_path: Path) -> None:

    path = tmp_path / "ledger"
    first, second = arrived(1, 2), answered(1, 3)
    path.write_bytes(first.to_bytes() + second.to_bytes()[:5])
    tail = NoteTail(path)
    tail.read_new()
    assert tail.seen == [first]
    path.write_bytes(first.to_bytes() + second.to_bytes())
    tail.read_new()
    assert tail.seen == [first, second]


def test_the_picture_shows_each_stretch_of_ownership_and_each_mark() -> None:
    owned = [(n * SECOND, {0: "pod-0" if n < 5 else "pod-1", 1: "pod-0"}) for n in range(10)]
    picture = drawn(owned, {3: 7}, [(4 * SECOND, "pod-0 <killed>")], 2)
    assert picture.count("<rect") == 1 + 3
    assert "pod-0 &lt;killed&gt;" in picture
    assert "polyline" in picture
    assert drawn([], {}, [], 2).startswith("<svg")


def test_what_moves_to_a_pod_that_comes_back_is_no_partition_that_was_not_touched() -> None:
    looks = [(1, {0: "a", 1: "b", 2: "c"}), (5, {0: "a", 1: "b"}), (6, {0: "a", 1: "c", 2: "c"})]
    assert moved(looks, Window(0, 10)) == {1, 2}
    assert moved(looks, Window(6, 10)) == frozenset()
