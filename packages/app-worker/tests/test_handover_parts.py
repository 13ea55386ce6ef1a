"""Holds of a new owner, obligations of a former one, and what a commit says of both."""

from typing import NoReturn

import pytest
from aiokafka import TopicPartition

from app_worker.handover import (
    Answer,
    Happened,
    Inherited,
    Kind,
    Release,
    Standing,
    Step,
    Word,
    after,
    after_commit,
    after_reading_back,
    cancelled_by_loss,
    may_commit,
    may_start,
    say,
)
from app_worker.handover.inherited import place_to_read
from app_worker.handover.release import Obligation
from app_worker.handover.timing import LONGEST_ATTEMPT_SECONDS
from app_worker.handover.words import MOST_SETTLED
from app_worker.holds import LONGEST_SECONDS, Holds
from app_worker.offset_map import MapTooLongError, Scope, decode

HERE, THERE = TopicPartition("t", 3), TopicPartition("t", 4)
PLACE = Scope("cluster", "g").place(HERE)


def settled(*offsets: int, nonce: int = 7, partition: int = 3, **other: str) -> Word:
    pairs = tuple((partition, offset) for offset in offsets)
    return Word(Kind.SETTLED, other.get("group", "g"), nonce, other.get("topic", "t"), pairs)


def inherited(*holds: Holds, asked_at: float = 100.0) -> Inherited:
    return Inherited("g", HERE, holds, asked_at)


def held(*offsets: int, nonce: int = 7, words_from: int = 50, seconds: float = 20.0) -> Holds:
    return Holds(nonce, 1, words_from, seconds, offsets)


# A new owner.


def test_a_record_is_held_until_a_word_of_its_release_tells_of_it() -> None:
    kept = inherited(held(5, 9), held(6, nonce=8))
    assert (len(kept), 5 in kept, 6 in kept, 7 in kept) == (3, True, True, False)
    assert kept.settle(settled(5, 6, 7)) == [5]
    assert kept.settle(settled(5)) == []
    assert (5 in kept, 6 in kept, 9 in kept) == (False, True, True)


@pytest.mark.parametrize(
    "word",
    [
        settled(5, nonce=6),
        settled(5, partition=4),
        settled(5, group="h"),
        settled(5, topic="u"),
        settled(4),
        Word(Kind.OPENED, "g", 7, "t"),
    ],
)
def test_no_other_word_settles_it(word: Word) -> None:
    kept = inherited(held(5))
    assert kept.settle(word) == []
    assert 5 in kept


class _Unread(tuple[tuple[int, int], ...]):
    def __iter__(self) -> NoReturn:
        raise AssertionError("it tells of up to a thousand records, to each of a worker's lanes")


def test_a_word_of_another_release_is_told_by_its_nonce_alone() -> None:
    kept = inherited(held(5))
    assert kept.settle(Word(Kind.SETTLED, "g", 8, "t", _Unread([(3, 5)]))) == []


def test_words_are_read_from_the_first_place_where_one_may_stand() -> None:
    here = inherited(held(5), held(6, nonce=8, words_from=40), Holds(9, 2, 3, 1.0, (7,)))
    assert here.read_from() == {1: 40, 2: 3}
    assert inherited().read_from() == {}


@pytest.mark.parametrize(
    ("wanted", "place"), [(50, 50), (10, 10), (90, 90), (9, 10), (91, 10), (0, 10)]
)
def test_a_place_that_the_log_has_no_more_is_read_from_its_beginning(
    wanted: int, place: int
) -> None:
    assert place_to_read(wanted, 10, 90) == place


def test_a_hold_opens_when_its_time_is_over_and_no_word_can_have_been_missed() -> None:
    kept = inherited(held(5, 6))
    assert kept.next_deadline == 120.0
    assert kept.ends_to_ask(119.9) == set()
    kept.end_found(1, 60, asked_at=119.9)
    assert kept.open_up(121.0, {1: 60}) == []  # That end was asked for too early.
    assert kept.ends_to_ask(120.0) == {1}
    kept.end_found(1, 70, asked_at=120.0)
    assert kept.ends_to_ask(121.0) == set()
    assert kept.open_up(121.0, {1: 69}) == []
    assert kept.settle(settled(6)) == [6]  # Told in time, and read late.
    assert kept.open_up(121.0, {1: 70}) == [5]
    assert len(kept) == 0


def test_words_that_cannot_be_read_are_waited_for_half_a_minute_more() -> None:
    kept = inherited(held(5))
    assert kept.open_up(149.9, {}) == []
    assert kept.open_up(150.0, {}) == [5]


