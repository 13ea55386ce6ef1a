"""Two workers of one group, of which one hands partitions over while records are in flight."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.errors import CommitFailedError, KafkaConnectionError, OffsetMetadataTooLargeError
from scripted.bench import SCOPE, A, B, Bench, parked, soon
from scripted.words import ScriptedTopic, UnwritableError

from app_worker.admission import Admission, Source
from app_worker.controller import RELIEF_SHARE, Subscription
from app_worker.handover import Kind, Word
from app_worker.handover.needs import Mode, WhyNot
from app_worker.handover.timing import CATCH_UP_SECONDS
from app_worker.holds import MOST_HOLDS, Holds
from app_worker.offset_map import OffsetMap, decode, encode
from app_worker.send_gate import GivenUpError

pytestmark = pytest.mark.looptime

OFF = Mode(WhyNot.SETTING)


def now() -> float:
    return asyncio.get_running_loop().time()


def said(bench: Bench, partition: Any = A) -> OffsetMap:
    """What the group's commit says of a partition."""
    consumer = bench.consumer
    text = consumer.metadata.get(partition, "")
    return decode(text, SCOPE.place(partition), consumer.group[partition])


class Pair:
    """A worker that begins with everything, and one beside it."""

    def __init__(self, first: Mode | None = None, second: Mode | None = None, **more: Any) -> None:
        self.topic = ScriptedTopic()
        self.old = Bench(words=self.topic.words(first), **more)
        self.new = Bench(words=self.topic.words(second), beside=self.old)

    @asynccontextmanager
    async def working(self, *partitions: Any, records: int = 4) -> Any:
        async with self.new.running(), self.old.running() as run:
            await self.begin(*partitions, records=records)
            yield run

    async def begin(self, *partitions: Any, records: int = 4) -> None:
        for here in partitions or (A,):
            self.old.consumer.group[here] = 0
            self.old.consumer.append(here, *range(records))
        await self.old.consumer.assign(*(partitions or (A,)))
        await asyncio.sleep(0.5)

    @property
    def began(self) -> list[tuple[int, int]]:
        return self.old.handler.began + self.new.handler.began


# A partition moves.


async def test_a_partition_moves_at_once_and_what_is_in_flight_is_neither_lost_nor_repeated() -> (
    None
):
    pair = Pair()
    pair.old.handler.hold(0, 0, 2)
    async with pair.working():
        began = now()
        await pair.old.consumer.revoke()
        assert now() - began < 0.1
        assert pair.old.consumer.group[A] == 0
        (holds,) = said(pair.old).holds
        assert said(pair.old).done == ((1, 2), (3, 4))
        assert holds.offsets == (0, 2)
        assert 24 < holds.seconds <= 25

        await pair.new.consumer.assign(A)
        pair.new.consumer.append(A, 4, 5)
        await asyncio.sleep(2)
        assert pair.new.handler.finished == [(0, 4), (0, 5)], "it works while others are in flight"
        assert pair.new.count("held_records", group="group") == 2
        assert pair.old.count("obligations", group="group") == 2

        pair.old.handler.let_go(0, 2)
        await asyncio.sleep(2)
        assert said(pair.new).holds[0].offsets == (0,)
        assert said(pair.new).holds[0].nonce == holds.nonce
        assert said(pair.new).holds[0].words_from == holds.words_from

        pair.old.handler.let_go(0, 0)
        await asyncio.sleep(2)
        assert pair.new.consumer.group[A] == 6
        assert said(pair.new) == OffsetMap()
        assert sorted(pair.began) == [(0, offset) for offset in range(6)]
        assert pair.topic.told == [(0, 2), (0, 0)]
        assert pair.new.count("holds_total", group="group", change="settled") == 2
        assert pair.topic.readers[0].rested


async def test_at_the_end_it_leaves_at_once_and_goes_on_until_everything_is_told() -> None:
    pair = Pair()
    pair.old.handler.hold(0, 1)
    pair.old.handler.hold(1, 3)
    async with pair.working(A, B) as run:
        began = now()
        pair.old.controller.stop()
        await asyncio.sleep(0.5)
        assert pair.old.consumer.when("stopped") - began < 0.2, "the group is left"
        assert not run.done()
        await pair.new.consumer.assign(A, B)
        await asyncio.sleep(5)
        pair.old.handler.let_go(0, 1)
        await asyncio.sleep(1)
        assert not run.done()
        pair.old.handler.let_go(1, 3)
        await asyncio.sleep(0.1)
        assert run.done()
        await asyncio.sleep(2)
        assert pair.new.consumer.group == {A: 4, B: 4}
        assert sorted(pair.began) == [(part, offset) for part in (0, 1) for offset in range(4)]


