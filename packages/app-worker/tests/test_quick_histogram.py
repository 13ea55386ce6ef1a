"""The quick histogram shows what the library's own would show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from app_worker.observability.metrics import LATENCY_BUCKETS, create_registry
from app_worker.observability.quick_histogram import QuickHistogram

seconds = st.floats(0, 100) | st.sampled_from(LATENCY_BUCKETS)


@given(st.lists(seconds))
def test_it_is_shown_as_the_librarys_is(observed: list[float]) -> None:
    create_registry()  # It turns the _created series off, for good.
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("x_seconds", "Time.", registry=theirs, buckets=LATENCY_BUCKETS)
    quick = QuickHistogram("x_seconds", "Time.", LATENCY_BUCKETS, ours)
    for value in observed:
        histogram.observe(value)
        quick.observe(value)
    assert generate_latest(ours) == generate_latest(theirs)


def test_a_name_that_is_taken_is_refused() -> None:
    registry = CollectorRegistry()
    QuickHistogram("x_seconds", "Time.", LATENCY_BUCKETS, registry)
    with pytest.raises(ValueError, match="x_seconds"):
        Histogram("x_seconds", "Time.", registry=registry)
    with pytest.raises(ValueError, match="x_seconds"):
        QuickHistogram("x_seconds", "Time.", LATENCY_BUCKETS, registry)
