"""What the controller does when a revoke is taken back while its partitions drain."""

import asyncio

import pytest
from aiokafka.errors import CommitFailedError
from scripted.bench import A, B, Bench

from app_worker.admission import Admission
from app_worker.budget import drain_margin

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_what_still_drains_goes_on_where_it_stopped() -> None:
    bench = Bench(limits=Admission(2, 10_000))
    bench.handler.seconds = lambda record: 8.0 if record.offset == 0 else 0.5
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, *range(20))
        await bench.consumer.assign(A)
        await asyncio.sleep(1.2)
        revoke = asyncio.create_task(bench.consumer.revoke())
        await asyncio.sleep(2)
        begun = len(bench.handler.began)
        await asyncio.sleep(1)
        assert len(bench.handler.began) == begun, "it is stopped"

        assert bench.consumer.take_back(A) == {A}
        await asyncio.sleep(0.01)
        assert len(bench.handler.began) > begun, "and goes on at once"
        assert revoke.done(), "nothing is left to give up"
        bench.consumer.append(A, *range(20, 25))
        await asyncio.sleep(20)

        assert bench.handler.began == [(0, offset) for offset in range(25)]
        assert bench.consumer.group[A] == 25
        assert bench.count("owned_partitions", group="group") == 1


async def test_what_the_consumer_had_passed_on_meanwhile_is_read_again() -> None:
    bench = Bench()
    bench.handler.hold(0, 0)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        revoke = asyncio.create_task(bench.consumer.revoke())
        await asyncio.sleep(1)
        bench.consumer.append(A, 1, 2)
        bench.consumer.positions[A] = 3
        bench.consumer.take_back(A)
        bench.handler.let_go(0, 0)
        await asyncio.sleep(3)
        assert revoke.done()
        assert bench.handler.finished == [(0, 0), (0, 1), (0, 2)]
        assert bench.consumer.group[A] == 3


async def test_the_others_of_a_revoke_are_released_when_they_have_drained() -> None:
    bench = Bench()
    bench.handler.hold(0, 0)
    bench.handler.seconds = lambda record: 5.0 if record.partition else 0.0
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(A, 0)
        bench.consumer.append(B, 0)
        await bench.consumer.assign(A, B)
        await asyncio.sleep(1)
        revoke = asyncio.create_task(bench.consumer.revoke())
        await asyncio.sleep(1)
        assert bench.consumer.take_back(A) == {A}
        await revoke
        assert now() == pytest.approx(5.0, abs=0.1)
        assert bench.consumer.group[B] == 1
        assert bench.consumer.assignment() == {A}
        bench.handler.let_go(0, 0)
        await asyncio.sleep(3)
        assert bench.consumer.group[A] == 1


async def test_what_has_drained_goes_on_too_while_it_is_being_committed() -> None:
    bench = Bench()
    commits = asyncio.Event()

    async def slowly() -> None:
        await commits.wait()

    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(0.1)
        bench.consumer.refuse_commit = slowly
        revoke = asyncio.create_task(bench.consumer.revoke())
        await asyncio.sleep(0.5)
        assert bench.consumer.take_back(A) == {A}
        bench.consumer.append(A, 1)
        await asyncio.sleep(0.5)
        assert (0, 1) in bench.handler.finished
        commits.set()
        await revoke
        await asyncio.sleep(3)
        assert bench.consumer.assignment() == {A}
        assert bench.consumer.group[A] == 2


async def test_what_was_cancelled_since_its_time_was_over_does_not_go_on() -> None:
    bench = Bench(handler_timeout_seconds=90.0)
    bench.handler.hold(0, 0)
    commits = asyncio.Event()

    async def refuse_slowly() -> None:
        await commits.wait()
        raise CommitFailedError

    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1)
        await bench.consumer.assign(A)
        await asyncio.sleep(0.1)
        bench.consumer.refuse_commit = refuse_slowly
        revoke = asyncio.create_task(bench.consumer.revoke())
        await asyncio.sleep(25 - drain_margin(25.0) + 0.01)
        assert bench.handler.running == 0
        assert not revoke.done()
        assert bench.consumer.take_back(A) == set()
        commits.set()
        await revoke
        assert bench.consumer.assignment() == set()
        bench.consumer.refuse_commit = None


async def test_a_worker_that_ends_keeps_nothing() -> None:
    bench = Bench()
    bench.handler.hold(0, 0)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        bench.controller.stop()
        await asyncio.sleep(1)
        assert bench.consumer.take_back(A) == set()
        bench.handler.let_go(0, 0)
    assert bench.consumer.group[A] == 1


async def test_what_has_no_place_to_read_from_yet_is_given_up() -> None:
    bench = Bench()
    bench.handler.hold(1, 0)
    async with bench.running():
        bench.consumer.group[B] = 0
        bench.consumer.append(B, 0)
        bench.consumer.leaderless.add(A)
        await bench.consumer.assign(A, B)
        await asyncio.sleep(1)
        revoke = asyncio.create_task(bench.consumer.revoke())
        await asyncio.sleep(1)
        assert bench.consumer.take_back(A, B) == {B}
        await revoke
        assert bench.consumer.assignment() == {B}
        bench.handler.let_go(1, 0)
