"""The offset tracker against a naive model."""

import time
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_worker.offset_tracker import OffsetTracker

actions = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.integers(1, 5)),
        st.tuples(st.just("complete"), st.integers(0, 1_000)),
        st.tuples(st.just("advance"), st.integers(0, 5)),
    ),
    max_size=200,
)


@given(st.one_of(st.none(), st.integers(0, 100)), actions)
def test_it_agrees_with_a_model_that_remembers_everything(
    start: int | None, steps: list[tuple[str, int]]
) -> None:
    tracker = OffsetTracker(start)
    position = start
    complete: dict[int, bool] = {}
    for step, number in steps:
        still_open = [offset for offset, done in complete.items() if not done]
        if step == "open":
            offset = number if position is None else position + number - 1
            tracker.open(offset)
            complete[offset] = False
            position = offset + 1
        elif step == "complete" and still_open:
            offset = still_open[number % len(still_open)]
            tracker.complete(offset)
            complete[offset] = True
        elif step == "advance":
            position = number if position is None else position + number
            tracker.advance_to(position)
        expected = next((offset for offset, done in complete.items() if not done), position)
        assert tracker.committable == expected
        assert tracker.position == position
        assert tracker.open_count == list(complete.values()).count(False)
        behind = [offset for offset in complete if expected is not None and offset >= expected]
        assert tracker.span == len(behind)
        flags = [(offset, complete[offset]) for offset in behind]
        alike = [list(each) for done, each in groupby(flags, key=lambda each: each[1]) if done]
        assert tracker.completed_runs() == [(run[0][0], run[-1][0] + 1) for run in alike]


def test_nothing_is_committable_before_anything_is_known() -> None:
    assert OffsetTracker().committable is None


def test_a_gap_in_the_log_holds_nothing_back() -> None:
    tracker = OffsetTracker(10)
    for offset in (10, 15, 40):
        tracker.open(offset)
    tracker.complete(15)
    assert tracker.committable == 10
    tracker.complete(10)
    assert tracker.committable == 40
    tracker.complete(40)
    assert tracker.committable == 41


def test_an_offset_that_goes_back_is_refused() -> None:
    tracker = OffsetTracker()
    tracker.open(7)
    with pytest.raises(ValueError, match="offset 7 was delivered after position 8"):
        tracker.open(7)


def test_advancing_never_goes_back() -> None:
    tracker = OffsetTracker(10)
    tracker.advance_to(5)
    assert tracker.committable == 10


def test_a_hundred_thousand_records_behind_a_stuck_head_cost_linear_time() -> None:
    tracker = OffsetTracker(0)
    count = 100_000
    began = time.process_time()
    for offset in range(count):
        tracker.open(offset)
    for offset in reversed(range(1, count)):
        tracker.complete(offset)
    assert tracker.committable == 0
    tracker.complete(0)
    assert tracker.committable == count
    assert tracker.span == tracker.open_count == 0
    assert time.process_time() - began < 5
