"""Tables as programs read them."""

import json

import pytest

from benchmarks.rebalance.table import Column
from benchmarks.tables import Rows, first_words, show


def test_figures_are_shown_as_a_table_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    rows: Rows = {"ours": [{"rate": 12_345.6}, {"rate": None}], "java": "failed: no JDK"}
    show({"Speed": (Column("rate", "/s"),)}, rows)
    said = capsys.readouterr().out
    assert "Speed:\n\n| client | rate |" in said
    told = json.loads(said.split("```json\n")[1].split("\n```")[0])
    assert told == {"ours": {"rate": 12_350.0}, "java": "failed: no JDK"}


def test_a_reason_of_many_lines_fits_a_cell() -> None:
    reason = first_words(RuntimeError("it\nended " + "x" * 1_000))
    assert reason.startswith("failed: it ended xxx")
    assert len(reason) < 120
