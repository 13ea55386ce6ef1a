"""What the controller does when partitions come and go."""

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka.errors import (
    CommitFailedError,
)
from scripted.bench import A, B, Bench, soon
from scripted.handler import ScriptedHandler

from app_worker.admission import Admission
from app_worker.handler import Done, Outcome
from app_worker.record import Record

pytestmark = pytest.mark.looptime


async def test_a_revoke_ends_when_its_work_has_ended_and_is_committed() -> None:
    bench = Bench()
    bench.handler.seconds = lambda record: 8.0 if record.offset == 0 else 0.0
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1)
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        await bench.consumer.revoke()
        assert 6.5 < asyncio.get_running_loop().time() - began < 7.5
        assert bench.consumer.group[A] == 2
        assert bench.count("owned_partitions", group="group") == 0
        assert bench.count("rebalances_total", group="group", event="revoked") == 1


async def test_what_was_fetched_and_not_started_is_dropped_on_a_revoke() -> None:
    bench = Bench(limits=Admission(1, 10_000))
    bench.handler.seconds = lambda _: 1.0
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, *range(10))
        await bench.consumer.assign(A)
        await asyncio.sleep(2.5)
        await bench.consumer.revoke()
        assert bench.handler.began == [(0, 0), (0, 1), (0, 2)]
        assert bench.consumer.group[A] == 3


async def test_work_that_overruns_the_drain_is_cancelled_and_not_committed() -> None:
    bench = Bench(handler_timeout_seconds=90.0)
    bench.handler.hold(0, 1)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1, 2)
        await bench.consumer.assign(A)
        await asyncio.sleep(2)
        began = asyncio.get_running_loop().time()
        await bench.consumer.revoke()
        assert asyncio.get_running_loop().time() - began <= 25
        assert bench.handler.running == 0
        assert bench.consumer.group[A] == 1
        assert bench.count("in_flight") == 0


async def test_a_late_completion_of_an_older_assignment_never_enters_a_commit() -> None:
    bench = Bench(handler_timeout_seconds=500.0, drain_timeout_seconds=5.0)

    async def stubborn(record: Record) -> Sequence[Outcome]:
        bench.handler.began.append((record.partition, record.offset))
        while asyncio.get_running_loop().time() < 100:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                continue
        return [Done()]

    bench.handler.handle = stubborn  # type: ignore[method-assign]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1)
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        await bench.consumer.revoke()
        bench.consumer.group[A] = 0
        bench.consumer.commits.clear()
        bench.handler.hold(0, 0, 1)
        bench.handler.handle = ScriptedHandler.handle.__get__(bench.handler)  # type: ignore[method-assign]
        await bench.consumer.assign(A)
        await asyncio.sleep(150)
        assert bench.handler.began == [(0, 0), (0, 1)] * 2
        assert bench.consumer.group[A] == 0
        bench.handler.let_go(0, 0, 1)
        await asyncio.sleep(3)
        assert bench.consumer.group[A] == 2


async def test_a_commit_under_way_is_abandoned_when_its_lane_is_dropped() -> None:
    bench = Bench(drain_timeout_seconds=1.0)
    hang = asyncio.Event()
    bench.consumer.refuse_commit = hang.wait  # type: ignore[assignment]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(1.5)
        await bench.consumer.revoke()
        hang.set()
        await asyncio.sleep(3)
        assert not bench.consumer.commits
        assert bench.count("commits_total", group="group", result="abandoned") == 1


async def test_a_refused_commit_in_a_revoke_does_not_hold_it_up() -> None:
    bench = Bench()

    async def refuse() -> None:
        raise CommitFailedError

    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await soon()
        bench.consumer.refuse_commit = refuse
        began = asyncio.get_running_loop().time()
        await bench.consumer.revoke()
        assert asyncio.get_running_loop().time() - began < 0.1
        assert bench.count("commits_total", group="group", result="not_owner") == 1
        bench.consumer.refuse_commit = None
        await bench.consumer.assign(B)
        bench.consumer.group[B] = 0
        await asyncio.sleep(3)
    assert all(A not in commit for commit in bench.consumer.commits)


async def test_records_go_on_after_a_rebalance_where_the_commit_says() -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(A, 0, 1, 2)
        await bench.consumer.assign(A)
        await asyncio.sleep(0.1)
        await bench.consumer.rebalance(A, B)
        bench.consumer.append(A, 3)
        bench.consumer.append(B, 0)
        await asyncio.sleep(0.1)
        assert sorted(bench.handler.finished) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    assert bench.consumer.group == {A: 4, B: 1}


async def test_joined_is_set_at_the_first_assignment_and_stays() -> None:
    bench = Bench()
    async with bench.running():
        assert not bench.controller.joined.is_set()
        await bench.consumer.assign()
        await bench.consumer.revoke()
        assert bench.controller.joined.is_set()
        await bench.consumer.assign()