async def test_without_anything_in_flight_no_word_is_written() -> None:
    pair = Pair()
    async with pair.working():
        await pair.old.consumer.revoke()
        assert pair.old.consumer.group[A] == 4
        assert pair.topic.logs == {0: [], 1: []}


async def test_through_a_third_worker_within_one_record() -> None:
    pair = Pair()
    third = Bench(words=pair.topic.words(), beside=pair.old)
    pair.old.handler.hold(0, 0)
    pair.new.handler.hold(0, 4)
    async with third.running(), pair.working():
        await pair.old.consumer.revoke()
        pair.old.consumer.append(A, 4, 5)
        await pair.new.consumer.assign(A)
        await asyncio.sleep(1)
        await pair.new.consumer.revoke()
        assert [holds.offsets for holds in said(third).holds] == [(0,), (4,)]
        await third.consumer.assign(A)
        third.consumer.append(A, 6)
        await asyncio.sleep(1)
        assert third.handler.began == [(0, 6)]
        pair.old.handler.let_go(0, 0)
        pair.new.handler.let_go(0, 4)
        await asyncio.sleep(2)
        assert third.consumer.group[A] == 7
        assert sorted(pair.began + third.handler.began) == [(0, offset) for offset in range(7)]


async def test_a_worker_that_gets_its_own_partition_back_waits_for_its_own_word() -> None:
    pair = Pair()
    pair.old.handler.hold(0, 0)
    async with pair.working():
        await pair.old.consumer.revoke()
        await pair.old.consumer.assign(A)
        await asyncio.sleep(3)
        assert pair.old.handler.began.count((0, 0)) == 1
        pair.old.handler.let_go(0, 0)
        await asyncio.sleep(2)
        assert pair.old.consumer.group[A] == 4
        assert pair.old.handler.began.count((0, 0)) == 1


async def test_what_is_held_takes_no_place_from_what_is_begun() -> None:
    pair = Pair()
    pair.old.handler.hold(0, *range(4))
    narrow = Bench(words=pair.topic.words(), beside=pair.old, limits=Admission(1, 10_000))
    async with narrow.running(), pair.working():
        await pair.old.consumer.revoke()
        await narrow.consumer.assign(A)
        narrow.consumer.append(A, *range(4, 10))
        await asyncio.sleep(0.5)
        assert narrow.handler.finished == [(0, offset) for offset in range(4, 10)]
        pair.old.handler.let_go(0, *range(4))


async def test_a_hold_ends_when_the_log_has_no_such_record() -> None:
    pair = Pair()
    pair.old.handler.hold(0, 0)
    async with pair.working():
        await pair.old.consumer.revoke()
        pair.old.consumer.logs[A] = [one for one in pair.old.consumer.logs[A] if one.offset]
        await pair.new.consumer.assign(A)
        await asyncio.sleep(2)
        assert pair.new.consumer.group[A] == 4
        assert pair.new.count("holds_total", group="group", change="gone") == 1
        pair.old.handler.let_go(0, 0)


# Somebody dies, or is late.


async def test_what_nobody_tells_of_is_delivered_when_its_time_has_passed() -> None:
    pair = Pair()
    pair.old.handler.hold(0, 0)
    dying = asyncio.create_task(pair.old.controller.run(Subscription(topics=("t",))))
    async with pair.new.running():
        await pair.begin()
        frozen = now()
        await pair.old.consumer.revoke()
        dying.cancel()
        await asyncio.wait([dying])
        await pair.new.consumer.assign(A)
        await asyncio.sleep(20)
        assert (0, 0) not in pair.new.handler.began
        await asyncio.sleep(7)
        assert 24.5 < pair.new.handler.times[0, 0] - frozen < 26
        await asyncio.sleep(2)
        assert pair.new.consumer.group[A] == 4
        assert pair.new.count("holds_total", group="group", change="expired") == 1
        assert pair.old.handler.running == 0


