"""One record that keeps its whole partition from being committed is told of, and set aside."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from scripted.bench import A, B, Bench
from scripted.handler import ScriptedHandler

from app_worker.debug_state import PAUSES
from app_worker.handler import DeadLetter, Outcome, Park
from app_worker.lanes import LANE_SPAN_RECORDS
from app_worker.record import Record

pytestmark = pytest.mark.looptime

STUCK = "one record keeps its partition from being committed"


class Patient(ScriptedHandler):
    """Allows that a record is set aside, and says then what the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.aside: list[int] = []
        self.instead: Sequence[Outcome] | Exception = [Park("e", 1, "5s", "set_aside")]

    def set_aside(self, record: Record) -> Sequence[Outcome]:
        self.aside.append(record.offset)
        if isinstance(self.instead, Exception):
            raise self.instead
        return self.instead


class Tidy(Patient):
    """Takes so many seconds to clean up after record 0, whatever ends it."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def handle(self, record: Record) -> Sequence[Outcome]:
        try:
            return await super().handle(record)
        finally:
            if not record.offset:
                await asyncio.sleep(self._seconds)


def two_hundred_behind_a_held_one(bench: Bench) -> None:
    bench.handler.hold(0, 0)
    bench.consumer.group[A] = 0
    bench.consumer.append(A, *range(200))


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[int, bool]]:
    logged = [one.__dict__ for one in caplog.records if one.message == STUCK]
    return [(one["offset"], one["set_aside"]) for one in logged]


async def test_a_stuck_head_is_told_of_once_and_counted_while_it_lasts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(handler_timeout_seconds=60.0)
    two_hundred_behind_a_held_one(bench)
    async with bench.running():
        await bench.consumer.assign(A)
        await asyncio.sleep(25)
        assert told(caplog) == [(0, False)]
        assert bench.count("stuck_heads", group="group") == 1
        bench.handler.let_go(0, 0)
        await asyncio.sleep(6)
        assert bench.count("stuck_heads", group="group") == 0
        assert bench.consumer.group[A] == 200


async def test_a_partition_that_is_slow_as_a_whole_has_no_stuck_head(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(handler_timeout_seconds=60.0)
    bench.handler.hold(0, *range(0, 200, 20))
    bench.consumer.group[A] = 0
    bench.consumer.append(A, *range(200))
    async with bench.running():
        await bench.consumer.assign(A)
        await asyncio.sleep(25)
        assert told(caplog) == []
        bench.handler.let_go(0, *range(0, 200, 20))


async def test_a_handler_that_allows_it_has_the_stuck_head_set_aside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(Patient(), handler_timeout_seconds=60.0)
    two_hundred_behind_a_held_one(bench)
    async with bench.running():
        await bench.consumer.assign(A)
        await asyncio.sleep(12)
        assert told(caplog) == [(0, True)]
        assert isinstance(bench.handler, Patient)
        assert bench.handler.aside == [0]
        assert [topic for topic, _ in bench.producer.stored] == ["t.retry.5s"]
        assert bench.consumer.group[A] == 200
        assert bench.count("handler_errors_total", error="timeout") == 0


@pytest.mark.parametrize("instead", [ValueError("x"), [DeadLetter("e", -1, "x")]])
async def test_a_handler_that_fails_to_say_what_becomes_of_it_has_the_record_parked(
    instead: Sequence[Outcome] | Exception,
) -> None:
    handler = Patient()
    handler.instead = instead
    bench = Bench(handler, handler_timeout_seconds=60.0)
    two_hundred_behind_a_held_one(bench)
    async with bench.running():
        await bench.consumer.assign(A)
        await asyncio.sleep(12)
        ((topic, headers),) = bench.producer.stored
        assert (topic, headers["worker-reason"]) == ("t.retry.5s", b"handler_error")
        assert bench.consumer.group[A] == 200


async def test_a_handler_that_is_out_of_time_already_and_cleans_up_is_not_set_aside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(Tidy(6.0), handler_timeout_seconds=4.0)
    two_hundred_behind_a_held_one(bench)
    async with bench.running() as run:
        await bench.consumer.assign(A)
        await asyncio.sleep(12)
        assert not run.done()
        assert told(caplog) == [(0, False)]
        assert bench.consumer.group[A] == 200


async def test_a_record_that_came_back_can_be_set_aside_while_its_first_handling_cleans_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(Tidy(3.0), handler_timeout_seconds=60.0)
    two_hundred_behind_a_held_one(bench)
    async with bench.running():
        await bench.consumer.assign(A)
        await asyncio.sleep(2)
        await bench.consumer.lose(A)
        await bench.consumer.assign(A)
        await asyncio.sleep(15)
        assert told(caplog) == [(0, True)]


async def test_the_state_says_what_each_lane_has_and_waits_for() -> None:
    bench = Bench()
    bench.handler.hold(0, 1)
    bench.consumer.group[A] = 0
    bench.consumer.append(A, *range(5))
    async with bench.running():
        await bench.consumer.assign(A)
        await asyncio.sleep(3)
        state: Any = bench.controller.state()
        (lane,) = state["lanes"]
        assert lane.pop("oldest_open_seconds") >= 0
        assert lane == {
            "topic": "t",
            "partition": 0,
            "epoch": 1,
            "committed": 1,
            "committable": 1,
            "position": 5,
            "open": 1,
            "in_work": 1,
            "held": 0,
            "buffered": 0,
            "blocked_keys": 0,
            "buffered_bytes": 0,
            "complete_out_of_order": 3,
            "waits_for": None,
        }
        bench.handler.let_go(0, 1)


async def test_a_partition_whose_oldest_record_holds_everything_up_is_shown_as_paused() -> None:
    bench = Bench(handler_timeout_seconds=600.0)
    bench.handler.hold(0, 0)
    bench.consumer.group |= {A: 0, B: 0}
    bench.consumer.append(A, *range(LANE_SPAN_RECORDS + 1_000))

    def paused() -> float:
        return bench.count("paused_partitions", group="group", reason="span")

    async with bench.running():
        await bench.consumer.assign(A, B)
        await asyncio.sleep(60)
        assert paused() == 1
        state: Any = bench.controller.state()
        waits_for = {lane["partition"]: lane["waits_for"] for lane in state["lanes"]}
        assert waits_for[0] == PAUSES["span"]
        bench.handler.let_go(0, 0)
        await asyncio.sleep(60)
        assert paused() == 0
        assert bench.consumer.group[A] == LANE_SPAN_RECORDS + 1_000
