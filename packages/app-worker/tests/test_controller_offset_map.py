"""What was complete behind an open record is not handled again after a crash."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    InvalidCommitOffsetSizeError,
    OffsetMetadataTooLargeError,
    RequestTimedOutError,
)
from scripted.bench import SCOPE, A, B, Bench, soon
from scripted.consumer import message

from app_worker.admission import Admission
from app_worker.commits import interval_after
from app_worker.controller import (
    Subscription,
)
from app_worker.offset_map import Scope, decode, encode

pytestmark = pytest.mark.looptime


def complete_above(bench: Bench, partition: TopicPartition) -> list[tuple[int, int]]:
    base, said = bench.consumer.group[partition], bench.consumer.metadata[partition]
    return list(decode(said, SCOPE.place(partition), base).done)


def after_a_crash(before: Bench, **settings: Any) -> Bench:
    """A new process over the same log and the same group."""
    bench = Bench(**settings)
    for name in ("logs", "ends", "group", "metadata"):
        setattr(bench.consumer, name, dict(getattr(before.consumer, name)))
    return bench


async def stuck(offsets: Iterable[int]) -> Bench:
    """A bench that has committed while its record 0 was still open, and then died."""
    bench = Bench()
    bench.handler.hold(0, 0)
    bench.consumer.group[A] = 0
    bench.consumer.append(A, *offsets)
    run = asyncio.create_task(bench.controller.run(Subscription(topics=("t",))))
    await asyncio.sleep(0)
    await bench.consumer.assign(A)
    await asyncio.sleep(3)
    run.cancel()
    await asyncio.wait([run])
    return bench


async def test_after_a_crash_only_what_was_open_is_handled_again_however_long_it_was_stuck() -> (
    None
):
    before = await stuck(range(10))
    assert before.consumer.group[A] == 0
    assert complete_above(before, A) == [(1, 10)]
    bench = after_a_crash(before)
    async with bench.running():
        await bench.consumer.assign(A)
        bench.consumer.append(A, 10)
        await asyncio.sleep(3)
        assert bench.handler.finished == [(0, 0), (0, 10)]
        assert bench.count("records_complete_before_total") == 9
        assert bench.consumer.group[A] == 11
        assert bench.consumer.metadata[A] == ""


async def test_what_was_complete_and_is_not_read_yet_is_not_forgotten_by_the_next_commit() -> None:
    before = await stuck(range(200))
    bench = after_a_crash(before, max_poll_records=3)
    bench.handler.hold(0, 0)
    bench.handler.seconds = lambda _: 0.0
    bench.consumer.unreadable[A, 20] = CorruptRecordException()
    async with bench.running():
        await bench.consumer.assign(A)
        bench.consumer.append(A, 200)
        await asyncio.sleep(3)
        bench.consumer.append(B, 0)
        bench.consumer.group[B] = 0
        await bench.consumer.assign(B)
        await asyncio.sleep(3)
        assert bench.consumer.commits
        assert complete_above(bench, A) == [(1, 200)]
        bench.handler.let_go(0, 0)


async def test_a_partition_that_just_came_is_not_committed_before_its_map_is_known() -> None:
    before = await stuck(range(10))
    bench = after_a_crash(before)
    del bench.consumer.ends[A]
    async with bench.running():
        bench.consumer.errors = [RequestTimedOutError()] * 3
        await bench.consumer.assign(A)
        await asyncio.sleep(2)
        assert complete_above(bench, A) == [(1, 10)]
    assert complete_above(bench, A) == [(1, 10)]


async def test_a_partition_on_which_nothing_happened_is_not_committed() -> None:
    bench = Bench()
    bench.consumer.group[A] = 3
    bench.consumer.append(A, 0, 1, 2)
    async with bench.running():
        await bench.consumer.assign(A)
        await asyncio.sleep(3)
    assert bench.consumer.commits == []


async def test_what_is_revoked_takes_the_map_with_it() -> None:
    bench = Bench(handler_timeout_seconds=1_000.0)
    bench.handler.hold(0, 0)
    bench.consumer.group[A] = 0
    bench.consumer.append(A, *range(5))
    async with bench.running():
        await bench.consumer.assign(A)
        await soon()
        await bench.consumer.revoke(A)
        assert bench.consumer.group[A] == 0
        assert complete_above(bench, A) == [(1, 5)]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("somebody else's", "foreign"),
        (encode(Scope("mirror", "group").place(A), 0, [(1, 2)]), "place"),
        (encode(SCOPE.place(A), 5, [(6, 7)]), "base"),
        (encode(SCOPE.place(A), 0, [(1, 4)]), "truncated"),
    ],
)
async def test_metadata_that_cannot_be_believed_is_ignored_and_counted(
    said: str, reason: str
) -> None:
    bench = Bench()
    bench.consumer.group[A], bench.consumer.metadata[A] = 0, said
    bench.consumer.append(A, 0, 1, 2)
    async with bench.running():
        await bench.consumer.assign(A)
        await asyncio.sleep(3)
        assert bench.handler.finished == [(0, 0), (0, 1), (0, 2)]
        assert bench.count("offset_maps_ignored_total", reason=reason) == 1
        assert bench.consumer.group[A] == 3


async def test_a_replica_that_knows_of_the_logs_end_a_little_late_makes_no_map_untrue() -> None:
    bench = Bench()
    bench.consumer.group[A] = 0
    bench.consumer.metadata[A] = encode(SCOPE.place(A), 0, [(1, 4)])
    bench.consumer.append(A, *range(5))
    ends = {A: 2}
    bench.consumer.highwater = ends.get  # type: ignore[method-assign, assignment]
    async with bench.running():
        await bench.consumer.assign(A)
        await asyncio.sleep(3)
        ends[A] = 5
        await asyncio.sleep(3)
        assert bench.handler.finished == [(0, 0), (0, 4)]
        assert bench.consumer.group[A] == 5
        assert bench.count("offset_maps_ignored_total", reason="truncated") == 0


@pytest.mark.parametrize("policy", ["earliest", "latest"])
async def test_of_a_log_that_was_truncated_and_grew_again_nothing_is_complete(policy: str) -> None:
    bench = Bench(auto_offset_reset=policy)
    bench.consumer.group[A] = 10
    bench.consumer.metadata[A] = encode(SCOPE.place(A), 10, [(14, 18)])
    bench.consumer.append(A, *range(10, 13))
    bench.consumer.log_starts[A] = 10
    bench.consumer.ends[A] = 18
    async with bench.running():
        await bench.consumer.assign(A)
        await asyncio.sleep(2)
        bench.consumer.logs[A] = [message(A, 10), message(A, 11)]
        bench.consumer.ends[A] = 12
        bench.consumer.positions[A] = 13
        bench.consumer.wake()
        await asyncio.sleep(2)
        bench.consumer.append(A, *range(12, 20))
        await asyncio.sleep(3)
        handled = {offset for _, offset in bench.handler.finished}
        assert handled >= set(range(12, 20))


async def test_a_map_is_forgotten_when_the_log_turns_out_to_be_shorter() -> None:
    bench = Bench()
    bench.consumer.group[A] = 10
    bench.consumer.log_starts[A] = 10
    bench.consumer.metadata[A] = encode(SCOPE.place(A), 10, [(20, 25)])
    bench.consumer.append(A, 10, 11, 12)
    bench.consumer.ends[A] = 25
    bench.handler.hold(0, 12)
    async with bench.running():
        await bench.consumer.assign(A)
        await asyncio.sleep(2)
        bench.consumer.positions[A] = 13
        bench.consumer.append(A, 13)
        await asyncio.sleep(2)
        bench.consumer.append(A, *range(14, 30))
        bench.handler.let_go(0, 12)
        await asyncio.sleep(2)
        assert sorted(bench.handler.finished) == [(0, offset) for offset in range(10, 30)]
        assert bench.count("offset_maps_ignored_total", reason="truncated") == 1


async def test_a_failure_elsewhere_does_not_cost_a_partition_its_map() -> None:
    before = await stuck(range(10))
    bench = after_a_crash(before)
    bench.consumer.group[B] = 0
    async with bench.running():
        await bench.consumer.assign(B)
        await asyncio.sleep(1)
        await bench.consumer.assign(A)
        bench.consumer.positions[A] = None  # Its place is still looked up.
        bench.consumer._silent.add(A)
        bench.consumer.errors = [RequestTimedOutError()]
        bench.consumer.append(B, 0)
        await asyncio.sleep(3)
        bench.consumer._silent.discard(A)
        if bench.consumer.positions[A] is None:
            bench.consumer.seek(A, 0)
        else:
            bench.consumer.started.pop(A)
        await asyncio.sleep(3)
        assert [offset for partition, offset in bench.handler.finished if not partition] == [0]


@pytest.mark.parametrize("refusal", [OffsetMetadataTooLargeError, InvalidCommitOffsetSizeError])
async def test_brokers_that_refuse_the_map_get_commits_without_it(
    caplog: pytest.LogCaptureFixture, refusal: type[Exception]
) -> None:
    bench = Bench()

    async def refuse() -> None:
        if bench.consumer.asked_to_commit[A][1]:
            raise refusal

    bench.consumer.refuse_commit = refuse
    bench.handler.hold(0, 0)
    bench.consumer.group[A] = 0
    bench.consumer.append(A, 0, 1)
    async with bench.running():
        await bench.consumer.assign(A)
        await asyncio.sleep(5)
        bench.consumer.append(A, 2, 3)
        await asyncio.sleep(5)
        assert bench.consumer.commits == []  # The offset by itself has not moved.
        assert "offset.metadata.max.bytes" in caplog.text
        bench.handler.let_go(0, 0)
        await asyncio.sleep(5)
        assert bench.consumer.group[A] == 4


async def test_no_record_is_begun_that_could_make_the_map_too_long() -> None:
    bench = Bench(limits=Admission(10_000, 10**9))
    far = [n * 2**50 for n in range(1, 400)]
    bench.handler.hold(0, *far)
    bench.consumer.group[A] = far[0]
    bench.consumer.log_starts[A] = far[0]
    bench.consumer.append(A, *far)
    async with bench.running():
        await bench.consumer.assign(A)
        await asyncio.sleep(3)
        begun = len(bench.handler.began)
        assert 100 < begun < 300
        bench.handler.let_go(0, *far[1:begun])
        await asyncio.sleep(3)
        assert len(bench.consumer.metadata[A]) <= 4_096 * 3 // 4
        bench.handler.let_go(0, far[0], *far[begun:])
        await asyncio.sleep(3)
        assert bench.consumer.group[A] == far[-1] + 1


@pytest.mark.parametrize(
    ("seconds", "interval", "passing", "next_interval"),
    [
        (0.005, 0.8, False, 0.8),
        (0.15, 0.8, False, 0.8),
        (0.5, 0.8, False, 2.5),
        (5.0, 0.8, False, 10.0),
        (0.005, 10.0, False, 0.8),
        (0.005, 1.0, True, 2.0),
        (5.0, 4.0, True, 8.0),
        (5.0, 8.0, True, 10.0),
    ],
)
def test_a_slow_coordinator_is_asked_less_often(
    seconds: float, interval: float, passing: bool, next_interval: float
) -> None:
    assert interval_after(seconds, interval, passing=passing) == next_interval