async def test_a_hold_is_not_opened_before_words_are_read_to_an_end_asked_for_after_its_time() -> (
    None
):
    pair = Pair()
    pair.old.handler.seconds = lambda record: 10.0 if record.offset == 0 else 0.0
    async with pair.working():
        await pair.old.consumer.revoke()
        pair.topic.silent = True
        await pair.new.consumer.assign(A)
        await asyncio.sleep(30)
        assert pair.topic.told == [(0, 0)]
        pair.topic.silent = False
        pair.topic.readers[0].wake()
        await asyncio.sleep(2)
        assert pair.new.consumer.group[A] == 4
        assert (0, 0) not in pair.new.handler.began


async def test_a_hold_opens_in_the_end_although_words_cannot_be_read() -> None:
    pair = Pair()
    pair.old.handler.seconds = lambda record: 10.0 if record.offset == 0 else 0.0
    async with pair.working():
        await pair.old.consumer.revoke()
        frozen = now()
        pair.topic.silent = True
        pair.topic.refuse_ends = UnwritableError("no")
        await pair.new.consumer.assign(A)
        await asyncio.sleep(60)
        assert pair.new.handler.times[0, 0] - frozen == pytest.approx(25 + CATCH_UP_SECONDS, abs=1)


async def test_what_is_not_finished_in_time_is_cancelled_and_not_told_of() -> None:
    pair = Pair(handler_timeout_seconds=10.0)
    pair.old.handler.hold(0, 0)
    pair.old.producer.refuse = UnwritableError("cannot be parked")
    async with pair.working():
        frozen = now()
        await pair.old.consumer.revoke()
        await pair.new.consumer.assign(A)
        await asyncio.sleep(13.4)
        assert pair.old.count("obligations", group="group") == 1
        await asyncio.sleep(0.7)
        assert now() - frozen < 14.5
        assert pair.old.count("obligations", group="group") == 0, "given up a second before others"
        await asyncio.sleep(2)
        assert pair.topic.told == []
        assert pair.new.handler.began[-1] == (0, 0)
        assert pair.old.count("in_flight") == 0, "it is cancelled, and not only forgotten"


@pytest.mark.parametrize("trouble", [UnwritableError("no"), RuntimeError("a fault of a library")])
async def test_a_word_that_cannot_be_written_is_tried_again_while_there_is_time(
    trouble: Exception,
) -> None:
    pair = Pair()
    pair.old.handler.hold(0, 0)
    async with pair.working():
        await pair.old.consumer.revoke()
        await pair.new.consumer.assign(A)
        pair.topic.refuse_tell = trouble
        pair.old.handler.let_go(0, 0)
        await asyncio.sleep(5)
        assert pair.old.count("obligations", group="group") == 1
        pair.topic.refuse_tell = None
        await asyncio.sleep(3)
        assert pair.new.consumer.group[A] == 4
        assert pair.began.count((0, 0)) == 1


async def test_right_before_its_time_is_over_nothing_is_sent_any_more() -> None:
    pair = Pair(handler_timeout_seconds=10.0)
    asked: list[bool] = []

    async def handle(record: Any) -> Any:
        if record.offset == 0:
            asked.append(pair.old.gate.may_send(record))
            await asyncio.sleep(5)
            asked.append(pair.old.gate.may_send(record))
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                asked.append(pair.old.gate.may_send(record))
                pair.old.gate.check(record)
        return []

    pair.old.handler.handle = handle  # type: ignore[method-assign]
    async with pair.working():
        await pair.old.consumer.revoke()
        await pair.new.consumer.assign(A)
        await asyncio.sleep(20)
        assert asked == [True, True, False]
        assert pair.topic.told == []
        assert pair.old.producer.stored == [], "it has no outcome"
        assert pair.new.handler.began == [(0, 0)]


