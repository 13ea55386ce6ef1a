"""Where a partition is read from when Kafka has no valid offset."""

import asyncio
import logging

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    KafkaConnectionError,
)
from scripted.bench import A, B, Bench, soon

pytestmark = pytest.mark.looptime


async def test_without_an_offset_earliest_begins_at_the_start_and_commits_it() -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.append(A, 5, 6)
        bench.consumer.log_starts |= {A: 5, B: 3}
        bench.consumer.ends[B] = 3
        bench.handler.hold(0, 5, 6)
        await bench.consumer.assign(A, B)
        await asyncio.sleep(2)
        assert bench.handler.began == [(0, 5), (0, 6)]
        assert bench.consumer.group == {A: 5, B: 3}
        bench.handler.let_go(0, 5, 6)
        assert bench.count("lost_records_total", topic="t") == 0


async def test_without_an_offset_latest_loses_nothing_between_the_join_and_the_first_record() -> (
    None
):
    bench = Bench(auto_offset_reset="latest")
    async with bench.running():
        bench.consumer.append(A, 0, 1)
        await bench.consumer.assign(A)
        await asyncio.sleep(2)
        assert bench.consumer.group == {A: 2}
        await bench.consumer.revoke()
        bench.consumer.append(A, 2)
        await bench.consumer.assign(A)
        await asyncio.sleep(1)
        assert bench.handler.finished == [(0, 2)]


async def test_an_offset_below_the_start_is_a_loss_counted_and_logged_with_both_offsets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.group |= {A: 3, B: 0}
        bench.consumer.append(A, 10)
        bench.consumer.log_starts[A] = 10
        await bench.consumer.assign(A, B)
        await asyncio.sleep(2)
        assert bench.handler.finished == [(0, 10)]
        assert bench.count("lost_records_total", topic="t") == 7
        assert bench.consumer.group[A] == 11
    (logged,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert logged.message == "records were deleted before they were read"
    assert (logged.__dict__["offset"], logged.__dict__["start"]) == (3, 10)
    assert logged.__dict__["lost"] == 7


async def test_a_partition_made_anew_is_read_from_its_start_and_old_work_does_not_count() -> None:
    bench = Bench()
    bench.handler.hold(0, 50)
    async with bench.running():
        bench.consumer.group[A] = 50
        bench.consumer.append(A, 50, 51)
        await bench.consumer.assign(A)
        await asyncio.sleep(2)
        bench.consumer.logs[A] = []
        bench.consumer.append(A, 0, 1)
        await asyncio.sleep(2)
        assert bench.handler.finished == [(0, 51), (0, 0), (0, 1)]
        assert bench.consumer.group[A] == 2
        bench.handler.let_go(0, 50)
        await asyncio.sleep(2)
        assert bench.consumer.group[A] == 2


async def test_finding_a_place_is_tried_again_and_stops_no_other_partition() -> None:
    bench = Bench()
    bench.consumer.lookup_errors = [KafkaConnectionError()] * 3
    async with bench.running():
        bench.consumer.append(A, 0)
        bench.consumer.group[B] = 0
        await bench.consumer.assign(A, B)
        await soon()
        bench.consumer.append(B, 0)
        await asyncio.sleep(0.5)
        assert bench.handler.finished == [(1, 0)]
        await asyncio.sleep(5)
        assert bench.handler.finished == [(1, 0), (0, 0)]


async def test_records_that_went_astray_with_an_error_are_read_again() -> None:
    bench = Bench()
    async with bench.running():
        bench.consumer.group |= {A: 0}
        bench.consumer.append(A, 0, 1)
        await bench.consumer.assign(A, B)
        bench.consumer.group |= {B: 0}
        await asyncio.sleep(0.1)
        bench.consumer.lose_with_error = CorruptRecordException()
        bench.consumer.append(A, 2)
        bench.consumer.append(B, 0)
        await asyncio.sleep(3)
        assert sorted(bench.handler.finished) == [(0, 0), (0, 1), (0, 2), (1, 0)]
        assert bench.consumer.group == {A: 3, B: 1}


async def test_a_partition_without_a_leader_keeps_no_other_unread() -> None:
    bench = Bench()
    bench.consumer.leaderless = {B}
    async with bench.running():
        bench.consumer.append(A, 0)
        bench.consumer.append(B, 0)
        await bench.consumer.assign(B, A)
        await asyncio.sleep(2)
        assert bench.handler.finished == [(0, 0)]
        bench.consumer.leaderless.clear()
        await asyncio.sleep(40)
        assert bench.handler.finished == [(0, 0), (1, 0)]


async def test_a_first_start_asks_once_for_the_offsets_of_all_partitions_and_tells_of_it_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench()
    many = [TopicPartition("t", number) for number in range(100)]
    async with bench.running():
        await bench.consumer.assign(*many)
        await asyncio.sleep(3)
        assert len(bench.consumer.group) == 100
        assert [len(question) for question in bench.consumer.questions] == [100]
    (told,) = [each for each in caplog.records if "no offset here yet" in each.message]
    assert told.__dict__["topic"] == "t"
    assert told.__dict__["partitions"] == 100


async def test_whatever_goes_wrong_while_a_place_is_sought_is_tried_again() -> None:
    bench = Bench()
    bench.consumer.question_errors = [ValueError("half a certificate"), RuntimeError()]
    bench.consumer.lookup_errors = [ValueError()]
    async with bench.running():
        bench.consumer.append(A, 0)
        await bench.consumer.assign(A)
        await asyncio.sleep(5)
        assert bench.handler.finished == [(0, 0)]
