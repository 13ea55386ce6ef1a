"""How the controller ends."""

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
)
from scripted.bench import A, B, Bench, parked, soon

from app_worker.admission import Admission, Source
from app_worker.controller import (
    LEAVE_SECONDS,
    RELIEF_SHARE,
    Subscription,
)
from app_worker.handler import Outcome
from app_worker.record import Record
from kafka_utils import FencedError, GroupError

pytestmark = pytest.mark.looptime


async def test_the_end_of_the_background_fetching_ends_the_controller() -> None:
    bench = Bench()
    run = asyncio.create_task(bench.controller.run(Subscription(topics=("t",))))
    await soon()
    await bench.consumer.assign(A)
    bench.consumer.fetching.set_exception(KafkaError("data retrieval"))
    with pytest.raises(KafkaError, match="data retrieval"):
        await run
    assert bench.consumer.closed


async def test_when_every_poll_fails_for_a_minute_the_controller_gives_up() -> None:
    bench = Bench()
    run = asyncio.create_task(bench.controller.run(Subscription(topics=("t",))))
    await soon()
    bench.consumer.group[A] = 0
    await bench.consumer.assign(A)
    bench.consumer.errors = [GroupAuthorizationFailedError("group")] * 5
    await asyncio.sleep(50)
    assert not bench.consumer.errors
    bench.consumer.errors = [GroupAuthorizationFailedError("group")] * 50
    await asyncio.sleep(50)
    assert not run.done()
    with pytest.raises(GroupAuthorizationFailedError):
        await run
    assert 110 < asyncio.get_running_loop().time() < 120


async def test_the_last_commit_may_take_what_is_left_of_the_drain() -> None:
    bench = Bench(drain_timeout_seconds=25.0)
    bench.handler.seconds = lambda _: 5.0

    async def slowly() -> None:
        await asyncio.sleep(4.0)

    bench.consumer.refuse_commit = slowly
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
    assert bench.consumer.group[A] == 1


async def test_a_commit_that_is_never_answered_does_not_outlast_the_drain() -> None:
    bench = Bench(drain_timeout_seconds=25.0)
    bench.consumer.refuse_commit = asyncio.Event().wait  # type: ignore[assignment]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await soon()
        await bench.consumer.revoke()
        assert 20 < asyncio.get_running_loop().time() < 25


async def test_a_group_that_cannot_be_left_does_not_outlast_its_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.consumer.hold_stop = asyncio.Event()
    async with bench.running():
        await asyncio.sleep(1)
    assert asyncio.get_running_loop().time() == pytest.approx(1 + LEAVE_SECONDS, abs=0.1)
    assert [record.message for record in caplog.records] == ["the group was not left in order"]


