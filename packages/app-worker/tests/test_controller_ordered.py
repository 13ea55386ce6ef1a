"""Records of the ordered topic: one of a key at a time, and failed ones tried again in place."""

import asyncio
import json
from collections.abc import Sequence

import pytest
from scripted.bench import A, B, Bench, queued
from scripted.consumer import message
from scripted.handler import ScriptedHandler
from scripted.words import ScriptedTopic

from app_worker import ordered_lane
from app_worker.admission import Admission, Source
from app_worker.handler import Block, DeadLetter, Done, Enqueue, Outcome, Park
from app_worker.record import Record

pytestmark = pytest.mark.looptime


def fails_until(seconds: float, *offsets: int, delay: float = 10.0) -> ScriptedHandler:
    """Blocks the keys of these records until so much time has passed."""
    handler = ScriptedHandler()

    def outcomes(record: Record) -> Sequence[Outcome]:
        if record.offset in offsets and asyncio.get_running_loop().time() < seconds:
            return [Block(record.delivery, record.attempts + 1, delay)]
        return [Done(record.delivery)]

    handler.outcomes = outcomes
    return handler


async def test_records_of_one_key_are_handled_one_after_the_other_and_of_others_at_once() -> None:
    bench = Bench(source=Source.ORDERED)
    bench.handler.seconds = lambda _: 5.0
    async with bench.running():
        bench.consumer.group[A] = 0
        keys = (b"x", b"y", b"x", b"x", b"y")
        bench.consumer.put(A, *(queued(A, offset, key) for offset, key in enumerate(keys)))
        await bench.consumer.assign(A)
        await asyncio.sleep(20)
        expected = {(0, 0): 0, (0, 1): 0, (0, 2): 5, (0, 4): 5, (0, 3): 10}
        assert bench.handler.times == pytest.approx(expected, abs=0.02)
        assert bench.consumer.group[A] == 5


async def test_one_key_is_in_order_for_each_delivery_by_itself() -> None:
    bench = Bench(source=Source.ORDERED)
    bench.handler.seconds = lambda _: 5.0
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, queued(A, 0, b"x", b"e1"), queued(A, 1, b"x", b"e2"))
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        assert bench.handler.began == [(0, 0), (0, 1)]


async def test_a_failure_blocks_its_key_and_takes_no_place_meanwhile() -> None:
    bench = Bench(fails_until(25, 0), source=Source.ORDERED)
    async with bench.running():
        bench.consumer.group[A] = 0
        keys = (b"x", b"x", b"y", b"x", b"z")
        bench.consumer.put(A, *(queued(A, offset, key) for offset, key in enumerate(keys)))
        await bench.consumer.assign(A)
        await asyncio.sleep(15)
        assert bench.handler.began == [(0, 0), (0, 2), (0, 4), (0, 0)]
        assert bench.count("in_flight") == 0
        assert bench.count("blocked_keys", group="group") == 1
        assert bench.count("held_back_records", group="group") == 3
        assert bench.count("ordered_span_records", group="group") == 5
        assert bench.count("oldest_blocked_age_seconds", group="group") == pytest.approx(15, abs=1)
        assert bench.consumer.group[A] == 0
        assert bench.consumer.metadata[A]
        await asyncio.sleep(20)
        assert bench.handler.began[4:] == [(0, 0), (0, 0), (0, 1), (0, 3)]
        assert bench.handler.times[0, 0] == pytest.approx(30, abs=0.1)
        assert bench.consumer.group[A] == 5
        assert bench.count("blocked_keys", group="group") == 0
    assert bench.producer.stored == []


async def test_a_head_with_a_shorter_delay_does_not_wait_for_one_with_a_longer() -> None:
    bench = Bench(source=Source.ORDERED)
    bench.handler.outcomes = lambda record: (
        [Block(record.delivery, 1, 20.0 if record.offset == 0 else 3.0)]
        if not record.attempts
        else [Done(record.delivery)]
    )
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, queued(A, 0, b"x"))
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        bench.consumer.put(A, queued(A, 1, b"y"))
        await asyncio.sleep(30)
        assert bench.handler.times == pytest.approx({(0, 0): 20, (0, 1): 4}, abs=0.1)


