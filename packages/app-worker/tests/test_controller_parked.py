"""When parked records are handled."""

import asyncio

import pytest
from aiokafka import TopicPartition
from scripted.bench import A, B, Bench, parked, wall_clock

from app_worker.admission import Source
from app_worker.parked_headers import DELAY_GRACE

pytestmark = pytest.mark.looptime


async def test_a_parked_record_is_handled_when_its_time_has_come_and_not_before() -> None:
    bench = Bench(source=Source.PARKED)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, parked(A, 0, 10), parked(A, 1, 12), parked(A, 2, 90))
        await bench.consumer.assign(A)
        await asyncio.sleep(100)
        expected = {(0, 0): 10, (0, 1): 12, (0, 2): 90}
        assert bench.handler.times == pytest.approx(expected, abs=0.01)
        assert bench.consumer.group[A] == 3


async def test_a_record_parked_meanwhile_is_not_late() -> None:
    bench = Bench(source=Source.PARKED)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, parked(A, 0, 5))
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        bench.consumer.put(A, parked(A, 1, 5.2))
        await asyncio.sleep(10)
        assert bench.handler.times == pytest.approx({(0, 0): 5, (0, 1): 5.2}, abs=0.02)


async def test_a_waiting_head_holds_up_only_its_own_partition() -> None:
    bench = Bench(source=Source.PARKED)
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.put(A, parked(A, 0, 86_400))
        await bench.consumer.assign(A, B)
        await asyncio.sleep(1)
        bench.consumer.put(B, parked(B, 0, 0), parked(B, 1, 2))
        await asyncio.sleep(5)
        assert bench.handler.finished == [(1, 0), (1, 1)]
        assert bench.consumer.group == {A: 0, B: 2}


async def test_a_backlog_that_waits_stays_with_the_brokers() -> None:
    bench = Bench(source=Source.PARKED, max_poll_records=50)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, *(parked(A, offset, 3_600) for offset in range(5_000)))
        await bench.consumer.assign(A)
        await asyncio.sleep(600)
        assert len(bench.consumer.delivered) == 50
        assert len(bench.consumer.polls) < 700
        assert bench.count("in_flight") == 0


async def test_a_foreign_record_in_a_delay_topic_is_dead_lettered_without_the_handler() -> None:
    bench = Bench(source=Source.PARKED)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(2)
        assert not bench.handler.began
        assert bench.consumer.group[A] == 1
    ((topic, headers),) = bench.producer.stored
    assert topic == "t.dead"
    assert headers["worker-reason"] == b"bad_parked_record"
    assert headers["worker-origin"] == b"t:0:0"
    assert headers["worker-detail"] == b"header worker-origin-timestamp is missing"


async def test_a_handler_that_always_raises_ends_in_a_dead_letter() -> None:
    bench = Bench(source=Source.PARKED)
    bench.handler.outcomes = lambda _: 17
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, parked(A, 0, 0), parked(A, 1, 0, more={"worker-attempts": b"2"}))
        await bench.consumer.assign(A)
        await asyncio.sleep(0.1)
    stored = dict(bench.producer.stored)
    assert stored["t.retry.1m"]["worker-attempts"] == b"2"
    assert stored["t.retry.1m"]["worker-delivery"] == b"endpoint-1"
    assert stored["t.dead"]["worker-reason"] == b"handler_error"
    assert stored["t.dead"]["worker-attempts"] == b"3"
    assert stored["t.dead"]["worker-origin"] == b"t:0:7"


class Jumping:
    """The wall clock, which is set anew in between."""

    def __init__(self, bench: Bench) -> None:
        self.off = 0.0
        bench.controller._starter._now = bench.controller._fetching._now = self

    def __call__(self) -> float:
        return wall_clock() + self.off


async def test_a_wall_clock_that_was_behind_and_is_set_right_strands_no_parked_record() -> None:
    bench = Bench(source=Source.PARKED)
    clock = Jumping(bench)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.put(A, parked(A, 0, 600))
        await bench.consumer.assign(A)
        await asyncio.sleep(10)
        clock.off = 580.0
        await asyncio.sleep(60)
        assert bench.handler.finished == [(0, 0)]


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_wall_clock_that_jumps_by_an_hour_adds_no_more_than_a_delay_to_a_parked_record(
    hours: int,
) -> None:
    bench = Bench(source=Source.PARKED)
    clock = Jumping(bench)
    here = TopicPartition("t.retry.5s", 0)
    async with bench.running():
        bench.consumer.group[here] = 0
        bench.consumer.put(here, parked(here, 0, 5), parked(here, 1, 6, at=1))
        await bench.consumer.assign(here)
        await asyncio.sleep(2)
        assert not bench.handler.began
        clock.off = 3_600.0 * hours
        for offset in range(2, 20):
            now = asyncio.get_running_loop().time()
            bench.consumer.put(here, parked(here, offset, now + 5, at=now))
            await asyncio.sleep(1)
        await asyncio.sleep(15)
        # What comes while the head waits is fetched behind it, and waits from then on.
        came = {(0, 0): 0, (0, 1): 1} | {(0, offset): offset for offset in range(2, 20)}
        waited = {place: bench.handler.times[place] - came[place] for place in came}
        assert max(waited.values()) < 2 * 5 * DELAY_GRACE + 1
        assert bench.consumer.group[here] == 20
    assert bench.handler.finished == list(came)
