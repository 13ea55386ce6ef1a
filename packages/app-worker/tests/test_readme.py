import ast
import re
from pathlib import Path

import pytest

from app_worker.environment import settings_table
from app_worker.observability.metrics import WORKER_METRICS, metrics_table
from app_worker.settings import KafkaSettings, WorkerSettings

README = (Path(__file__).parent.parent / "README.md").read_text()


def section(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*)<!-- /{name} -->", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_settings_table_is_the_one_made_from_the_settings() -> None:
    assert section("settings") == settings_table([KafkaSettings, WorkerSettings])


def test_the_metrics_table_is_the_one_made_from_the_metrics() -> None:
    assert section("metrics") == metrics_table(WORKER_METRICS)


def test_the_example_ends_with_code_2_where_no_brokers_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    found = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    with pytest.raises(SystemExit) as ended:
        exec(compile(ast.parse(found[1]), "README.md", "exec"), {"__name__": "example"})
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "KAFKA_BOOTSTRAP_SERVERS is not set, but must be host:port, several separated by commas.\n"
    )
