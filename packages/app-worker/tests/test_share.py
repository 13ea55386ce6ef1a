"""What part of a fleet's work a process has."""

import pytest

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