async def test_a_revoke_of_some_leaves_the_others_working_and_their_lanes_as_they_are() -> None:
    bench = Bench()
    bench.handler.hold(0, 0)
    bench.handler.hold(1, 1)
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(A, 0)
        bench.consumer.append(B, 0, 1)
        await bench.consumer.assign(A, B)
        await soon()
        lane = bench.controller._lanes.get(B)
        assert lane is not None
        before = (lane.epoch, lane.tracker, lane.tracker.span)
        revoking = asyncio.create_task(bench.consumer.revoke(A))
        await soon()
        bench.consumer.append(A, 1)
        for offset in range(2, 12):
            bench.consumer.append(B, offset)
            await soon()
            assert bench.handler.finished[-1] == (1, offset)
        assert not revoking.done()
        bench.handler.let_go(0, 0)
        await revoking
        assert bench.consumer.group[A] == 1
        assert bench.consumer.assignment() == {B}
        assert bench.controller._lanes.get(B) is lane
        assert not lane.stopped
        assert (lane.epoch, lane.tracker) == before[:2]
        # What was in work on it all the time counts as ever.
        assert bench.consumer.group[B] == 1
        bench.handler.let_go(1, 1)
        await asyncio.sleep(2)
        assert bench.consumer.group == {A: 1, B: 12}
        assert (0, 1) not in bench.handler.began
        assert bench.count("owned_partitions", group="group") == 1


async def test_what_is_added_works_beside_what_was_there() -> None:
    bench = Bench()
    bench.handler.hold(0, 0)
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(A, 0, 1)
        bench.consumer.append(B, 0)
        await bench.consumer.assign(A)
        await soon()
        lane = bench.controller._lanes.get(A)
        await bench.consumer.assign(B)
        await bench.consumer.assign()
        await soon()
        assert bench.controller._lanes.get(A) is lane
        assert bench.handler.finished == [(0, 1), (1, 0)]
        assert bench.count("owned_partitions", group="group") == 2
        bench.handler.let_go(0, 0)
    assert bench.consumer.group == {A: 2, B: 1}
    assert bench.handler.began == [(0, 0), (0, 1), (1, 0)]


async def test_work_on_lost_partitions_is_cancelled_and_nothing_of_them_is_committed() -> None:
    bench = Bench()
    bench.handler.hold(0, 1)
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(A, 0, 1, 2)
        bench.consumer.append(B, 0)
        await bench.consumer.assign(A, B)
        await soon()
        assert bench.handler.running == 1
        began = asyncio.get_running_loop().time()
        await bench.consumer.lose(A)
        await soon()
        assert asyncio.get_running_loop().time() - began < 0.01
        assert bench.handler.running == 0
        assert bench.count("in_flight") == 0
        assert bench.count("owned_partitions", group="group") == 1
        assert bench.count("rebalances_total", group="group", event="lost") == 1
        await asyncio.sleep(3)
        assert bench.consumer.commits == [{B: 1}]
        assert bench.count("handler_errors_total", error="CancelledError") == 0
    assert bench.consumer.group == {A: 0, B: 1}
    assert not bench.producer.stored


async def test_a_loss_during_a_drain_cancels_the_work_that_was_being_drained() -> None:
    bench = Bench()
    bench.handler.hold(0, 0)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await soon()
        revoking = asyncio.create_task(bench.consumer.revoke(A))
        await soon()
        assert bench.handler.running == 1
        revoking.cancel()
        await asyncio.wait({revoking})
        await bench.consumer.lose(A)
        await soon()
        assert bench.handler.running == 0
        assert bench.count("in_flight") == 0
    assert bench.consumer.group == {A: 0}


async def test_what_completes_after_a_loss_never_enters_a_commit() -> None:
    bench = Bench(handler_timeout_seconds=500.0)

    async def stubborn(record: Record) -> Sequence[Outcome]:
        while asyncio.get_running_loop().time() < 10:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                continue
        return [Done()]

    bench.handler.handle = stubborn  # type: ignore[method-assign]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        await bench.consumer.lose(A)
        bench.handler.hold(0, 0)
        bench.handler.handle = ScriptedHandler.handle.__get__(bench.handler)  # type: ignore[method-assign]
        await bench.consumer.assign(A)
        await asyncio.sleep(30)
        assert bench.count("outcomes_total", outcome="done") == 1
        assert bench.consumer.group[A] == 0
        bench.handler.let_go(0, 0)
    assert bench.consumer.group[A] == 1


async def test_a_commit_under_way_is_abandoned_when_its_partitions_are_lost() -> None:
    bench = Bench()
    hang = asyncio.Event()
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        bench.consumer.refuse_commit = hang.wait  # type: ignore[assignment]
        await asyncio.sleep(1.5)
        await bench.consumer.lose(A)
        hang.set()
        await asyncio.sleep(3)
        assert bench.count("commits_total", group="group", result="abandoned") == 1
    assert not bench.consumer.commits
