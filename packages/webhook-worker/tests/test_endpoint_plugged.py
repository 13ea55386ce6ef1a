"""Sources of endpoints that other packages bring."""

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from app_worker.environment import describe
from app_worker.errors import EnvironmentProblems
from webhook_worker.commands.loading import load_for_run
from webhook_worker.commands.upkeep import kept_directory
from webhook_worker.directory import plugged
from webhook_worker.metrics import WebhookMetrics
from webhook_worker.plan import plan_of
from webhook_worker.settings import PluggedSource

ENVIRON = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "WEBHOOK_ENDPOINTS": "memory://user:hidden@host/endpoints",
}
MODULE = """
from contextlib import asynccontextmanager
from webhook_worker.directory import Snapshot

@asynccontextmanager
async def opened(location):
    assert location == "//user:hidden@host/endpoints"
    yield Snapshot()
"""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a_source_of_endpoints.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    known = EntryPoints(
        [
            EntryPoint("memory", "a_source_of_endpoints:opened", plugged.GROUP),
            EntryPoint("broken", "a_source_that_is_not_there:opened", plugged.GROUP),
        ]
    )
    monkeypatch.setattr(plugged, "entry_points", known.select)


@pytest.mark.usefixtures("installed")
async def test_a_source_of_another_package_is_named_and_never_shown_in_full() -> None:
    settings, source = load_for_run(ENVIRON)
    assert isinstance(source, PluggedSource)
    shown = f"{source} {source!r} {describe(settings.webhook)}"
    assert "hidden" not in shown
    assert "memory:******" in shown
    metrics = WebhookMetrics(CollectorRegistry())
    async with kept_directory(settings, source, metrics, plan_of(settings.webhook)) as directory:
        assert directory.endpoints_for("acme", "t") == ()


@pytest.mark.usefixtures("installed")
def test_a_source_that_cannot_be_imported_is_told_before_anything_starts() -> None:
    with pytest.raises(EnvironmentProblems, match="WEBHOOK_ENDPOINTS cannot be used: broken: cann"):
        load_for_run(ENVIRON | {"WEBHOOK_ENDPOINTS": "broken:x"})


def test_a_path_with_a_colon_stays_a_path() -> None:
    with pytest.raises(EnvironmentProblems, match="memory:x: cannot be read"):
        load_for_run(ENVIRON | {"WEBHOOK_ENDPOINTS": "memory:x"})