def test_a_record_that_is_no_more_in_the_log_is_held_no_longer() -> None:
    kept = inherited(held(5, 6, 9))
    assert kept.pass_gone(9, {6}) == [5]
    assert (6 in kept, 9 in kept) == (True, True)


def test_what_is_handed_on_keeps_its_release_and_loses_what_it_waited() -> None:
    kept = inherited(held(5, 9), held(6, nonce=8, seconds=2.0))
    kept.settle(settled(5))
    assert kept.handed_on(112.5) == (
        held(9, seconds=7.5),
        held(6, nonce=8, seconds=0.0),
    )


# A former owner.


def a_release(**running: float) -> Release:
    """With these offsets in flight, and how long their handlers still have."""
    release = Release("g", 7, 1, 50)
    release.freeze(HERE, {int(n[1:]): seconds for n, seconds in running.items()}, 1_000.0)
    return release


def test_what_is_in_flight_is_held_for_the_longest_attempt_and_five_seconds() -> None:
    assert a_release(_5=3.0, _9=15.0).holds(HERE, 1_000.0) == (held(5, 9, seconds=20.0),)
    assert a_release().holds(HERE, 1_000.0) == ()


def test_the_longest_attempt_is_handed_over_with_its_whole_time() -> None:
    said = say(PLACE, HERE, 5, [], inherited(), a_release(_5=LONGEST_ATTEMPT_SECONDS), 1_000.0)
    assert decode(said.metadata, PLACE, 5).holds == (held(5, seconds=LONGEST_SECONDS),)
    with pytest.raises(ValueError, match="held for"):
        say(PLACE, HERE, 5, [], inherited(), a_release(_5=LONGEST_ATTEMPT_SECONDS + 1), 1_000.0)


def test_the_longest_attempt_is_handed_over_at_whatever_moment() -> None:
    for thousandths in range(0, 10**8, 7_919):
        now = thousandths / 1_000
        release = Release("g", 7, 1, 50)
        release.freeze(HERE, {5: LONGEST_ATTEMPT_SECONDS}, now)
        said = say(PLACE, HERE, 5, [], inherited(), release, now)
        assert said.metadata, "the sum is not a hair above what may be held"


def test_a_map_that_is_sent_later_says_less_of_both() -> None:
    release = a_release(_5=3.0, _9=15.0)
    release.stored(HERE, 5, 1_001.0)
    assert release.holds(HERE, 1_004.0) == (held(9, seconds=16.0),)


def test_a_word_is_due_from_its_storing_until_it_is_told() -> None:
    release = a_release(_5=3.0, _9=15.0)
    assert list(release.words(1_001.0)) == []
    release.stored(HERE, 5, 1_001.0)
    assert list(release.words(1_001.0)) == [settled(5)]
    assert list(release.words(1_002.0)) == [settled(5)]  # No answer came: it is told again.
    release.told(settled(5))
    release.told(settled(5))
    assert list(release.words(1_003.0)) == []
    assert (release.open, release.state(HERE, 5)) == (1, Obligation.WORDED)


def test_one_word_tells_of_several_partitions_and_no_word_of_too_much() -> None:
    release = Release("g", 7, 1, 50)
    for partition in (HERE, THERE, TopicPartition("u", 0)):
        release.freeze(partition, dict.fromkeys(range(600), 1.0), 0.0)
        for offset in range(600):
            release.stored(partition, offset, 1.0)
    words = list(release.words(1.0))
    assert [len(word.settled) for word in words] == [MOST_SETTLED, 200, 600]
    assert [word.topic for word in words] == ["t", "t", "u"]
    for word in words:
        release.told(word)
    assert release.open == 0


def test_what_is_over_its_time_is_given_up_and_not_told_of() -> None:
    release = a_release(_5=3.0, _8=3.0, _9=15.0)
    release.stored(HERE, 5, 1_001.0)
    release.stored(HERE, 8, 1_018.9)
    release.told(settled(5))
    assert release.next_deadline == 1_019.0
    assert release.give_up(1_018.9) == []
    assert list(release.words(1_019.0)) == []
    assert release.give_up(1_019.0) == [(HERE, 9)]
    states = [release.state(HERE, offset) for offset in (5, 8, 9)]
    assert states == [Obligation.WORDED, Obligation.GIVEN_UP, Obligation.GIVEN_UP]
    assert (release.open, a_release().next_deadline) == (0, None)
    release.told(settled(8))
    assert release.state(HERE, 8) is Obligation.GIVEN_UP


