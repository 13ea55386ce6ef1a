"""What cannot be read keeps nobody else waiting."""

import asyncio

import pytest
from aiokafka.errors import (
    CorruptRecordException,
    NotEnoughReplicasError,
)
from scripted.bench import A, B, Bench

pytestmark = pytest.mark.looptime


NOT_UTF8 = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


async def test_a_record_that_cannot_be_decoded_becomes_a_dead_letter_and_the_rest_goes_on() -> None:
    bench = Bench()
    bench.consumer.unreadable = {(A, 2): NOT_UTF8, (A, 3): NOT_UTF8}
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(A, *range(6))
        await bench.consumer.assign(A, B)
        for offset in range(20):
            bench.consumer.append(B, offset)
            await asyncio.sleep(0.1)
        await asyncio.sleep(10)
        assert all(bench.handler.times[1, offset] < offset * 0.1 + 0.3 for offset in range(20))
        assert bench.consumer.group == {A: 6, B: 20}
        places = [(0, offset) for offset in (0, 1, 4, 5)] + [(1, offset) for offset in range(20)]
        assert sorted(bench.handler.finished) == places
    assert [topic for topic, _ in bench.producer.stored] == ["t.dead", "t.dead"]
    letters = [headers for _, headers in bench.producer.stored]
    assert sorted(str(headers["worker-origin"]) for headers in letters) == ["b't:0:2'", "b't:0:3'"]
    for headers in letters:
        assert headers["worker-reason"] == b"undecodable"
        assert headers["worker-detail"] == b"UnicodeDecodeError"
        assert headers["worker-value-bytes"] == b"-1"


async def test_a_record_that_cannot_be_decoded_is_complete_when_its_dead_letter_is_stored() -> None:
    bench = Bench()
    bench.consumer.unreadable = {(A, 0): NOT_UTF8}
    bench.producer.refuse = NotEnoughReplicasError()
    async with bench.running():
        bench.consumer.group[A] = 0
        bench.consumer.append(A, 0, 1)
        await bench.consumer.assign(A)
        await asyncio.sleep(20)
        assert bench.handler.finished == [(0, 1)]
        assert bench.consumer.group[A] == 0
        bench.producer.refuse = None
        await asyncio.sleep(10)
        assert bench.consumer.group[A] == 2


@pytest.mark.parametrize("error", [CorruptRecordException(), RuntimeError("bad codec")])
async def test_a_corrupt_batch_is_never_skipped_and_holds_up_its_own_partition_only(
    error: Exception,
) -> None:
    bench = Bench()
    bench.consumer.unreadable = {(A, 2): error}
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        bench.consumer.append(A, *range(4))
        await bench.consumer.assign(A, B)
        await asyncio.sleep(100)
        bench.consumer.append(B, 0)
        await asyncio.sleep(0.2)
        assert bench.handler.finished == [(0, 0), (0, 1), (1, 0)]
        assert not bench.producer.stored
        assert 15 < bench.count("unreadable_batches_total", topic="t") < 25
        bench.consumer.unreadable.clear()
        await asyncio.sleep(10)
        assert bench.consumer.group == {A: 4, B: 1}