async def test_a_new_owner_begins_with_what_blocked_the_key_and_repeats_nothing_that_is_done() -> (
    None
):
    bench = Bench(fails_until(25, 0), source=Source.ORDERED)
    async with bench.running():
        bench.consumer.group[A] = 0
        keys = (b"x", b"x", b"y", b"x", b"z")
        bench.consumer.put(A, *(queued(A, offset, key) for offset, key in enumerate(keys)))
        await bench.consumer.assign(A)
        await asyncio.sleep(3)
        before = asyncio.get_running_loop().time()
        await bench.consumer.revoke(A)
        assert asyncio.get_running_loop().time() - before < 1
        await bench.consumer.assign(A)
        await asyncio.sleep(40)
        others = [place for place in bench.handler.began if place not in [(0, 0)]]
        assert others == [(0, 2), (0, 4), (0, 1), (0, 3)]
        assert bench.consumer.group[A] == 5


async def test_a_handler_that_fails_keeps_its_key_in_order_too() -> None:
    bench = Bench(source=Source.ORDERED)

    def outcomes(record: Record) -> Sequence[Outcome]:
        if record.offset == 0 and record.attempts < 1:
            raise RuntimeError
        return [Done(record.delivery)]

    bench.handler.outcomes = outcomes
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, queued(A, 0, b"x"), queued(A, 1, b"x"))
        await bench.consumer.assign(A)
        await asyncio.sleep(20)
        assert bench.handler.began == [(0, 0), (0, 0), (0, 1)]
    assert bench.producer.stored == []


async def test_an_error_after_many_attempts_gives_nothing_up_before_its_time() -> None:
    bench = Bench(source=Source.ORDERED)

    def outcomes(record: Record) -> Sequence[Outcome]:
        if record.attempts < 10:
            return [Block(record.delivery, record.attempts + 1, 1.0)]
        raise RuntimeError

    bench.handler.outcomes = outcomes
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, queued(A, 0, b"x"))
        await bench.consumer.assign(A)
        await asyncio.sleep(60)
        assert bench.count("handler_errors_total", error="RuntimeError") == 1
        assert given_up(bench) == set()
        await asyncio.sleep(60)
        assert given_up(bench) == {b"endpoint-1"}


async def test_what_is_parked_or_given_up_leaves_its_key_to_the_next() -> None:
    bench = Bench(source=Source.ORDERED)
    outcomes: dict[int, Outcome] = {
        0: Park("endpoint-1", 1, "5s", "status"),
        1: DeadLetter("endpoint-1", 1, "gone"),
        2: Done("endpoint-1"),
    }
    bench.handler.outcomes = lambda record: [outcomes[record.offset]]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, *(queued(A, offset, b"x") for offset in range(3)))
        await bench.consumer.assign(A)
        await asyncio.sleep(3)
        assert bench.handler.began == [(0, 0), (0, 1), (0, 2)]
        assert bench.consumer.group[A] == 3
    assert [topic for topic, _ in bench.producer.stored] == ["t.retry.5s", "t.dead"]


async def test_who_keeps_a_partition_full_is_given_up_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ordered_lane, "MOST_HELD_RECORDS", 20)
    bench = Bench(fails_until(1e9, 0, 1, delay=600.0), source=Source.ORDERED)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(
            A,
            queued(A, 0, b"x", b"bad"),
            queued(A, 1, b"x", b"slow"),
            *(queued(A, offset, b"x", b"bad") for offset in range(2, 30)),
            *(queued(A, offset, b"x", b"slow") for offset in range(30, 35)),
            *(queued(A, offset, b"%d" % offset, b"good") for offset in range(35, 60)),
        )
        await bench.consumer.assign(A)
        await asyncio.sleep(60)
        done = [offset for _, offset in bench.handler.finished]
        assert set(range(35, 60)) <= set(done)
        assert not set(range(30, 35)) & set(done)
        given_up = [headers for topic, headers in bench.producer.stored if topic == "t.dead"]
        assert {headers["worker-reason"] for headers in given_up} == {b"order_overflow"}
        assert {headers["worker-delivery"] for headers in given_up} == {b"bad"}
        offsets = [int(str(headers["worker-origin"], "ascii")[4:]) for headers in given_up]  # type: ignore[arg-type]
        assert offsets == sorted(offsets)
        assert bench.count("blocked_keys", group="group") == 1


def given_up(bench: Bench) -> set[bytes | None]:
    """Whose deliveries became dead letters."""
    return {
        headers["worker-delivery"] for topic, headers in bench.producer.stored if topic == "t.dead"
    }


