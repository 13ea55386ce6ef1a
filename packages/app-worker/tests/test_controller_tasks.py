"""A task goes on with the next record, and nothing shows that it is not a task of its own."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from contextvars import ContextVar

import pytest
from aiokafka import TopicPartition
from scripted.bench import A, B, Bench
from scripted.handler import ScriptedHandler

from app_worker.admission import Admission
from app_worker.handler import Done, Outcome, Park
from app_worker.record import Record

CUSTOMER: ContextVar[str] = ContextVar("customer", default="nobody")


class Marking(ScriptedHandler):
    """Leaves something behind in its context, as a logger's bound fields are."""

    def __init__(self, seconds: float | None = None) -> None:
        super().__init__()
        self.waits = seconds
        self.found: list[str] = []
        self.tasks: set[str] = set()

    async def handle(self, record: Record) -> Sequence[Outcome]:
        task = asyncio.current_task()
        assert task
        self.tasks.add(task.get_name())
        self.found.append(CUSTOMER.get())
        if record.partition == B.partition:
            CUSTOMER.set(f"customer {record.offset}")
        if self.waits is not None:
            await asyncio.sleep(self.waits)
        return [Done()]


@pytest.mark.looptime
@pytest.mark.parametrize(("partition", "in_tasks_of_their_own"), [(A, False), (B, True)])
async def test_what_a_handler_leaves_in_its_context_is_not_there_for_the_next_record(
    partition: TopicPartition, in_tasks_of_their_own: bool
) -> None:
    handler = Marking()
    bench = Bench(handler)
    CUSTOMER.set("set by the program")
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(partition, *range(50))
        await bench.consumer.assign(partition)
        await asyncio.sleep(1)
    assert handler.found == ["set by the program"] * 50
    assert (len(handler.tasks) == 50) is in_tasks_of_their_own


@pytest.mark.looptime
async def test_nor_is_it_for_the_next_record_that_waited_for_a_place() -> None:
    handler = Marking(seconds=0.001)
    bench = Bench(handler, limits=Admission(1, 10_000))
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(B, *range(50))
        await bench.consumer.assign(A, B)
        await asyncio.sleep(1)
    assert handler.found == ["nobody"] * 50


class Incomparable:
    """As an array of numbers is: to ask whether it is equal to another is an error."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


class Setting(ScriptedHandler):
    """Leaves a value behind that cannot be compared with that of the program."""

    async def handle(self, record: Record) -> Sequence[Outcome]:
        CUSTOMER.set(Incomparable())  # type: ignore[arg-type]
        return [Done()]


@pytest.mark.looptime
async def test_a_value_that_cannot_be_compared_may_be_left_in_a_context() -> None:
    bench = Bench(Setting())
    CUSTOMER.set(Incomparable())  # type: ignore[arg-type]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, *range(10))
        await bench.consumer.assign(A)
        await asyncio.sleep(3)
        assert bench.consumer.group == {A: 10}


class Cancelling(ScriptedHandler):
    """Cancels its own task and goes on all the same; then it hangs."""

    async def handle(self, record: Record) -> Sequence[Outcome]:
        if record.offset:
            await asyncio.sleep(1_000)
        task = asyncio.current_task()
        assert task
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1)
        return [Done()]


@pytest.mark.looptime
async def test_a_cancellation_that_one_handling_swallowed_does_not_count_for_the_next() -> None:
    bench = Bench(Cancelling(), limits=Admission(1, 10_000))
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1)
        await bench.consumer.assign(A)
        await asyncio.sleep(25)
        assert bench.consumer.group == {A: 2}
    assert [topic for topic, _ in bench.producer.stored] == ["t.retry.5s"]
    assert bench.count("handler_errors_total", error="timeout") == 1


class CancellingItself(ScriptedHandler):
    """Cancels its own task; then it waits for that, or not."""

    def __init__(self, outcome: Outcome, *, waits: bool) -> None:
        super().__init__()
        self.outcome = outcome
        self.waits = waits

    async def handle(self, record: Record) -> Sequence[Outcome]:
        if record.offset:
            return [Done()]
        task = asyncio.current_task()
        assert task
        task.cancel()
        if self.waits:
            await asyncio.sleep(1)
        return [self.outcome]


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (CancellingItself(Done(), waits=True), b"handler_error"),
        (CancellingItself(Done(), waits=False), None),
        (CancellingItself(Park("e", 1, "5s", "busy"), waits=False), b"busy"),
    ],
)
async def test_a_handler_that_cancels_its_own_task_leaves_no_hole(
    handler: CancellingItself, reason: bytes | None
) -> None:
    bench = Bench(handler)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, *range(10))
        await bench.consumer.assign(A)
        await asyncio.sleep(10)
        assert bench.consumer.group == {A: 10}
    reasons = [headers["worker-reason"] for _, headers in bench.producer.stored]
    assert reasons == ([reason] if reason else [])


@pytest.mark.looptime
async def test_a_revoke_is_not_held_up_by_what_others_have_to_do() -> None:
    bench = Bench(limits=Admission(1_000, 1_000_000))
    bench.handler.hold(0, *range(20))
    bench.handler.seconds = lambda record: 0.5 * record.partition
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(A, *range(20))
        await bench.consumer.assign(A, B)
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        revoke = asyncio.create_task(bench.consumer.revoke(A))
        bench.consumer.append(B, *range(2_000))
        while (1, 0) not in bench.handler.began:  # noqa: ASYNC110 - in this very turn of the loop
            await asyncio.sleep(0)
        bench.handler.let_go(0, *range(20))
        await revoke
        assert asyncio.get_running_loop().time() - began <= 0.1
        assert bench.consumer.group[A] == 20
        await asyncio.sleep(5)
        assert len(bench.handler.finished) >= 500


@pytest.mark.parametrize("seconds", [0.0, 0.003])
async def test_records_that_are_complete_at_once_leave_the_loop_time_for_others(
    seconds: float,
) -> None:
    loop = asyncio.get_running_loop()
    clock = loop.time()

    def time() -> float:
        """As if each look at the clock took a tenth of a millisecond."""
        nonlocal clock
        clock += 0.0001
        return clock

    loop.time = time  # type: ignore[method-assign]

    class Computing(Marking):
        async def handle(self, record: Record) -> Sequence[Outcome]:
            nonlocal clock
            clock += seconds
            return await super().handle(record)

    handler = Computing()
    bench = Bench(handler, limits=Admission(100, 1_000_000))
    most = seen = 0
    all_done = asyncio.Event()

    def turn() -> None:
        nonlocal most, seen
        done = len(handler.found)
        most, seen = max(most, done - seen), done
        if done < 500:
            loop.call_soon(turn)
        else:
            all_done.set()

    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(A, *range(500))
        await bench.consumer.assign(A, B)
        loop.call_soon(turn)
        await all_done.wait()
    assert most <= 20