@pytest.mark.parametrize("place", ["stop_error", "relief_error"])
async def test_an_end_without_brokers_is_an_end_in_order(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    setattr(bench.consumer, place, KafkaConnectionError("gone"))
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await soon()
    assert bench.consumer.closed
    assert bench.consumer.group[A] == 1
    assert [record.message for record in caplog.records] == ["the group was not left in order"]


async def test_at_the_end_it_goes_on_working_until_it_is_relieved() -> None:
    bench = Bench()
    bench.consumer.relief_seconds = 5.5
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        await bench.consumer.assign(A, B)
        bench.controller.stop()
        for offset in range(10):
            bench.consumer.append(A, offset)
            bench.consumer.append(B, offset)
            await asyncio.sleep(1)
    assert sorted(bench.handler.finished) == [(p, offset) for p in (0, 1) for offset in range(6)]
    assert bench.consumer.group == {A: 6, B: 6}
    order = [what for what, _ in bench.consumer.happened]
    assert order == ["asked", "relieved", "left", "stopped"]
    assert bench.consumer.when("stopped") == pytest.approx(5.5, abs=0.1)


async def test_what_is_in_work_when_it_is_relieved_is_finished_before_the_group_is_left() -> None:
    bench = Bench()
    bench.consumer.relief_seconds = 2.0
    bench.handler.seconds = lambda _: 8.0
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await soon()
        bench.controller.stop()
        await asyncio.sleep(1)
        bench.consumer.append(A, 1)
    assert bench.handler.finished == [(0, 0), (0, 1)]
    assert bench.consumer.group[A] == 2
    assert bench.consumer.when("left") == pytest.approx(9, abs=0.1)


async def test_a_relief_that_does_not_come_is_not_waited_for_beyond_its_share() -> None:
    bench = Bench(drain_timeout_seconds=20.0)
    bench.consumer.relief_seconds = None
    async with bench.running():
        bench.consumer.group[A] = 0
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        bench.controller.stop()
        await asyncio.sleep(0.9 * 20 * RELIEF_SHARE)
        bench.consumer.append(A, 0)
        await asyncio.sleep(0.2 * 20 * RELIEF_SHARE)
        bench.consumer.append(A, 1)
    assert bench.consumer.when("stopped") == pytest.approx(1 + 20 * RELIEF_SHARE, abs=0.1)
    assert bench.handler.finished == [(0, 0)]
    assert bench.consumer.group[A] == 1


async def test_a_revoke_of_some_lanes_is_no_relief_from_the_others() -> None:
    bench = Bench()
    bench.consumer.relief_seconds = 6.0
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        await bench.consumer.assign(A, B)
        bench.controller.stop()
        await asyncio.sleep(1)
        await bench.consumer.revoke(A)
        bench.consumer.append(B, 0)
        await asyncio.sleep(3)
        assert bench.handler.finished == [(1, 0)]
    assert bench.consumer.when("stopped") == pytest.approx(6, abs=0.1)


async def test_with_nothing_left_there_is_nothing_to_be_relieved_of() -> None:
    bench = Bench()
    bench.consumer.relief_seconds = None
    async with bench.running():
        await bench.consumer.assign(A)
        await bench.consumer.revoke(A)
    assert bench.consumer.when("left") < 0.1
    assert asyncio.get_running_loop().time() < 0.2


@pytest.mark.parametrize("group", ["answers", "takes no commit", "is gone"])
@pytest.mark.parametrize("handlers", ["quick", "hanging", "stubborn"])
@pytest.mark.parametrize("relief", [0.001, 9.9, 12.0, 24.0, None])
async def test_the_end_stays_within_the_drain_whatever_happens(
    relief: float | None, handlers: str, group: str
) -> None:
    bench = Bench(handler_timeout_seconds=1_000.0, drain_timeout_seconds=25.0)
    bench.consumer.relief_seconds = relief
    release = asyncio.Event()

    async def stubborn(record: Record) -> Sequence[Outcome]:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return []

    if handlers == "hanging":
        bench.handler.hold(0, 0)
    if handlers == "stubborn":
        bench.handler.handle = stubborn  # type: ignore[method-assign]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        if group != "answers":
            bench.consumer.refuse_commit = asyncio.Event().wait  # type: ignore[assignment]
        if group == "is gone":
            bench.consumer.hold_stop = asyncio.Event()
        await soon()
    took = asyncio.get_running_loop().time()
    assert bench.consumer.when("stopped") <= 25.0
    assert took <= 25.0 + LEAVE_SECONDS
    complete = handlers == "quick" and group == "answers"
    assert bench.consumer.group[A] == (1 if complete else 0)
    release.set()
    await asyncio.sleep(100)
    assert bench.consumer.group[A] == (1 if complete else 0)


async def test_a_failure_while_it_waits_to_be_relieved_ends_the_wait_and_is_raised() -> None:
    bench = Bench()
    bench.consumer.relief_seconds = None
    run = asyncio.create_task(bench.controller.run(Subscription(topics=("t",))))
    await soon()
    await bench.consumer.assign(A)
    bench.controller.stop()
    await asyncio.sleep(1)
    bench.consumer.fetching.set_exception(KafkaError("data retrieval"))
    with pytest.raises(KafkaError, match="data retrieval"):
        await run
    assert asyncio.get_running_loop().time() < 1.1
    assert bench.consumer.closed


async def test_out_of_the_group_for_good_it_ends_at_once_with_the_reason() -> None:
    bench = Bench()
    bench.handler.hold(0, 0)
    run = asyncio.create_task(bench.controller.run(Subscription(topics=("t",))))
    await soon()
    bench.consumer.group[A] = 0
    bench.consumer.append(A, 0)
    await bench.consumer.assign(A)
    await soon()
    bench.consumer.errors.append(FencedError("another member has our name"))
    bench.consumer.wake()
    await bench.consumer.lose(A)
    with pytest.raises(FencedError, match="another member has our name"):
        await run
    assert asyncio.get_running_loop().time() < 1
    assert bench.consumer.closed
    assert not bench.consumer.commits


async def test_out_of_the_group_for_good_nothing_is_committed_again_and_again() -> None:
    bench = Bench()
    attempts = 0

    async def refuse() -> None:
        nonlocal attempts
        attempts += 1
        raise GroupError("not one of us")

    run = asyncio.create_task(bench.controller.run(Subscription(topics=("t",))))
    await soon()
    bench.consumer.group[A] = 0
    bench.consumer.append(A, 0)
    await bench.consumer.assign(A)
    await soon()
    bench.consumer.refuse_commit = refuse
    bench.consumer.errors.append(GroupError("not one of us"))
    bench.consumer.append(A, 1)
    with pytest.raises(GroupError):
        await run
    assert attempts <= 2
    assert asyncio.get_running_loop().time() < 1


async def test_a_stop_drains_commits_and_delivers_nothing_twice() -> None:
    bench = Bench(limits=Admission(50, 100_000))
    bench.handler.seconds = lambda _: 10.0
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, *range(500))
        await bench.consumer.assign(A)
        await asyncio.sleep(5)
        assert bench.handler.running == 50
    assert len(bench.handler.began) == len(bench.handler.finished) == 50
    assert bench.consumer.group[A] == 50
    assert bench.consumer.closed
    assert asyncio.get_running_loop().time() < 11