def test_an_outcome_that_is_stored_too_late_is_not_told_of() -> None:
    release = a_release(_5=3.0)
    release.stored(HERE, 5, 1_007.0)
    assert release.state(HERE, 5) is Obligation.GIVEN_UP


def test_no_request_begins_that_could_not_be_told_of_in_time() -> None:
    release = a_release(_5=3.0)
    assert release.may_send(HERE, 1_002.9)
    assert not release.may_send(HERE, 1_003.0)


# What a commit says.


def test_a_commit_that_releases_says_what_is_done_held_before_and_in_flight() -> None:
    kept = inherited(held(6, nonce=8), asked_at=1_000.0)
    release = a_release(_5=15.0)
    said = say(PLACE, HERE, 5, [(7, 9)], kept, release, 1_010.0)
    done, holds = decode(said.metadata, PLACE, said.offset)
    assert (said.offset, list(done)) == (5, [(7, 9)])
    assert holds == (held(6, nonce=8, seconds=10.0), held(5, seconds=10.0))


def test_a_commit_beforehand_says_nothing_of_what_is_in_flight() -> None:
    kept = inherited(held(6), asked_at=1_000.0)
    said = say(PLACE, HERE, 5, [], kept, None, 1_010.0)
    assert decode(said.metadata, PLACE, 5).holds == (held(6, seconds=10.0),)
    assert say(PLACE, HERE, 5, [], inherited(), None, 1_010.0).metadata == ""


def test_only_a_commit_beforehand_leaves_out_what_does_not_fit() -> None:
    done = [(2**40 * n, 2**40 * n + 2**39) for n in range(1, 1_000)]
    assert say(PLACE, HERE, 0, done, inherited(), None, 0.0).metadata
    with pytest.raises(MapTooLongError):
        say(PLACE, HERE, 0, done, inherited(), a_release(_0=1.0), 1_000.0)


# Where a worker stands.


def test_what_may_be_done_follows_from_where_a_worker_stands() -> None:
    assert [s for s in Standing if may_start(s)] == [Standing.ACTIVE]
    assert [s for s in Standing if may_commit(s)] == [Standing.ACTIVE, Standing.SENT]
    assert [s for s in Standing if cancelled_by_loss(s)] == [Standing.ACTIVE]


@pytest.mark.parametrize(
    "way",
    [
        ("LOADING", "LOADED", "ACTIVE", "REVOKED", "ACTIVE", "FROZEN", "SENT"),
        ("SENT", "ACKNOWLEDGED", "RELEASED", "LOST", "RELEASED"),
        ("SENT", "LOST", "LOST"),
        ("ACTIVE", "DRAINED", "RELEASED"),
        ("LOADING", "REVOKED", "RELEASED"),
        ("LOADING", "LOST", "LOST"),
    ],
)
def test_the_ways_of_an_assignment(way: tuple[str, ...]) -> None:
    standing = Standing[way[0]]
    for happened, expected in zip(way[1::2], way[2::2], strict=True):
        standing = after(standing, Happened[happened])
        assert standing is Standing[expected]


def test_what_cannot_happen_is_said() -> None:
    with pytest.raises(ValueError, match="FROZEN cannot happen to what is LOADING"):
        after(Standing.LOADING, Happened.FROZEN)


@pytest.mark.parametrize(
    ("answer", "in_time", "step"),
    [
        (Answer.ACKNOWLEDGED, True, Step.RELEASE),
        (Answer.ACKNOWLEDGED, False, Step.RELEASE),
        (Answer.RETRIABLE, True, Step.SEND_AGAIN),
        (Answer.RETRIABLE, False, Step.DRAIN),
        (Answer.UNKNOWN, True, Step.READ_BACK),
        (Answer.UNKNOWN, False, Step.DRAIN),
        (Answer.REFUSED, True, Step.LOSE),
        (Answer.REFUSED, False, Step.LOSE),
    ],
)
def test_what_follows_from_an_answer(answer: Answer, in_time: bool, step: Step) -> None:
    assert after_commit(answer, in_time=in_time) is step


@pytest.mark.parametrize(
    ("committed", "in_time", "step"),
    [
        ((5, "first"), True, Step.RELEASE),
        ((6, "second"), False, Step.RELEASE),
        ((5, "second"), True, Step.SEND_AGAIN),
        ((5, "second"), False, Step.DRAIN),
        (None, True, Step.READ_BACK),
        (None, False, Step.DRAIN),
    ],
)
def test_what_follows_from_what_is_read_back(
    committed: tuple[int, str] | None, in_time: bool, step: Step
) -> None:
    sent = [(5, "first"), (6, "second")]
    assert after_reading_back(committed, sent, in_time=in_time) is step
