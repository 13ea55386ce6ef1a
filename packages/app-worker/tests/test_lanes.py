"""Lanes: what they hold, when they have room, and when they are alive."""

from aiokafka import TopicPartition

from app_worker.arrival import Arrival
from app_worker.handover import Inherited, Kind, Word
from app_worker.held_records import HeldRecords, with_one_more
from app_worker.holds import MOST_HOLDS, Holds
from app_worker.lanes import LANE_BUFFER_RECORDS, LANE_SPAN_RECORDS, Lane, Lanes
from app_worker.record import Origin, Record

A = TopicPartition("t", 0)


def arrivals(*offsets: int, not_before_ms: int = 0) -> list[Arrival]:
    """Records of eleven bytes each."""
    origins = [Origin("t", 0, offset) for offset in offsets]
    return [
        Arrival(Record("t", 0, o.offset, b"k", b"0123456789", (), 0, o, None, 0, not_before_ms))
        for o in origins
    ]


def test_records_are_open_from_the_moment_they_come() -> None:
    lane = Lane(A, 1)
    lane.take(arrivals(5, 6))
    assert lane.tracker.committable == 5
    assert lane.buffered_bytes == 22
    assert lane.start_head().record.offset == 5
    assert lane.buffered_bytes == 11


def test_a_stopped_lane_forgets_what_it_did_not_start_and_leaves_it_uncommitted() -> None:
    lane = Lane(A, 1)
    lane.take(arrivals(5, 6))
    lane.start_head()
    lane.stop()
    lane.tracker.complete(5)
    assert lane.head() is None
    assert lane.tracker.committable == 6
    assert not lane.has_room(1_000, 0, 0.0)


def test_room_is_bounded_by_count_and_by_bytes() -> None:
    lane = Lane(A, 1)
    lane.take(arrivals(*range(LANE_BUFFER_RECORDS - 1)))
    assert lane.has_room(100_000, 0, 0.0)
    assert not lane.has_room(1_000, 0, 0.0)
    lane.take(arrivals(LANE_BUFFER_RECORDS))
    assert not lane.has_room(100_000, 0, 0.0)


def test_an_empty_lane_has_room_however_small_its_share() -> None:
    assert Lane(A, 1).has_room(0, 0, 0.0)


def test_a_lane_whose_head_waits_has_no_room() -> None:
    lane = Lane(A, 1)
    lane.take(arrivals(0, not_before_ms=500))
    assert not lane.has_room(1_000, 499, 0.0)
    assert lane.has_room(1_000, 500, 0.0)


def test_behind_a_stuck_record_there_is_an_end_of_taking() -> None:
    lane = Lane(A, 1)
    lane.take(arrivals(*range(LANE_SPAN_RECORDS)))
    for offset in range(LANE_SPAN_RECORDS):
        lane.start_head()
        if offset:
            lane.tracker.complete(offset)
    assert not lane.has_room(1_000, 0, 0.0)
    lane.tracker.complete(0)
    assert lane.has_room(1_000, 0, 0.0)


def test_trailing_gaps_are_passed_only_when_all_is_complete_and_the_lane_goes_on() -> None:
    lane = Lane(A, 1)
    lane.take(arrivals(0))
    lane.pass_gap(lambda _: 9)
    assert lane.tracker.committable == 0
    lane.tracker.complete(0)
    lane.pass_gap(lambda _: None)
    assert lane.tracker.committable == 1
    lane.pass_gap(lambda _: 9)
    assert lane.tracker.committable == 9
    lane.stop()
    lane.pass_gap(lambda _: 20)
    assert lane.tracker.committable == 9


def test_only_the_lane_of_the_present_assignment_is_alive() -> None:
    lanes = Lanes()
    old = lanes.begin(A)
    new = lanes.begin(A)
    assert new.epoch > old.epoch
    assert not lanes.alive(old)
    assert lanes.alive(new)
    lanes.drop([old])
    assert lanes.get(A) is new
    lanes.drop([new])
    assert list(lanes) == []


def test_a_record_weighs_as_much_as_all_that_came_with_it() -> None:
    origin = Origin("t", 0, 0)
    assert Record("t", 0, 0, None, None, (), 0, origin).size == 0
    record = Record("t", 0, 0, b"k", b"vv", (("name", b"123"), ("null", None)), 0, origin)
    assert record.size == 14