async def test_a_partition_may_have_more_than_its_share_of_memory_while_others_leave_it() -> None:
    bench = Bench(fails_until(1e9, 0), source=Source.ORDERED, limits=Admission(100, 4_000))
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        await bench.consumer.assign(A, B)
        kilobyte = b"v" * 1_000
        bench.consumer.put(A, *(queued(A, offset, b"x", b"bad", kilobyte) for offset in range(3)))
        await asyncio.sleep(2)
        assert bench.count("held_back_records", group="group") == 3
        assert given_up(bench) == set()
        bench.consumer.put(A, queued(A, 3, b"x", b"bad", kilobyte))
        await asyncio.sleep(2)
        bench.consumer.put(A, queued(A, 4, b"y", b"good"))
        await asyncio.sleep(2)
        assert given_up(bench) == {b"bad"}
        assert (0, 4) in bench.handler.finished


async def test_a_key_that_has_more_than_fits_is_delivered_while_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ordered_lane, "MOST_HELD_RECORDS", 20)
    bench = Bench(source=Source.ORDERED)
    bench.handler.seconds = lambda _: 5.0
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, *(queued(A, offset, b"x", b"busy") for offset in range(15)))
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        bench.consumer.put(A, *(queued(A, offset, b"x", b"busy") for offset in range(15, 60)))
        bench.consumer.put(A, queued(A, 60, b"y", b"other"))
        await asyncio.sleep(400)
        assert given_up(bench) == set()
        assert bench.consumer.group[A] == 61


async def test_nobody_waits_for_ever_for_a_key_that_goes_on_and_has_more_than_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ordered_lane, "MOST_HELD_RECORDS", 20)
    bench = Bench(source=Source.ORDERED, max_poll_records=10)
    bench.handler.seconds = lambda record: 15.0 if record.delivery == "slow" else 0.0
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, *(queued(A, offset, b"x", b"slow") for offset in range(100)))
        bench.consumer.put(A, queued(A, 100, b"y", b"other"))
        await bench.consumer.assign(A)
        await asyncio.sleep(ordered_lane.LONGEST_BEHIND_SECONDS + 100)
        assert given_up(bench) == {b"slow"}
        assert (0, 100) in bench.handler.finished


async def test_who_has_the_most_bytes_gives_way_where_memory_is_what_is_full() -> None:
    bench = Bench(fails_until(1e9, 0, 1, delay=600.0), source=Source.ORDERED)
    async with bench.running():
        bench.consumer.group[A] = 0
        await bench.consumer.assign(A)
        large = b"v" * 3_000
        bench.consumer.put(
            A,
            queued(A, 0, b"x", b"large", large),
            *(queued(A, offset, b"x", b"many") for offset in range(1, 9)),
            *(queued(A, offset, b"x", b"large", large) for offset in range(9, 12)),
        )
        await asyncio.sleep(2)
        assert given_up(bench) == {b"large"}


async def test_a_partition_that_others_have_filled_the_memory_of_gets_room_too() -> None:
    handler = fails_until(1e9, 0, delay=600.0)
    bench = Bench(handler, source=Source.ORDERED, limits=Admission(100, 4_000))
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        await bench.consumer.assign(A, B)
        kilobyte = b"v" * 1_000
        bench.consumer.put(A, *(queued(A, offset, b"x", b"bad", kilobyte) for offset in range(3)))
        await asyncio.sleep(2)
        bench.consumer.put(B, queued(B, 0, b"x", b"worse", kilobyte))
        await asyncio.sleep(2)
        bench.consumer.put(A, queued(A, 3, b"y", b"good"))
        await asyncio.sleep(60)
        assert (0, 3) in bench.handler.finished
        assert given_up(bench) == {b"bad"}


async def test_the_oldest_record_is_waited_for_while_it_is_in_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ordered_lane.OrderedLane, "most_span", 30)
    bench = Bench(fails_until(1e9, 5, delay=600.0), source=Source.ORDERED)
    bench.handler.seconds = lambda record: 15.0 if record.offset == 0 else 0.0
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(
            A,
            queued(A, 0, b"x", b"slow"),
            *(queued(A, offset, b"%d" % offset, b"good") for offset in range(1, 5)),
            *(queued(A, offset, b"x", b"failing") for offset in range(5, 7)),
            *(queued(A, offset, b"%d" % offset, b"good") for offset in range(7, 31)),
        )
        await bench.consumer.assign(A)
        await asyncio.sleep(20)
        assert given_up(bench) == set()
        assert (0, 0) in bench.handler.finished


