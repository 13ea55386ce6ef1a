"""What a drill's ledger comes to, and which promises it says are broken."""

import signal
from pathlib import Path

import pytest

from deploy.drill.__main__ import told_of
from deploy.drill.account import Account, Crash, Figures, Sent, Window
from deploy.drill.notes import Note, NoteTail
from deploy.drill.playing import Told
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


def sent(number: int, seconds: float, partition: int = 0, acknowledged: float = 0) -> Sent:
    at_ns = round(seconds * SECOND)
    return Sent(number, partition, at_ns, round(acknowledged * SECOND) or at_ns)


def crash(seconds: float, *partitions: int) -> Crash:
    return Crash(round(seconds * SECOND), round(seconds * SECOND), frozenset(partitions))


def test_what_was_acknowledged_and_never_answered_is_lost_even_if_it_arrived() -> None:
    events = [sent(0, 1), sent(1, 1), sent(2, 1)]
    # What a crash cuts off is the customer's no more than what was never sent.
    account = Account(events, [arrived(1, 1.1), answered(1, 1.2), arrived(2, 1.1)])
    assert account.lost == 2
    assert account.figures(EVER, {0}, [crash(1.15, 0)]).lost == 2


def test_only_what_was_produced_in_the_window_counts() -> None:
    account = Account([sent(0, 1), sent(1, 5)], [arrived(0, 1.1), arrived(1, 7.5)])
    figures = account.figures(Window(4 * SECOND, 6 * SECOND), {0})
    assert (figures.events, figures.late, figures.worst_seconds) == (1, 1, 2.5)


@pytest.mark.parametrize(
    ("notes", "why"),
    [
        ([arrived(0, 1), arrived(0, 9)], ""),
        ([arrived(0, 1), answered(0, 4.5), arrived(0, 9)], ""),
        ([arrived(0, 1), answered(0, 3.5), arrived(0, 9)], "answered 1 s or more before the crash"),
        # What was sent just before the crash is read a little later.
        ([arrived(0, 5.5), answered(0, 5.6), arrived(0, 9)], ""),
        ([arrived(0, 6.5), answered(0, 7), arrived(0, 9)], "first sent after the crash"),
        # It comes again once, not twice.
        ([arrived(0, 1), arrived(0, 9), arrived(0, 9.5)], "once more for one crash"),
    ],
)
def test_a_crash_explains_what_was_in_flight_or_answered_just_before(
    notes: list[Note], why: str
) -> None:
    figures = Account([sent(0, 1)], notes).figures(EVER, {0}, [crash(5, 0)])
    assert figures.repeated == sum(not note.answered for note in notes) - 1
    assert figures.unexplained == ({why: 1} if why else {})


def test_what_came_again_is_told_by_the_crash_that_followed_it() -> None:
    account = Account([sent(0, 1)], [arrived(0, 1), answered(0, 3.5), arrived(0, 9)])
    crashes = [crash(5, 0), crash(50, 0)]
    assert account.figures(EVER, {0}, crashes).unexplained == {
        "answered 1 s or more before the crash": 1
    }


def test_a_crash_explains_nothing_on_partitions_of_others() -> None:
    account = Account([sent(0, 1, partition=7)], [arrived(0, 1), arrived(0, 9)])
    [why] = account.figures(EVER, {7}, [crash(5, 6)]).unexplained
    assert why == "on a partition that the crash did not concern"
    assert account.figures(EVER, {7}, [crash(5, 6), crash(5, 7)]).unexplained == {}


def test_without_a_crash_nothing_explains_a_repetition() -> None:
    figures = Account([sent(0, 1)], [arrived(0, 1), arrived(0, 2)]).figures(EVER, {0})
    assert figures.unexplained == {"without a crash": 1}


def test_a_silence_is_one_only_while_events_wait() -> None:
    events = [sent(0, 1), sent(1, 1.5), sent(2, 9), sent(3, 1, partition=1)]
    notes = [arrived(0, 1.1), arrived(1, 4.1), arrived(2, 9.2), arrived(3, 99)]
    figures = Account(events, notes).figures(EVER, {0})
    assert figures.longest_silence == pytest.approx(2.6)


