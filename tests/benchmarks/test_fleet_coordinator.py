"""The coordinator beside the mean of the other brokers."""

from benchmarks.fleet.connections import Totals, Traffic
from benchmarks.fleet.coordinator import AT_WORK, COLUMNS, IDLE, beside

EARLIER = Totals({1: Traffic(1_000, 1_000, 10)})
NOW = Totals({1: Traffic(5_000, 3_000, 30), 2: Traffic(500, 500, 4), 3: Traffic(0, 0, 0)})


def test_the_others_are_their_mean() -> None:
    assert beside(NOW, EARLIER, [1, 2, 3], 1, AT_WORK) == {
        "at work: requests": 20,
        "at work: the others'": 2,
        "at work: KB": 6,
        "at work: the others' KB": 0.5,
    }


def test_what_goes_on_all_the_time_is_told_by_the_second() -> None:
    told = beside(NOW, EARLIER, [1, 2, 3], 1, IDLE, seconds=10)
    assert told["idle: requests/s"] == 2
    assert told["idle: the others' KB/s"] == 0.05


def test_every_figure_has_its_column() -> None:
    names = {column.name for column in COLUMNS}
    for phase in (AT_WORK, IDLE):
        assert beside(NOW, EARLIER, [1, 2, 3], 1, phase).keys() <= names


def test_without_a_count_there_is_nothing_to_tell() -> None:
    assert beside(None, EARLIER, [1, 2, 3], 1, AT_WORK) == {}