async def test_who_holds_the_oldest_record_gives_way_when_the_rest_is_too_far_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ordered_lane.OrderedLane, "most_span", 30)
    bench = Bench(fails_until(1e9, 0, 1, delay=600.0), source=Source.ORDERED)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(
            A,
            queued(A, 0, b"x", b"old"),
            *(queued(A, offset, b"x", b"younger") for offset in range(1, 5)),
            *(queued(A, offset, b"%d" % offset, b"good") for offset in range(5, 80)),
        )
        await bench.consumer.assign(A)
        await asyncio.sleep(30)
        bench.consumer.put(A, queued(A, 80, b"z", b"good"))
        await asyncio.sleep(30)
        assert b"old" in given_up(bench)
        assert (0, 80) in bench.handler.finished
    first = next(headers for topic, headers in bench.producer.stored if topic == "t.dead")
    assert first["worker-delivery"] == b"old"


async def test_deliveries_are_put_into_the_ordered_topic_in_the_order_of_the_log() -> None:
    bench = Bench()
    seen: list[frozenset[str]] = []

    class Handler(ScriptedHandler):
        async def handle(self, record: Record) -> Sequence[Outcome]:
            if not record.enqueued:
                return [Enqueue("line")]
            seen.append(record.enqueued)
            await asyncio.sleep(0)
            return []

    bench.controller._execution._handler = Handler()
    # The earlier one is, the longer its acknowledgement takes.
    bench.producer.seconds = lambda value: 1 / (1 + int(value or b"0"))
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, *(message(A, o, b"%d" % o, key=b"k%d" % (o % 2)) for o in range(40)))
        await bench.consumer.assign(A)
        await asyncio.sleep(20)
        assert bench.consumer.group[A] == 40
    assert {topic for topic, _ in bench.producer.stored} == {"t.line"}
    origins = [str(headers["worker-origin"], "ascii") for _, headers in bench.producer.stored]  # type: ignore[arg-type]
    offsets = [int(origin[4:]) for origin in origins]
    for parity in range(2):
        mine = [offset for offset in offsets if offset % 2 == parity]
        assert mine == list(range(parity, 40, 2))
    assert offsets != sorted(offsets)
    assert seen == [frozenset({"line"})] * 40


async def test_what_stands_in_line_is_remembered_when_the_handler_fails_on_the_rest() -> None:
    bench = Bench()

    class Handler(ScriptedHandler):
        async def handle(self, record: Record) -> Sequence[Outcome]:
            if not record.enqueued:
                return [Enqueue("line"), Enqueue('a "b"')]
            raise RuntimeError

    bench.controller._execution._handler = Handler()
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, message(A, 0, b"0", key=b"k"))
        await bench.consumer.assign(A)
        await asyncio.sleep(5)
        assert bench.consumer.group[A] == 1
    *in_line, (topic, headers) = bench.producer.stored
    assert [name for name, _ in in_line] == ["t.line"] * 2
    assert all("worker-enqueued" not in each for _, each in in_line)
    assert (topic, headers["worker-reason"]) == ("t.retry.5s", b"handler_error")
    assert json.loads(headers["worker-enqueued"] or b"") == ['a "b"', "line"]


class PutsInLine(ScriptedHandler):
    """Puts each record in line, and then hangs with what is left of it."""

    async def handle(self, record: Record) -> Sequence[Outcome]:
        if not record.enqueued:
            return [Enqueue("line")]
        await asyncio.sleep(10)
        return []


async def test_what_is_left_of_a_record_in_line_is_asked_for_before_a_late_request_too() -> None:
    asked: list[bool] = []

    class Handler(ScriptedHandler):
        async def handle(self, record: Record) -> Sequence[Outcome]:
            if not record.enqueued:
                return [Enqueue("line")]
            try:
                await asyncio.sleep(60)
            finally:
                asked.append(old.gate.may_send(record))
            return []

    old = Bench(Handler(), words=ScriptedTopic().words(), handler_timeout_seconds=10.0)
    async with old.running():
        old.consumer.group[A] = 0
        old.consumer.append(A, 0)
        await old.consumer.assign(A)
        await asyncio.sleep(0.5)
        await old.consumer.revoke()
        await asyncio.sleep(20)
    assert asked == [False]
    assert not old.gate._asked