async def test_one_refused_request_of_several_leaves_the_record_without_an_outcome() -> None:
    pair = Pair()

    async def refused() -> None:
        raise GivenUpError("late")

    async def handle(record: Any) -> Any:
        if record.offset == 0:
            await asyncio.sleep(3)
            async with asyncio.TaskGroup() as deliveries:
                deliveries.create_task(asyncio.sleep(1))
                deliveries.create_task(refused())
        return []

    pair.old.handler.handle = handle  # type: ignore[method-assign]
    async with pair.working():
        await pair.old.consumer.revoke()
        await asyncio.sleep(5)
        assert pair.old.producer.stored == []
        assert pair.topic.told == []
        assert pair.old.count("in_flight") == 0


async def test_a_handler_that_gives_up_what_was_not_handed_over_has_failed() -> None:
    pair = Pair()

    async def handle(record: Any) -> Any:
        raise GivenUpError("by mistake")

    pair.old.handler.handle = handle  # type: ignore[method-assign]
    async with pair.working():
        await asyncio.sleep(2)
        assert len(pair.old.producer.stored) == 4
        assert pair.old.consumer.group[A] == 4


# The assignment ends in other ways.


async def test_what_was_handed_over_does_not_end_with_a_loss() -> None:
    pair = Pair()
    pair.old.handler.hold(0, 0)
    pair.old.handler.hold(1, 0)
    async with pair.working(A, B):
        await pair.old.consumer.revoke(A)
        await pair.old.consumer.lose(B)
        await soon()
        assert pair.old.handler.running == 1, "what was lost is cancelled"
        await pair.new.consumer.assign(A)
        pair.old.handler.let_go(0, 0)
        await asyncio.sleep(2)
        assert pair.new.consumer.group[A] == 4
        assert pair.began.count((0, 0)) == 1


async def test_a_revoke_is_taken_back_until_the_map_is_sent() -> None:
    pair = Pair(limits=Admission(2, 10_000))
    pair.topic.open_seconds = 0.5
    pair.old.handler.hold(0, 0)
    async with pair.working():
        revoke = asyncio.create_task(pair.old.consumer.revoke())
        await asyncio.sleep(0.2)
        assert pair.old.consumer.take_back(A) == {A}
        pair.old.consumer.append(A, 4, 5)
        await asyncio.sleep(2)
        assert revoke.done()
        assert said(pair.old).holds == ()
        assert pair.old.handler.finished == [(0, offset) for offset in range(1, 6)]
        pair.old.handler.let_go(0, 0)
        await asyncio.sleep(2)
        assert pair.old.consumer.group[A] == 6


async def test_a_revoke_is_not_taken_back_once_the_map_is_sent() -> None:
    pair = Pair()
    pair.old.handler.hold(0, 0)

    async def slowly() -> None:
        await asyncio.sleep(2)

    async with pair.working():
        pair.old.consumer.refuse_commit = slowly
        revoke = asyncio.create_task(pair.old.consumer.revoke())
        await asyncio.sleep(1)
        assert pair.old.consumer.take_back(A) == set()
        pair.old.consumer.refuse_commit = None
        await revoke
        pair.old.handler.let_go(0, 0)


async def test_revoked_before_it_is_known_what_was_committed_it_commits_nothing() -> None:
    pair = Pair()
    pair.old.handler.hold(1, 0)
    async with pair.working(B):
        place, holds = SCOPE.place(A), Holds(7, 0, 50, 20.0, (1,))
        pair.old.consumer.group[A] = 1
        pair.old.consumer.metadata[A] = encode(place, 1, (), (holds,))
        await pair.old.consumer.assign(A)
        await pair.old.consumer.revoke()
        assert said(pair.old, B).holds[0].offsets == (0,)
        assert said(pair.old, A).holds == (holds,)
        assert not any(A in commit for commit in pair.old.consumer.commits)
        pair.old.handler.let_go(1, 0)


async def test_a_partition_without_a_place_to_read_from_keeps_no_other_one_waiting() -> None:
    pair = Pair()
    pair.old.handler.hold(1, 0)
    async with pair.working(B):
        pair.old.consumer.leaderless = {A}
        await pair.old.consumer.assign(A)
        await asyncio.sleep(2)
        began = now()
        await pair.old.consumer.revoke()
        assert now() - began < 0.1
        assert A not in pair.old.consumer.group
        pair.old.handler.let_go(1, 0)


# What the coordinator answers.


