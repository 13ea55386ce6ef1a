"""How many connections a process may hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook_worker.sending.pool import MOST_IDLE, ConnectionLimits, limits_within


@pytest.mark.parametrize(
    ("open_files", "most", "in_use", "idle"),
    [
        (1_048_576, 400, 400, MOST_IDLE),
        (20_000, 4_000, 4_000, MOST_IDLE),
        (1_024, 400, 400, 368),
        (1_024, 4_000, 512, 256),
        (256, 400, 128, 64),
    ],
)
def test_connections_fit_into_the_files_that_may_be_open(
    open_files: int, most: int, in_use: int, idle: int
) -> None:
    assert limits_within(open_files, most) == ConnectionLimits(most=in_use, most_idle=idle)


@given(st.integers(8, 2**63), st.integers(1, 400_000))
def test_there_is_always_a_connection_and_a_quarter_for_everything_else(
    open_files: int, most: int
) -> None:
    limits = limits_within(open_files, most)
    assert 1 <= limits.most <= most
    assert 1 <= limits.most_idle <= MOST_IDLE
    assert limits.most + limits.most_idle <= open_files * 3 // 4
