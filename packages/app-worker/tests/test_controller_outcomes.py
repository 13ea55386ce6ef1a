"""What becomes of a record, whatever its handler does."""

import asyncio
import contextlib
import logging
from typing import Any

import pytest
from aiokafka.errors import (
    NotEnoughReplicasError,
)
from scripted.bench import A, Bench

from app_worker.admission import Admission
from app_worker.handler import DeadLetter, Done, Park
from app_worker.record import Record
from app_worker.time_limit import DEAF_SECONDS

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize(
    ("returned", "error"),
    [
        (None, "HandlerFault"),
        (17, "HandlerFault"),
        (["done"], "HandlerFault"),
        ("done", "HandlerFault"),
        ([Done(), Park(None, 1, "7s", "status")], "HandlerFault"),
        ([Park("\ud800", 1, "5s", "status")], "HandlerFault"),
        ([Park(17, 1, "5s", "status")], "HandlerFault"),  # type: ignore[arg-type]
        ([DeadLetter(None, 1, "\udfff")], "HandlerFault"),
        ([DeadLetter(None, 1, "gone", b"detail")], "HandlerFault"),  # type: ignore[arg-type]
        ([DeadLetter(None, -1, "gone")], "HandlerFault"),
        ([DeadLetter(None, "1", "gone")], "HandlerFault"),  # type: ignore[arg-type]
    ],
)
async def test_a_handler_that_returns_nonsense_has_its_record_parked(
    returned: Any, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    bench.handler.outcomes = lambda _: returned
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(3)
        assert bench.consumer.group[A] == 1
    ((topic, headers),) = bench.producer.stored
    assert topic == "t.retry.5s"
    assert headers["worker-reason"] == b"handler_error"
    assert headers["worker-attempts"] == b"1"
    assert "worker-delivery" not in headers
    assert bench.count("handler_errors_total", error=error) == 1


async def test_a_handler_that_raises_is_logged_with_places_and_no_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()

    def fail(record: Record) -> None:
        raise KeyError(f"secret {record.value!r}")

    bench.handler.outcomes = fail
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, value=b"payload")
        await bench.consumer.assign(A)
        await asyncio.sleep(0.1)
    (logged,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert logged.__dict__["error"] == "KeyError"
    assert "test_controller_outcomes.py:" in logged.__dict__["frames"]
    assert "secret" not in str(logged.__dict__)
    assert "payload" not in str(logged.__dict__)
    ((_, headers),) = bench.producer.stored
    assert (headers["worker-detail"] or b"").startswith(b"KeyError ")
    assert b"secret" not in (headers["worker-detail"] or b"")
    assert bench.count("handler_errors_total", error="KeyError") == 1


@pytest.mark.parametrize("error", [SystemExit(3), ExceptionGroup("both", [KeyError("secret")])])
async def test_a_handler_that_would_end_the_process_costs_its_record_alone(
    error: BaseException,
) -> None:
    bench = Bench()

    def fail(record: Record) -> list[Done]:
        if record.offset:
            return [Done()]
        raise error

    bench.handler.outcomes = fail
    async with bench.running() as run:
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1)
        await bench.consumer.assign(A)
        await asyncio.sleep(3)
        assert not run.done()
        assert bench.consumer.group[A] == 2
    ((topic, headers),) = bench.producer.stored
    assert topic == "t.retry.5s"
    assert b"secret" not in (headers["worker-detail"] or b"")
    assert bench.count("handler_errors_total", error=type(error).__name__) == 1


async def test_a_handler_that_hangs_is_bounded_by_its_time() -> None:
    bench = Bench(handler_timeout_seconds=3.0)
    bench.handler.hold(0, 0)
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1)
        await bench.consumer.assign(A)
        await asyncio.sleep(2.5)
        assert not bench.producer.stored
        await asyncio.sleep(1)
        assert bench.producer.stored[0][0] == "t.retry.5s"
        assert bench.count("handler_errors_total", error="timeout") == 1


async def test_a_handler_that_cancels_itself_does_not_lose_its_record() -> None:
    bench = Bench()

    def cancel(_: Record) -> None:
        raise asyncio.CancelledError

    bench.handler.outcomes = cancel
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(2)
        assert bench.producer.stored[0][0] == "t.retry.5s"
        assert bench.consumer.group[A] == 1


async def test_every_outcome_is_stored_before_its_record_completes() -> None:
    bench = Bench()
    bench.handler.outcomes = lambda _: (
        Done("one"),
        Park("two", 1, "1m", "status"),
        DeadLetter("three", 1, "gone"),
    )
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(2)
    assert sorted(topic for topic, _ in bench.producer.stored) == ["t.dead", "t.retry.1m"]
    assert bench.consumer.group[A] == 1
    for outcome in ("done", "parked", "dead_letter"):
        assert bench.count("outcomes_total", outcome=outcome) == 1


async def test_what_is_being_stored_takes_no_place_from_what_is_handled() -> None:
    bench = Bench(limits=Admission(10, 10_000))
    bench.producer.refuse = NotEnoughReplicasError()
    bench.handler.outcomes = lambda record: (
        [Park("e", 1, "5s", "x")] if record.offset < 10 else [Done()]
    )
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.handler.hold(0, *range(10, 40))
        bench.consumer.append(A, *range(40))
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        assert bench.handler.running == 10
        assert bench.count("in_flight") == 20
        bench.handler.let_go(0, *range(10, 40))
        bench.producer.refuse = None
        await asyncio.sleep(10)
        assert bench.consumer.group == {A: 40}


async def test_while_kafka_refuses_the_record_stays_open_and_nothing_is_committed() -> None:
    bench = Bench()
    bench.producer.refuse = NotEnoughReplicasError()
    bench.handler.outcomes = lambda record: (
        [Done()] if record.offset else [Park(None, 1, "5s", "status")]
    )
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1, 2)
        await bench.consumer.assign(A)
        await asyncio.sleep(600)
        assert bench.consumer.group[A] == 0
        assert bench.count("in_flight") == 1
        assert bench.count("parking_failures_total") > 100
        bench.producer.refuse = None
        await asyncio.sleep(10)
        assert bench.consumer.group[A] == 3


async def test_a_stop_while_kafka_refuses_commits_nothing_of_it() -> None:
    bench = Bench()
    bench.producer.refuse = NotEnoughReplicasError()
    bench.handler.outcomes = lambda _: [Park(None, 1, "5s", "status")]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
    assert bench.consumer.group[A] == 0


async def test_a_handler_that_goes_on_beyond_its_time_is_told_of_with_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(handler_timeout_seconds=3.0)
    let_go = asyncio.Event()

    async def deaf(record: Record) -> list[Done]:
        async def catches_all(seconds: float) -> None:
            until = asyncio.get_running_loop().time() + seconds
            while not let_go.is_set() and asyncio.get_running_loop().time() < until:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(1)

        await catches_all((0.0, 5.0, 1_000.0)[record.offset])
        return [Done()]

    bench.handler.handle = deaf  # type: ignore[method-assign]
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1, 2)
        await bench.consumer.assign(A)
        await asyncio.sleep(3 + DEAF_SECONDS - 0.1)
        assert bench.count("handler_errors_total", error="does_not_end") == 0
        await asyncio.sleep(100)
        assert bench.count("handler_errors_total", error="does_not_end") == 1
        told = "a call of the handler goes on although it was told to end"
        [line] = [one for one in caplog.records if one.message == told]
        assert " catches_all" in line.__dict__["frames"]
        assert bench.consumer.group[A] == 2
        let_go.set()
