"""What part of a fleet's work a process has."""

import asyncio

import pytest
from scripted.bench import A, B, Bench, soon

from app_worker.share import Share


@pytest.mark.parametrize(
    ("owned", "of_all", "fraction"),
    [(25, 100, 0.25), (100, 100, 1.0), (1, 3, 1 / 3), (0, 100, 0.01), (0, 0, 1.0), (3, 0, 1.0)],
)
def test_it_is_the_part_of_the_partitions_and_that_of_one_at_least(
    owned: int, of_all: int, fraction: float
) -> None:
    share = Share()
    share.set(owned, of_all)
    assert share.fraction == pytest.approx(fraction)


def test_before_anything_is_known_it_is_the_whole() -> None:
    assert Share().fraction == 1.0


@pytest.mark.looptime
async def test_while_nothing_is_known_of_the_topic_it_stays_what_it_was() -> None:
    share = Share()
    share.set(0, 100)
    bench = Bench(share=share)
    async with bench.running():
        bench.consumer.group |= {A: 0, B: 0}
        await bench.consumer.assign(A, B)
        await soon()
        assert share.fraction == 0.01
        bench.consumer.partitions["t"] = set(range(50))
        await asyncio.sleep(10)
        assert share.fraction == 0.04