def test_what_was_recalled_counts_as_parts_of_the_map_until_it_is_passed() -> None:
    far = 2**50
    lane = Lane(TopicPartition("t", 0), 1, 0)
    lane.recall([(n * far, n * far + 1) for n in range(1, 200)])
    assert not lane.admits(200 * far)
    lane.tracker.advance_to(200 * far)
    assert lane.admits(300 * far)
    lane.forget()
    assert lane.complete_runs() == []


# What is held.


def lane_with_holds(*offsets: int, done: tuple[tuple[int, int], ...] = ()) -> Lane:
    lane = Lane(A, 1)
    inherited = Inherited("g", A, [Holds(7, 0, 50, 20.0, offsets)], 0.0)
    lane.recall(done, 0, HeldRecords(inherited, 0.0))
    return lane


def is_holding(lane: Lane) -> bool:
    return lane.held is not None


def told(lane: Lane, *offsets: int) -> None:
    """A word settles these."""
    assert lane.held is not None
    word = Word(Kind.SETTLED, "g", 7, "t", tuple((0, offset) for offset in offsets))
    lane.settle(lane.held.inherited.settle(word))


def test_what_is_held_stays_open_and_is_not_started() -> None:
    lane = lane_with_holds(0, 2)
    lane.take(arrivals(0, 1, 2, 3))
    assert [lane.start_head().record.offset for _ in range(lane.buffered)] == [1, 3]
    assert lane.tracker.committable == 0
    assert is_holding(lane)
    told(lane, 0)
    assert lane.tracker.committable == 1
    told(lane, 2)
    assert not is_holding(lane)


def test_a_word_may_come_before_its_record() -> None:
    lane = lane_with_holds(0, 2, 4, done=((1, 2), (3, 4)))
    lane.take(arrivals(0))
    told(lane, 2, 4)
    assert list(lane.complete_runs()) == [(1, 5)]
    assert lane.take(arrivals(1, 2, 3, 4, 5)) == 4
    assert lane.tracker.committable == 0
    told(lane, 0)
    assert lane.tracker.committable == 5
    assert lane.buffered == 1


def test_what_is_not_held_any_more_is_started_in_the_order_of_the_log() -> None:
    lane = lane_with_holds(0, 2, 9)
    lane.take(arrivals(0, 1, 2, 3))
    assert lane.held is not None
    assert lane.held.bytes == 22
    over = lane.held.inherited.open_up(60.0, {})
    lane.open_up(over)
    assert not is_holding(lane)
    assert [lane.start_head().record.offset for _ in range(lane.buffered)] == [0, 1, 2, 3]
    assert lane.buffered_bytes == 0
    lane.take(arrivals(9))
    assert lane.buffered == 1


def test_a_hold_below_what_was_fetched_ends_if_its_record_is_not_there() -> None:
    lane = lane_with_holds(0, 2, 4)
    lane.take(arrivals(0, 3))
    assert lane.held is not None
    assert (2 in lane.held, 4 in lane.held) == (False, True)
    told(lane, 0)
    lane.tracker.complete(3)
    lane.pass_gap(lambda _: 9)
    assert not is_holding(lane)


def test_payloads_that_are_held_have_a_bound_of_their_own() -> None:
    lane = lane_with_holds(0, 1, 2)
    lane.take(arrivals(0, 1))
    assert lane.buffered_bytes == 0
    assert lane.has_room(22, 0, 0.0)
    assert not lane.has_room(21, 0, 0.0)
    told(lane, 0)
    assert lane.has_room(21, 0, 0.0)


def test_what_is_forgotten_is_held_no_longer() -> None:
    lane = lane_with_holds(0, 1)
    lane.take(arrivals(0, 1, 2))
    lane.forget()
    assert [lane.start_head().record.offset for _ in range(lane.buffered)] == [0, 1, 2]


def test_holds_of_many_releases_leave_less_room_for_work() -> None:
    far = 2**40
    offsets = tuple(range(0, 100 * far, far))
    lane = Lane(A, 1, 0)
    holds = [Holds(nonce, 0, 50, 20.0, offsets) for nonce in range(MOST_HOLDS - 1)]
    lane.recall((), 0, HeldRecords(Inherited("g", A, holds, 0.0), 0.0))
    assert not lane.admits(101 * far)
    lane.forget()
    assert lane.admits(101 * far)


def test_one_offset_more_closes_the_gap_that_it_fills() -> None:
    assert list(with_one_more([(1, 2), (3, 4)], 2)) == [(1, 4)]
    assert list(with_one_more([(1, 2)], 5)) == [(1, 2), (5, 6)]
    assert list(with_one_more([], 5)) == [(5, 6)]