async def test_a_commit_without_an_answer_is_read_back() -> None:
    pair = Pair()
    pair.old.handler.hold(0, 0)
    async with pair.working():
        pair.old.consumer.unanswered = True
        began = now()
        await pair.old.consumer.revoke()
        assert 5 <= now() - began < 6
        pair.old.consumer.unanswered = False
        await pair.new.consumer.assign(A)
        pair.old.handler.let_go(0, 0)
        await asyncio.sleep(2)
        assert pair.new.consumer.group[A] == 4
        assert pair.began.count((0, 0)) == 1


async def test_after_a_failure_the_map_is_made_anew_for_the_same_release() -> None:
    pair = Pair()
    pair.old.handler.hold(0, 0, 1)
    maps: list[tuple[int, str]] = []

    async def refuse() -> None:
        maps.append(pair.old.consumer.asked_to_commit[A])
        if len(maps) < 4:
            pair.old.handler.let_go(0, len(maps) % 2)
            raise KafkaConnectionError("gone")

    async with pair.working():
        pair.old.consumer.refuse_commit = refuse
        pair.old.handler.held[0, 0].clear()
        await pair.old.consumer.revoke()
        first, *_, last = (decode(text, SCOPE.place(A), base) for base, text in maps)
        assert first.holds[0].offsets == (0, 1)
        assert last.holds == ()
        assert pair.old.consumer.group[A] == 4


async def test_not_acknowledged_in_time_it_drains_and_the_last_commit_replaces_the_map() -> None:
    pair = Pair()
    pair.old.handler.seconds = lambda record: 15.0 if record.offset == 0 else 0.0

    async def refuse() -> None:
        if now() < 23:
            raise KafkaConnectionError("gone")

    async with pair.working():
        pair.old.consumer.refuse_commit = refuse
        await pair.old.consumer.revoke()
        assert pair.old.handler.finished[-1] == (0, 0)
        assert pair.old.consumer.group[A] == 4
        assert said(pair.old) == OffsetMap()
        assert pair.began.count((0, 0)) == 1


async def test_a_member_no_more_forgets_the_partition_and_goes_on_with_what_it_sent() -> None:
    pair = Pair()
    pair.old.handler.hold(0, 0)

    async def refuse() -> None:
        raise CommitFailedError("not a member")

    async with pair.working():
        pair.old.consumer.refuse_commit = refuse
        began = now()
        await pair.old.consumer.revoke()
        assert now() - began < 0.1
        assert pair.old.handler.running == 1
        assert pair.old.count("owned_partitions", group="group") == 0
        pair.old.handler.let_go(0, 0)


async def test_an_earlier_commit_under_way_is_no_answer_to_the_map() -> None:
    pair = Pair()
    pair.old.handler.hold(0, 0)
    seconds = 0.0

    async def slowly() -> None:
        await asyncio.sleep(seconds)

    pair.old.consumer.refuse_commit = slowly
    async with pair.working():
        seconds = 3.0
        pair.old.consumer.append(A, 4)
        await asyncio.sleep(1.2)  # A commit of what moved is under way.
        seconds = 0.0
        await pair.old.consumer.revoke()
        assert said(pair.old).holds[0].offsets == (0,)
        pair.old.handler.let_go(0, 0)


async def test_brokers_that_take_no_metadata_make_it_drain() -> None:
    pair = Pair()
    pair.old.handler.seconds = lambda record: 3.0 if record.offset == 0 else 0.0

    async def refuse() -> None:
        if any(text for _, text in pair.old.consumer.asked_to_commit.values()):
            raise OffsetMetadataTooLargeError

    async with pair.working():
        pair.old.consumer.refuse_commit = refuse
        await pair.old.consumer.revoke()
        assert pair.old.consumer.group[A] == 4
        assert pair.began.count((0, 0)) == 1


# It drains instead.


@pytest.mark.parametrize(
    "trouble", [UnwritableError("refused"), OSError("gone"), ValueError("?"), None]
)
async def test_without_the_first_word_it_drains(trouble: Exception | None) -> None:
    pair = Pair()
    pair.topic.refuse_open = trouble
    if trouble is None:
        pair.topic.open_seconds = 60.0
    pair.old.handler.seconds = lambda record: 8.0 if record.offset == 0 else 0.0
    async with pair.working():
        await pair.old.consumer.revoke()
        assert pair.old.handler.finished[-1] == (0, 0)
        assert said(pair.old) == OffsetMap()
        assert pair.old.consumer.group[A] == 4
        assert pair.old.count("releases_total", group="group", outcome="not_opened") == 1