def test_nobody_is_silent_about_what_could_not_be_had_yet() -> None:
    # Until a replica that is gone counts as gone, no consumer may see what is written.
    events = [sent(0, 1), sent(1, 2, acknowledged=8)]
    figures = Account(events, [arrived(0, 1.1), arrived(1, 8.2)]).figures(EVER, {0})
    assert figures.longest_silence == pytest.approx(0.2)
    assert figures.worst_seconds == pytest.approx(6.2)


def test_a_partition_with_a_new_leader_is_silent_from_then_on() -> None:
    events = [sent(0, 1), sent(1, 2), sent(2, 2, partition=1), sent(3, 9, partition=1)]
    notes = [arrived(0, 1.1), arrived(1, 8.2), arrived(2, 9), arrived(3, 9.1)]
    leaders = {0: 8 * SECOND, 1: 8 * SECOND}
    assert Account(events, notes).figures(EVER, (), (), leaders).slowest_resumption == 1
    assert Account(events, notes).figures(EVER, ()).slowest_resumption is None


def test_the_worst_second_is_that_with_the_least_share_in_time() -> None:
    events = [sent(n, 1 + n / 10) for n in range(40)]
    notes = [arrived(n, 1 + n / 10 + (2 if 15 <= n < 20 else 0.1)) for n in range(40)]
    assert Account(events, notes).figures(EVER, {0}).least_in_time == 0.5


def figures(**other: object) -> Figures:
    usual: dict[str, object] = {
        "events": 10,
        "lost": 0,
        "repeated": 0,
        "unexplained": {},
        "late": 0,
        "worst_seconds": 0.1,
        "p99_seconds": 0.1,
        "least_in_time": 1.0,
        "longest_silence": 0.2,
    }
    return Figures(**(usual | other))  # type: ignore[arg-type]


def played(name: str, **other: object) -> Played:
    window = Window(0, 10 * SECOND)
    usual: dict[str, object] = {"settings": DrillSettings(rate=1)}
    return Played(name, ALL_STEPS[name].graceful, window, frozenset(), **(usual | other))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "found", "said"),
    [
        ("kill", figures(repeated=3), None),
        (
            "kill",
            figures(repeated=3, unexplained={"twice": 1}),
            "1 deliveries were repeated, twice.",
        ),
        ("rolling", figures(repeated=1, unexplained={"so": 1}), "1 deliveries were repeated, so."),
        ("rolling", figures(least_in_time=0.5), "in one second only 50%"),
        ("freeze", figures(longest_silence=1.25), "was silent for 1.25 s"),
        ("freeze", figures(longest_silence=1.15), None),
        ("coordinator-kill", figures(slowest_resumption=1.25), "1.25 s though it had a new"),
        ("quiet", figures(events=0), "nothing was sent"),
        ("quiet", figures(longest_silence=1.1), "was silent for 1.10 s"),
    ],
)
def test_each_promise_that_is_broken_is_named(name: str, found: Figures, said: str | None) -> None:
    quiet = [(played("quiet"), figures())] if name != "quiet" else []
    broken = broken_promises([*quiet, (played(name), found)], 0)
    assert len(broken) == (said is not None)
    assert said is None or (broken[0].startswith(f"{name} (dynamic): ") and said in broken[0])


def test_a_step_is_compared_with_the_quiet_of_its_own_fleet() -> None:
    rows = [
        (played("quiet"), figures(longest_silence=0.9)),
        (played("quiet", membership="static"), figures(longest_silence=0.1)),
        (played("kill", membership="static"), figures(longest_silence=1.5)),
    ]
    [said] = broken_promises(rows, 0)
    assert said.startswith("kill (static): a partition that was not touched")


def test_partitions_that_moved_though_they_could_have_stayed_are_a_broken_promise() -> None:
    [said] = broken_promises([(played("kill", moved_beyond=3), figures())], 0)
    assert "3 partitions moved that could have stayed" in said


def test_a_drill_that_sent_less_than_it_was_to_is_none() -> None:
    [said] = broken_promises(
        [(played("kill", settings=DrillSettings(rate=2)), figures(events=10))], 0
    )
    assert "only 1 events/s were sent" in said


