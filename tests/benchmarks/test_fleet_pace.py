"""How fast a backlog went down, from looks at it."""

from dataclasses import replace

import pytest

from benchmarks.fleet.pace import Look, pace, unevenness
from benchmarks.fleet.receiver import Taken

NOTHING = Look(0.0, 0, 0.0, 0.0, 0.0, 0.0)
FIRST = Look(10.0, 200, 1.0, 2.0, 3.0, 4.0, 100, 50, Taken(10, 200, 240_000))
LAST = Look(12.0, 960, 2.52, 2.76, 3.38, 6.0, 480, 126, Taken(29, 1_036, 1_000_000))


def test_the_pace_is_taken_between_the_first_fifth_and_the_last_twentieth() -> None:
    end = replace(LAST, at=100.0, arrived=1_000, workers_cpu=50.0)
    found = pace([NOTHING, FIRST, LAST, end], 1_000, customers=2)
    assert found is not None
    assert found.per_second == pytest.approx(380)
    assert found.worker_us == pytest.approx(2_000)
    assert found.worker_us_in_all == pytest.approx(50_000)
    assert found.broker_us == pytest.approx(1_000)
    assert found.customer_us == pytest.approx(500)
    assert found.customers_waited_share == pytest.approx(0.5)
    assert (found.worker_woken, found.customer_woken) == pytest.approx((0.5, 0.1))
    sent = (found.connections, found.pieces, found.size)
    assert sent == pytest.approx((0.025, 1.1, 1_000))


def test_what_never_came_whole_is_measured_as_far_as_it_came() -> None:
    short = replace(LAST, arrived=700)
    found = pace([NOTHING, FIRST, short], 1_000, customers=1)
    assert found is not None
    assert found.per_second == pytest.approx(250)
    assert found.worker_us == pytest.approx(3_040)


@pytest.mark.parametrize(
    "looks",
    [
        [NOTHING],
        [NOTHING, replace(FIRST, arrived=199)],
        [NOTHING, LAST],
        [NOTHING, FIRST, replace(FIRST, at=20.0)],
    ],
)
def test_too_little_and_all_at_once_have_no_pace(looks: list[Look]) -> None:
    assert pace(looks, 1_000, customers=1) is None


def test_even_work_is_one_and_none_is_nothing() -> None:
    assert unevenness([5, 5, 5]) == 1
    assert unevenness([9, 3, 0]) == pytest.approx(2.25)
    assert unevenness([0, 0]) is None
