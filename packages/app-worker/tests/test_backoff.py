"""A pause that grows with each failure in a row, within bounds."""

from hypothesis import given
from hypothesis import strategies as st

from app_worker.backoff import Backoff

SECONDS = Backoff(first=0.1, longest=5.0)


def test_it_doubles_up_to_the_longest_less_up_to_a_half() -> None:
    assert [SECONDS.seconds(failures) for failures in (1, 2, 3, 99)] == [0.1, 0.2, 0.4, 5.0]
    assert SECONDS.seconds(99, jitter=1.0) == 2.5


@given(st.integers(1, 10**9), st.floats(0, 1))
def test_it_is_bounded_however_often_it_failed(failures: int, jitter: float) -> None:
    assert 0.05 <= SECONDS.seconds(failures, jitter) <= 5.0