async def test_a_stop_keeps_its_budget_whatever_the_handlers_do() -> None:
    bench = Bench(handler_timeout_seconds=1_000.0)
    release = asyncio.Event()

    async def stubborn(record: Record) -> Sequence[Outcome]:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return []

    bench.handler.handle = stubborn  # type: ignore[method-assign]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(5)
    assert asyncio.get_running_loop().time() < 5 + 25
    assert bench.consumer.group[A] == 0
    release.set()
    await asyncio.sleep(1)


async def test_a_stop_before_the_first_assignment_is_immediate() -> None:
    bench = Bench()
    async with bench.running():
        await asyncio.sleep(1)
    assert asyncio.get_running_loop().time() < 1.1
    assert bench.consumer.closed


async def test_a_stop_during_a_rebalance_is_not_held_up_by_the_fetch() -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.group[A] = 0
        await bench.consumer.assign(A)
        await bench.consumer.revoke()
        await asyncio.sleep(30)
    assert asyncio.get_running_loop().time() < 30.1


async def test_an_assignment_after_the_stop_starts_nothing() -> None:
    bench = Bench()
    bench.consumer.relief_seconds = 5.0
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(A, 0)
        bench.consumer.append(B, 0)
        await bench.consumer.assign(A)
        await soon()
        bench.controller.stop()
        await asyncio.sleep(1)
        await bench.consumer.assign(B)
        await asyncio.sleep(1)
    assert bench.handler.began == [(0, 0)]
    assert bench.consumer.group == {A: 1, B: 0}


async def test_an_error_for_good_is_raised_after_a_drain() -> None:
    bench = Bench()
    bench.handler.seconds = lambda _: 5.0
    run = asyncio.create_task(bench.controller.run(Subscription(topics=("t",))))
    await soon()
    bench.consumer.group[A] = 0
    bench.consumer.append(A, 0)
    await bench.consumer.assign(A)
    await asyncio.sleep(1)
    bench.consumer.errors.append(GroupError("coordination ended"))
    bench.consumer.append(A, 1)
    with pytest.raises(GroupError, match="ended"):
        await run
    assert bench.handler.finished == [(0, 0)]
    assert bench.consumer.group[A] == 1


async def test_two_controllers_share_the_limits_of_their_process() -> None:
    limits = Admission(20, 100_000)
    main, retry = Bench(limits=limits), Bench(limits=limits, source=Source.PARKED)
    for bench in (main, retry):
        bench.handler.seconds = lambda _: 1.0
        bench.consumer.group[A] = 0
    main.consumer.append(A, *range(1_000))
    retry.consumer.put(A, *(parked(A, offset, 0) for offset in range(1_000)))
    async with main.running(), retry.running():
        await main.consumer.assign(A)
        await asyncio.sleep(0.5)
        await retry.consumer.assign(A)
        for _ in range(100):
            await asyncio.sleep(0.1)
            assert main.handler.running + retry.handler.running <= 20
        assert (main.handler.running, retry.handler.running) == (15, 5)
    assert main.count("in_flight") == retry.count("in_flight") == 0


async def test_lag_is_shown_for_owned_partitions_only() -> None:
    bench = Bench()
    bench.handler.hold(0, 3)
    labels = {"group": "group", "topic": "t", "partition": "0"}
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, *range(10))
        await bench.consumer.assign(A)
        await asyncio.sleep(6)
        assert bench.registry.get_sample_value("worker_lag_records", labels) == 7
        bench.handler.let_go(0, 3)
        await bench.consumer.revoke()
        assert bench.registry.get_sample_value("worker_lag_records", labels) is None