async def test_switched_off_it_drains_and_still_honours_and_hands_on_what_it_finds() -> None:
    pair = Pair(second=OFF)
    third = Bench(words=pair.topic.words(OFF), beside=pair.old)
    pair.old.handler.hold(0, 0)
    pair.new.handler.seconds = lambda _: 4.0
    async with third.running(), pair.working():
        await pair.old.consumer.revoke()
        (holds,) = said(pair.old).holds
        await pair.new.consumer.assign(A)
        pair.new.consumer.append(A, 4)
        await asyncio.sleep(1)
        began = now()
        await pair.new.consumer.revoke()
        assert now() - began > 2.5, "what it has begun itself it finishes"
        (handed_on,) = said(pair.new).holds
        assert (handed_on.nonce, handed_on.words_from, handed_on.offsets) == (
            holds.nonce,
            holds.words_from,
            (0,),
        )
        assert handed_on.seconds < holds.seconds - 3
        await third.consumer.assign(A)
        await asyncio.sleep(1)
        pair.old.handler.let_go(0, 0)
        await asyncio.sleep(2)
        assert third.consumer.group[A] == 5
        assert sorted(pair.began + third.handler.began) == [(0, offset) for offset in range(5)]


async def test_a_static_member_says_what_is_in_flight_and_drains_at_its_end() -> None:
    pair = Pair(first=Mode(WhyNot.STATIC_MEMBER))
    pair.old.handler.hold(0, 0)
    async with pair.working() as run:
        pair.old.controller.stop()
        await asyncio.sleep(2)
        assert said(pair.old).holds[0].offsets == (0,)
        assert dict(pair.old.consumer.happened).get("left") is None, "it is still the owner"
        pair.old.handler.let_go(0, 0)
        await asyncio.sleep(0.5)
        assert run.done()
        assert pair.old.consumer.group[A] == 4
        assert said(pair.old) == OffsetMap()


async def test_nothing_is_owed_when_the_time_for_the_end_is_over() -> None:
    pair = Pair()
    pair.old.handler.hold(0, 0, 4)
    pair.old.consumer.relief_seconds = None
    pair.old.producer.refuse = UnwritableError("cannot be parked")
    async with pair.working() as run:
        began = now()
        pair.old.controller.stop()
        await asyncio.sleep(9)
        pair.old.consumer.append(A, 4)
        await asyncio.sleep(2)
        (holds,) = said(pair.old).holds
        assert holds.offsets == (0, 4)
        assert holds.seconds <= 16.01, "less than the handler has left"
        await asyncio.wait([run])
        assert 23 < now() - began <= 25


async def test_in_the_steady_state_commits_say_nothing_more_than_before() -> None:
    pair = Pair()
    async with pair.working(records=50):
        await asyncio.sleep(3)
        assert pair.old.consumer.metadata[A] == ""


async def test_what_a_parked_record_is_at_is_handed_over_as_well() -> None:
    topic = ScriptedTopic()
    old = Bench(words=topic.words(), source=Source.PARKED)
    new = Bench(words=topic.words(), source=Source.PARKED, beside=old)
    old.handler.hold(0, 0)
    async with new.running(), old.running():
        old.consumer.group[A] = 0
        old.consumer.put(A, parked(A, 0, 0.1), parked(A, 1, 0.2), parked(A, 2, 8.0))
        await old.consumer.assign(A)
        await asyncio.sleep(2)
        await old.consumer.revoke()
        assert said(old).holds[0].offsets == (0,)
        await new.consumer.assign(A)
        await asyncio.sleep(2)
        old.handler.let_go(0, 0)
        await asyncio.sleep(8)
        assert new.handler.began == [(0, 2)]
        assert new.consumer.group[A] == 3


# Two things at a time.