@pytest.mark.parametrize(("seconds", "outcome"), [(0.2, "handed_over"), (3.0, "not_in_line")])
async def test_a_partition_is_handed_over_when_what_is_in_flight_stands_in_line(
    seconds: float, outcome: str
) -> None:
    topic = ScriptedTopic()
    old = Bench(PutsInLine(), words=topic.words())
    new = Bench(PutsInLine(), words=topic.words(), beside=old)
    old.producer.seconds = lambda _: seconds
    new.producer.stored = old.producer.stored
    async with new.running(), old.running():
        old.consumer.group[A] = 0
        old.consumer.append(A, *range(4))
        await old.consumer.assign(A)
        await asyncio.sleep(0.1)
        await old.consumer.revoke()
        await new.consumer.assign(A)
        new.consumer.append(A, 4, 5)
        await asyncio.sleep(30)
        assert old.count("releases_total", group="group", outcome=outcome) == 1
    origins = [headers["worker-origin"] for _, headers in old.producer.stored]
    assert origins == [b"t:0:%d" % offset for offset in range(6)]


async def test_what_is_not_in_line_when_its_time_is_over_keeps_its_place_at_the_next_owner() -> (
    None
):
    topic = ScriptedTopic()
    old = Bench(PutsInLine(), words=topic.words(), drain_timeout_seconds=5.0)
    new = Bench(PutsInLine(), words=topic.words(), beside=old)
    old.producer.seconds = lambda _: 60.0
    async with new.running(), old.running():
        old.consumer.group[A] = 0
        old.consumer.append(A, *range(4))
        await old.consumer.assign(A)
        await asyncio.sleep(0.1)
        await old.consumer.revoke()
        await new.consumer.assign(A)
        new.consumer.append(A, 4, 5)
        await asyncio.sleep(40)
        origins = [headers["worker-origin"] for _, headers in new.producer.stored]
        assert origins == [b"t:0:%d" % offset for offset in range(6)]


async def test_nothing_is_said_to_be_in_flight_before_it_stands_in_line() -> None:
    topic = ScriptedTopic()
    old = Bench(PutsInLine(), words=topic.words())
    old.producer.seconds = lambda _: 0.9
    async with old.running():
        old.consumer.group[A] = 0
        old.consumer.append(A, 0, 1)
        old.consumer.put(A, message(A, 2, key=b"other"))
        await old.consumer.assign(A)
        await asyncio.sleep(0.1)
        revoking = asyncio.create_task(old.consumer.revoke())
        while not revoking.done():
            await asyncio.sleep(0.05)
            if old.consumer.metadata.get(A):
                assert len(old.producer.stored) == 3
        await revoking


async def test_a_revoke_that_is_taken_back_meanwhile_ends_nothing() -> None:
    topic = ScriptedTopic()
    old = Bench(PutsInLine(), words=topic.words())
    old.producer.seconds = lambda _: 0.5
    async with old.running():
        old.consumer.group[A] = 0
        old.consumer.append(A, 0, 1)
        await old.consumer.assign(A)
        await asyncio.sleep(0.1)
        revoking = asyncio.create_task(old.controller.revoked([A]))
        await asyncio.sleep(0.2)
        assert old.controller.kept([A]) == [A]
        await revoking
        old.consumer.append(A, 2)
        await asyncio.sleep(30)
        assert old.consumer.group[A] == 3


@pytest.mark.parametrize(
    ("source", "outcomes"),
    [
        (Source.FRESH, [Block(None, 1, 1.0)]),
        (Source.FRESH, [Enqueue("a"), Done("b")]),
        (Source.ORDERED, [Enqueue("a")]),
        (Source.ORDERED, [Block("a", 1, 1.0), Done("b")]),
        (Source.ORDERED, [Block("a", 1, float("nan"))]),
        (Source.ORDERED, [Block("a", 1, float("inf"))]),
        (Source.ORDERED, [Block("a", 1, -1.0)]),
        (Source.ORDERED, [Block("a", -1, 1.0)]),
        (Source.FRESH, [Enqueue("\ud800")]),
        (Source.FRESH, [Enqueue(None)]),  # type: ignore[arg-type]
        (Source.FRESH, [Enqueue([])]),  # type: ignore[arg-type]
    ],
)
async def test_what_makes_no_sense_where_it_is_returned_is_a_fault_of_the_handler(
    source: Source, outcomes: Sequence[Outcome]
) -> None:
    bench = Bench(source=source)
    bench.handler.outcomes = lambda _: outcomes
    async with bench.running():
        bench.consumer.group[B] = 0
        bench.consumer.put(B, queued(B, 0, b"x"))
        await bench.consumer.assign(B)
        await asyncio.sleep(1)
        assert bench.count("handler_errors_total", error="HandlerFault") == 1
        assert not [topic for topic, _ in bench.producer.stored if topic == "t.line"]
