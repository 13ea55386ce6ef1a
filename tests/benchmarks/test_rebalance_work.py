"""The records that one consumer of the rebalance benchmark has in hand."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.rebalance.work import Work, tail_work_us

MS = 1_000_000


def test_the_tail_is_the_same_at_each_call_and_has_its_shares() -> None:
    drawn = Counter(tail_work_us(p, n) for p in range(100) for n in range(1_000))
    assert drawn.keys() == {20_000, 500_000, 8_000_000}
    assert 0.945 < drawn[20_000] / 100_000 < 0.955
    assert 0.038 < drawn[500_000] / 100_000 < 0.042
    assert 0.009 < drawn[8_000_000] / 100_000 < 0.011
    assert tail_work_us(7, 77) == tail_work_us(7, 77)


def test_a_slot_is_taken_until_its_record_ends() -> None:
    work = Work(slots=2)
    work.open([0])
    work.begin(0, 0, 5_000, now=0)
    work.begin(0, 1, 9_000, now=0)
    assert (work.free(4 * MS), work.next_free()) == (0, 5 * MS)
    assert work.free(5 * MS) == 1
    assert work.free(9 * MS) == 2


def test_only_what_is_done_without_a_gap_is_committable() -> None:
    work = Work(slots=9)
    work.open([0])
    for offset, work_us in enumerate((1_000, 8_000, 1_000)):
        work.begin(0, offset, work_us, now=0)
    assert work.committable([0], 0) == {}
    assert work.committable([0], 1 * MS) == {0: 1}
    assert work.committable([0], 8 * MS) == {0: 3}


def test_offsets_that_are_no_records_are_passed_over() -> None:
    work = Work(slots=9)
    work.open([0])
    work.begin(0, 4, 0, now=0)
    work.begin(0, 9, 0, now=0)
    assert work.committable([0], 0) == {0: 10}


def test_what_was_committed_is_no_news_and_what_failed_still_is() -> None:
    work = Work(slots=9)
    work.open([0])
    work.begin(0, 0, 0, now=0)
    assert work.committable([0], 0) == {0: 1}
    assert work.committable([0], 0) == {0: 1}
    work.committed({0: 1})
    assert work.committable([0], 0) == {}


def test_nothing_begins_of_a_closing_partition_and_of_an_unknown_one() -> None:
    work = Work(slots=9)
    work.open([0, 1])
    work.close([0, 5])
    assert work.begin(0, 0, 0, now=0) is False
    assert work.begin(5, 0, 0, now=0) is None
    assert work.begin(1, 0, 0, now=0) is True
    assert work.free(-1) == 8


def test_partitions_are_drained_when_their_own_last_record_ends() -> None:
    work = Work(slots=9)
    work.open([0, 1])
    work.begin(0, 0, 3_000, now=0)
    work.begin(0, 1, 2_000, now=0)
    work.begin(1, 0, 8_000, now=0)
    assert work.drained([0]) == 3 * MS
    assert work.drained([0, 1]) == 8 * MS
    assert work.drained([7]) == 0


def test_state_lives_per_assignment() -> None:
    work = Work(slots=9)
    work.open([0])
    work.begin(0, 7, 0, now=0)
    work.forget([0])
    assert work.partitions == set()
    work.open([0])
    assert work.committable([0], 9 * MS) == {}
    assert work.begin(0, 3, 0, now=0)
    assert work.committable([0], 9 * MS) == {0: 4}


def test_an_assignment_without_a_revocation_before_it_is_new_all_the_same() -> None:
    work = Work(slots=9)
    work.open([0])
    work.begin(0, 7, 0, now=0)
    work.open([0])
    assert work.committable([0], 9 * MS) == {}


def test_a_commit_of_a_partition_that_is_gone_changes_nothing() -> None:
    work = Work(slots=9)
    work.committed({0: 5})
    assert work.partitions == set()


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30), st.integers(0, 25))
def test_everything_below_the_committable_offset_is_done_and_the_next_is_not(
    works_ms: list[int], at_ms: int
) -> None:
    work = Work(slots=100)
    work.open([0])
    for offset, work_ms in enumerate(works_ms):
        work.begin(0, offset, work_ms * 1_000, now=0)
    offset = work.committable([0], at_ms * MS).get(0, 0)
    assert all(work_ms <= at_ms for work_ms in works_ms[:offset])
    assert all(work_ms > at_ms for work_ms in works_ms[offset : offset + 1])