async def test_lost_before_the_map_is_answered_it_is_still_told_of() -> None:
    pair = Pair()
    pair.old.handler.hold(0, 0)

    async def slowly() -> None:
        await asyncio.sleep(3)

    async with pair.working():
        pair.old.consumer.refuse_commit = slowly
        revoke = asyncio.create_task(pair.old.consumer.revoke())
        await asyncio.sleep(1)
        await pair.old.consumer.lose(A)
        revoke.cancel()
        await asyncio.wait([revoke])
        assert pair.old.handler.running == 1
        pair.old.handler.let_go(0, 0)
        await asyncio.sleep(0.1)
        assert pair.topic.told == [(0, 0)]


async def test_what_was_frozen_is_not_cancelled_when_the_time_for_a_revoke_is_over() -> None:
    pair = Pair(drain_timeout_seconds=10.0)
    pair.old.handler.hold(0, 0)

    async def refuse() -> None:
        raise KafkaConnectionError("gone")

    async with pair.working():
        pair.old.consumer.refuse_commit = refuse
        revoke = asyncio.create_task(pair.old.consumer.revoke())
        await asyncio.sleep(7.5)
        assert pair.old.consumer.take_back(A) == set(), "nor taken back"
        await revoke
        assert 9 < now() < 10.6
        assert pair.old.handler.running == 1
        pair.old.handler.let_go(0, 0)
        await asyncio.sleep(0.1)
        assert pair.topic.told == [(0, 0)]


async def test_an_end_in_the_middle_of_a_revoke_hands_over_the_rest() -> None:
    pair = Pair()
    pair.old.handler.hold(0, 0)
    pair.old.handler.hold(1, 0)
    pair.old.consumer.relief_seconds = None

    async def slowly() -> None:
        await asyncio.sleep(2)

    async with pair.working(A, B) as run:
        pair.old.controller.stop()
        await asyncio.sleep(RELIEF_SHARE * 25 - 0.5)
        pair.old.consumer.refuse_commit = slowly
        revoke = asyncio.create_task(pair.old.consumer.revoke(A))
        await asyncio.sleep(4.6)
        assert revoke.done()
        assert not run.done()
        assert said(pair.old, A).holds[0].offsets == said(pair.old, B).holds[0].offsets == (0,)
        assert said(pair.old, A).holds[0].nonce != said(pair.old, B).holds[0].nonce
        await pair.new.consumer.assign(A, B)
        pair.old.handler.let_go(0, 0)
        pair.old.handler.let_go(1, 0)
        await asyncio.sleep(2)
        assert run.done()
        assert pair.new.consumer.group == {A: 4, B: 4}
        assert len(pair.began) == len(set(pair.began)) == 8


async def test_a_place_further_back_is_read_before_a_hold_counts_as_never_told_of() -> None:
    topic = ScriptedTopic()
    bench = Bench(words=topic.words())
    opened, told = (
        Word(Kind.OPENED, "group", 9, "t"),
        Word(Kind.SETTLED, "group", 9, "t", ((1, 0),)),
    )
    topic.logs[0] = [opened, opened, opened, told, opened]
    here = {A: Holds(8, 0, 55, 60.0, (0,)), B: Holds(9, 0, 52, 0.01, (0,))}
    async with bench.running():
        for partition, holds in here.items():
            bench.consumer.group[partition] = 0
            bench.consumer.metadata[partition] = encode(SCOPE.place(partition), 0, (), (holds,))
            bench.consumer.append(partition, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        topic.silent = True
        await bench.consumer.assign(B)
        await asyncio.sleep(3)
        topic.silent = False
        topic.readers[0].wake()
        await asyncio.sleep(2)
        assert bench.handler.began == []
        assert bench.consumer.group[B] == 1


async def test_holds_of_too_many_releases_are_drained_until_they_fit() -> None:
    topic = ScriptedTopic()
    bench = Bench(words=topic.words())
    bench.handler.seconds = lambda _: 4.0
    offsets = range(MOST_HOLDS)
    holds = [Holds(nonce, 0, 50, 60.0, (nonce,)) for nonce in offsets]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.metadata[A] = encode(SCOPE.place(A), 0, (), holds)
        bench.consumer.append(A, *offsets, MOST_HOLDS)
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        assert bench.handler.began == [(0, MOST_HOLDS)]
        began = now()
        await bench.consumer.revoke()
        assert now() - began == pytest.approx(3.0, abs=0.4)
        assert len(said(bench).holds) == MOST_HOLDS
        assert said(bench).done == ((MOST_HOLDS, MOST_HOLDS + 1),)