def test_the_share_in_time_is_promised_where_a_pod_is_a_twentieth_of_the_fleet_at_most() -> None:
    late = figures(least_in_time=0.5)
    few = DrillSettings(rate=1, pods=19)
    assert broken_promises([(played("rolling", settings=few), late)], 0) == []
    many = DrillSettings(rate=1, pods=20)
    assert len(broken_promises([(played("rolling", settings=many), late)], 0)) == 1


def test_a_loss_is_named_whatever_the_steps() -> None:
    assert broken_promises([(played("quiet"), figures())], 2) == ["2 events are lost."]


def test_every_step_is_a_row_of_the_table() -> None:
    lines = table([(played(name), figures()) for name in STEPS])
    assert [line.split()[0] for line in lines] == ["step", *STEPS]


def test_every_step_that_can_be_asked_for_can_be_played() -> None:
    assert tuple(ALL_STEPS) == STEPS


def test_a_drill_that_cannot_be_is_refused_with_every_mistake() -> None:
    environ = {"DRILL_PODS": "1", "STEP": "kill,panic", "MEMBERSHIP": "static,none"}
    environ["KAFKA_VERSION"] = "9"
    with pytest.raises(DrillSettingsError) as caught:
        DrillSettings.from_environment(environ)
    said = str(caught.value).splitlines()
    assert [line.partition("=")[0] for line in said] == [
        "MEMBERSHIP",
        "STEP",
        "DRILL_PODS",
        "KAFKA_VERSION",
    ]


def test_steps_are_played_in_their_own_order() -> None:
    assert DrillSettings.from_environment({"STEP": "freeze, kill"}).steps == ("kill", "freeze")


def test_fleets_of_both_memberships_can_be_drilled_in_one_run() -> None:
    settings = DrillSettings.from_environment({"MEMBERSHIP": "static,drain,dynamic"})
    assert settings.memberships == ("dynamic", "drain", "static")
    assert DrillSettings.from_environment({}).memberships == ("dynamic",)


@pytest.mark.parametrize(
    ("cut_short", "number", "status", "said"),
    [
        ("", 0, 0, "Every promise held."),
        ("a pod did not start", 0, 1, "not be played to its end: a pod did not start"),
        ("stopped by SIGINT", signal.SIGINT, 130, "The drill was stopped by SIGINT"),
    ],
)
def test_what_was_played_is_told_even_if_the_rest_could_not_be(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    cut_short: str,
    number: int,
    status: int,
    said: str,
) -> None:
    told = Told([(played("quiet"), figures())], 0, cut_short, number, "<svg/>")
    (tmp_path / "logs").mkdir()
    assert told_of(told, tmp_path / "logs", tmp_path) == status
    printed = capsys.readouterr().out
    assert "\nquiet " in printed
    assert said in printed
    assert (tmp_path / "timeline.svg").read_text() == "<svg/>"


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
    assert (tail.arrived, tail.answered) == ({1}, {1})


def test_the_picture_shows_each_stretch_of_ownership_and_each_mark() -> None:
    owned = [(n * SECOND, {0: "pod-0" if n < 5 else "pod-1", 1: "pod-0"}) for n in range(10)]
    picture = drawn(owned, {3: 7}, [(4 * SECOND, "pod-0 <killed>")], 2)
    assert picture.count("<rect") == 1 + 3
    assert "pod-0 &lt;killed&gt;" in picture
    assert "polyline" in picture
    assert ">7</text>" in picture
    assert ">9 s</text>" in picture
    assert ">10 s</text>" not in picture
    early = drawn(owned[3:], {}, [(0, "begins")], 2)
    assert '<line x1="60.0"' in early, "what was before the first look stands at its place"
    assert ">20</text>" in drawn(owned, {3: 7}, [], 2, most=20), "on a scale that others share"
    assert drawn([], {}, [], 2).startswith("<svg")


def test_what_moves_to_a_pod_that_comes_back_is_no_partition_that_was_not_touched() -> None:
    looks = [(1, {0: "a", 1: "b", 2: "c"}), (5, {0: "a", 1: "b"}), (6, {0: "a", 1: "c", 2: "c"})]
    assert moved(looks, Window(0, 10)) == {1, 2}
    assert moved(looks, Window(6, 10)) == frozenset()
