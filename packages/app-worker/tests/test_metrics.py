import re
from importlib.metadata import version

import pytest
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

import app_worker
from app_worker.observability.metrics import (
    WORKER_METRICS,
    Metric,
    WorkerMetrics,
    create_registry,
    metrics_table,
)


def exposed(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def test_every_metric_of_the_list_is_bound_and_nothing_else() -> None:
    registry = CollectorRegistry()
    disable_created_metrics()  # type: ignore[no-untyped-call]
    WorkerMetrics(registry)
    families = set(re.findall(r"^# TYPE (\S+)", exposed(registry), re.MULTILINE))
    assert families == {metric.name for metric in WORKER_METRICS}


def test_names_follow_the_conventions() -> None:
    for metric in WORKER_METRICS:
        assert metric.name.startswith("worker_")
        assert metric.name.endswith("_total") == (metric.kind is Counter)
        assert bool(metric.buckets) == (metric.kind is Histogram)
        if metric.unit in ("seconds", "bytes"):
            assert metric.name.endswith(f"_{metric.unit}")


def test_a_layer_above_declares_its_own_for_the_same_registry() -> None:
    registry = create_registry()
    WorkerMetrics(registry)
    shots = Metric(
        name="cannon_shots_total", kind=Counter, unit="shots", help="Shots.", labels=("x",)
    )
    shots.bind(registry).labels("y").inc()
    assert 'cannon_shots_total{x="y"} 1.0' in exposed(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        shots.bind(registry)


def test_the_process_tells_its_cpu_and_memory_and_no_created_series() -> None:
    registry = create_registry()
    WorkerMetrics(registry).commits.labels("group", "ok").inc()
    text = exposed(registry)
    assert "process_cpu_seconds_total" in text
    assert "process_resident_memory_bytes" in text
    assert "_created" not in text


def test_the_version_is_that_of_the_distribution() -> None:
    assert app_worker.__version__ == version("app-worker")


def test_build_info_tells_versions_and_assignors() -> None:
    registry = CollectorRegistry()
    WorkerMetrics(registry).tell_build(["a", "b"])
    assert re.search(
        r'worker_build_info\{assignor="a,b",kafka_utils_version="\d.*",version="\d.*"\} 1.0',
        exposed(registry),
    )


def test_the_table_has_a_row_for_each_metric() -> None:
    rows = metrics_table(WORKER_METRICS).splitlines()[2:]
    assert len(rows) == len(WORKER_METRICS)
    assert rows[0].startswith("| `worker_records_total` | counter | records | `source` | Records")
