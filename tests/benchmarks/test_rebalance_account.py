"""The account of a run of the rebalance benchmark: silences, lateness, repeats, losses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.rebalance.account import Account, Window, silences
from benchmarks.rebalance.notes import Kind, Note

SECOND = 1_000_000_000


def window(start: float, end: float) -> Window:
    return Window(round(start * SECOND), round(end * SECOND))


def produced(offset: int, at: float, partition: int = 0) -> Note:
    ns = round(at * SECOND)
    return Note(Kind.PRODUCED, 0, partition, offset, ns, ns + SECOND)


def began(offset: int, at: float, partition: int = 0) -> Note:
    return Note(Kind.BEGAN, 0, partition, offset, 0, round(at * SECOND))


def told(kind: Kind, at: float, partition: int = 0) -> Note:
    return Note(kind, 0, partition, 0, 0, round(at * SECOND))


def longest(times: list[float], during: Window, end: float) -> float:
    ascending = [round(at * SECOND) for at in times]
    return silences({0: ascending}, during, round(end * SECOND))[0]


def test_a_silence_is_the_time_between_two_begins() -> None:
    assert longest([1, 2, 5, 6], window(1, 6), 6) == 3


def test_a_silence_that_reaches_into_the_window_counts_whole() -> None:
    assert longest([1, 8, 9, 15, 16], window(5, 10), 16) == 7


@pytest.mark.parametrize("times", [[1.0, 4.0, 5.0, 6.0, 7.0], [1.0, 2.0, 3.0, 4.0, 7.0]])
def test_a_silence_outside_the_window_does_not_count(times: list[float]) -> None:
    during = window(4, 6) if times[1] == 4 else window(1, 3)
    assert longest(times, during, 7) == 1


def test_a_partition_that_never_begins_again_is_silent_until_the_end_of_the_run() -> None:
    assert longest([1, 2], window(1, 4), 30) == 28


def test_a_partition_that_never_begins_is_silent_from_the_start_of_the_window() -> None:
    assert longest([], window(10, 14), 30) == 20


def test_a_partition_that_begins_late_is_silent_from_the_start_of_the_window() -> None:
    assert longest([13, 14, 15], window(10, 15), 15) == 3


@given(
    times=st.lists(st.integers(0, 1_000), min_size=2, unique=True).map(sorted),
    start=st.integers(0, 1_000),
    length=st.integers(1, 1_000),
)
def test_a_silence_is_as_long_as_the_longest_stretch_without_a_begin(
    times: list[int], start: int, length: int
) -> None:
    end = max(times[-1], start + length)
    measured = silences({0: times}, Window(start, start + length), end)[0] * 1e9

    edges = sorted({start if times[0] > start else times[0], *times, end})
    best = 0
    for earlier in edges:
        later = min((edge for edge in edges if edge > earlier), default=earlier)
        if earlier < start + length and later > start:
            best = max(best, later - earlier)
    assert round(measured) == best


def test_only_the_asked_partitions_are_silent() -> None:
    notes = [began(0, at, partition=0) for at in (1, 9)]
    notes += [began(0, at, partition=1) for at in (1, 2, 3, 4, 5, 6, 7, 8, 9)]
    account = Account(notes)
    assert account.longest_silence([1], window(1, 9)) == 1
    assert account.longest_silence([0, 1], window(1, 9)) == 8
    assert account.longest_silence([], window(1, 9)) is None


def test_a_record_is_late_when_it_begins_more_than_a_second_after_it_was_produced() -> None:
    account = Account(
        [produced(0, 1), began(0, 2), produced(1, 1), began(1, 2.1), produced(2, 1), began(2, 9)]
    )
    found = account.lateness(window(0, 5))
    assert (found.records, found.late, found.worst) == (3, 2, 8)
    assert found.late_percent == pytest.approx(66.67, abs=0.01)


def test_a_record_is_judged_by_its_first_begin_and_the_others_are_repeats() -> None:
    account = Account([produced(0, 1), began(0, 7), began(0, 1.5), began(0, 8)])
    found = account.lateness(window(0, 5))
    assert (found.late, found.worst, found.repeated) == (0, 0.5, 2)


def test_a_record_that_never_began_is_lost_and_in_no_delay() -> None:
    account = Account([produced(0, 1), produced(1, 1), began(1, 1.5)])
    found = account.lateness(window(0, 5))
    assert (found.lost, found.worst, found.late) == (1, 0.5, 0)
    assert account.missing == 1


def test_a_record_belongs_to_the_window_in_which_it_was_produced() -> None:
    account = Account([produced(0, 4.9), began(0, 9), produced(1, 5), began(1, 9)])
    assert account.lateness(window(0, 5)).worst == pytest.approx(4.1)
    assert account.lateness(window(5, 6)).worst == 4


def test_partitions_with_late_records_are_counted_once() -> None:
    notes = [produced(o, 1, p) for p in (0, 1, 2) for o in (0, 1)]
    notes += [began(0, 9, 0), began(1, 9, 0), began(0, 1, 1), began(1, 9, 1)]
    notes += [began(0, 1, 2), began(1, 1, 2)]
    assert Account(notes).lateness(window(0, 5)).partitions == 2


def test_a_window_without_records_has_no_percentage() -> None:
    found = Account([]).lateness(window(0, 1))
    assert (found.late_percent, found.p50, found.worst) == (None, None, None)


def test_revocations_are_counted_by_kind_time_and_partition() -> None:
    account = Account(
        [
            told(Kind.REVOKED, 1, 0),
            told(Kind.REVOKED, 2, 1),
            told(Kind.LOST, 2, 2),
            told(Kind.ASSIGNED, 2, 2),
            told(Kind.REVOKED, 7, 2),
        ]
    )
    both = (Kind.REVOKED, Kind.LOST)
    assert account.count(both, window(0, 5)) == 3
    assert account.count(both, window(0, 5), {1, 2}) == 2
    assert account.count((Kind.LOST,), window(0, 9)) == 1


def test_every_partition_is_consumed_when_the_last_of_them_began_for_the_first_time() -> None:
    account = Account([began(0, 3, 0), began(1, 9, 0), began(0, 5, 1)])
    assert account.first_begin_of_last_partition(2) == 5 * SECOND
    assert account.first_begin_of_last_partition(3) is None


def test_notes_may_be_added_in_any_order() -> None:
    account = Account([began(0, 9)])
    account.add([began(1, 1), began(2, 2)])
    assert account.longest_silence([0], window(0, 9)) == 7
    assert account.end_ns == 9 * SECOND
