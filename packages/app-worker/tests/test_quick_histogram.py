"""The quick histogram and the quick counter show what the library's own would show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from app_worker.observability.metrics import LATENCY_BUCKETS, create_registry
from app_worker.observability.quick_counter import QuickCounter
from app_worker.observability.quick_histogram import QuickHistogram

seconds = st.floats(0, 100) | st.sampled_from(LATENCY_BUCKETS)


@given(st.lists(seconds))
def test_it_is_shown_as_the_librarys_is(observed: list[float]) -> None:
    create_registry()  # It turns the _created series off, for good.
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("x_seconds", "Time.", registry=theirs, buckets=LATENCY_BUCKETS)
    quick = QuickHistogram("x_seconds", "Time.", LATENCY_BUCKETS, ours).labels()
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


@given(st.lists(st.tuples(st.sampled_from("abc"), seconds)))
def test_with_labels_too(observed: list[tuple[str, float]]) -> None:
    create_registry()
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("x_seconds", "Time.", ["of"], registry=theirs, buckets=LATENCY_BUCKETS)
    quick = QuickHistogram("x_seconds", "Time.", LATENCY_BUCKETS, ours, ["of"])
    for label, value in observed:
        histogram.labels(label).observe(value)
        quick.labels(label).observe(value)
    assert generate_latest(ours) == generate_latest(theirs)


@given(st.lists(st.sampled_from("abcd")))
def test_what_is_counted_is_shown_as_the_librarys_is(counted: list[str]) -> None:
    create_registry()
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    counter = Counter("x_total", "Things.", ["of"], registry=theirs)
    for value in "abc":
        counter.labels(value)
    quick = QuickCounter("x_total", "Things.", "of", "abc", ours)
    for value in counted:
        counter.labels(value).inc()
        quick.count(value)
    assert generate_latest(ours) == generate_latest(theirs)


def test_a_counters_name_that_is_taken_is_refused() -> None:
    registry = CollectorRegistry()
    QuickCounter("x_total", "Things.", "of", (), registry)
    with pytest.raises(ValueError, match="x_total"):
        Counter("x_total", "Things.", registry=registry)
    with pytest.raises(ValueError, match="x_total"):
        QuickCounter("x_total", "Things.", "of", (), registry)
