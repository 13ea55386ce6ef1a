"""How much is in flight, and who is next."""

import asyncio

import pytest
from scripted.bench import A, B, Bench, soon

from app_worker.admission import Admission

pytestmark = pytest.mark.looptime


async def test_a_slow_partition_does_not_stop_the_others() -> None:
    bench = Bench(limits=Admission(10, 10_000))
    bench.handler.seconds = lambda record: 15.0 if record.partition == 0 else 0.01
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        await bench.consumer.assign(A, B)
        bench.consumer.append(A, *range(1_000))
        await asyncio.sleep(5)
        for offset in range(200):
            bench.consumer.append(B, offset)
            await asyncio.sleep(0.01)
        await soon()
        late = [
            bench.handler.times[1, offset] - (5 + offset * 0.01)
            for offset in range(200)
            if bench.handler.times.get((1, offset), 99.0) - (5 + offset * 0.01) > 0.02
        ]
        assert not late


async def test_one_partition_alone_may_use_every_place() -> None:
    bench = Bench(limits=Admission(10, 10_000))
    bench.handler.seconds = lambda _: 1.0
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, *range(100))
        await bench.consumer.assign(A)
        await asyncio.sleep(0.5)
        assert bench.handler.running == 10


async def test_full_lanes_still_poll_and_are_woken_when_there_is_room() -> None:
    bench = Bench(limits=Admission(2, 10_000))
    bench.handler.seconds = lambda _: 5.0
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, *range(500))
        await bench.consumer.assign(A)
        await asyncio.sleep(4.9)
        polls = len(bench.consumer.polls)
        assert polls >= 5
        assert all(A not in poll for poll in bench.consumer.polls[3:])
        assert len(bench.handler.began) == 2
        await asyncio.sleep(0.2)
        assert len(bench.handler.began) == 4


async def test_full_lanes_are_not_polled_beside_at_each_completion() -> None:
    bench = Bench(limits=Admission(2, 10_000))
    bench.handler.seconds = lambda _: 0.05
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, *range(500))
        await bench.consumer.assign(A)
        await asyncio.sleep(4.9)
        assert len(bench.handler.finished) > 150
        assert len(bench.consumer.polls) <= 10


async def test_memory_is_bounded_with_an_endless_backlog() -> None:
    bench = Bench(limits=Admission(4, 10_000), max_poll_records=10)
    bench.handler.seconds = lambda _: 1.0
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        for partition in (A, B):
            bench.consumer.append(partition, *range(1_000), value=b"x" * 999)
        await bench.consumer.assign(A, B)
        for second in range(1, 60):
            await asyncio.sleep(1)
            assert len(bench.consumer.delivered) - len(bench.handler.finished) <= 40
            assert bench.handler.most_running == 4
            assert len(bench.handler.finished) >= 4 * (second - 1)


async def test_throughput_is_not_limited_by_polling() -> None:
    bench = Bench(limits=Admission(100, 10_000_000))
    bench.handler.seconds = lambda _: 0.001
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        await bench.consumer.assign(A, B)
        bench.consumer.append(A, *range(20_000))
        await asyncio.sleep(2)
        assert len(bench.handler.finished) == 20_000


async def test_an_idle_worker_begins_a_record_at_once_and_polls_rarely() -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        await bench.consumer.assign(A, B)
        await asyncio.sleep(100.123)
        assert len(bench.consumer.polls) < 220
        bench.consumer.append(B, 0)
        await soon()
        assert bench.handler.finished == [(1, 0)]


async def test_an_assignment_is_read_at_once() -> None:
    bench = Bench()
    async with bench.running():
        await bench.consumer.assign()
        await asyncio.sleep(10.123)
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.rebalance(A)
        await soon()
        assert bench.handler.finished == [(0, 0)]
