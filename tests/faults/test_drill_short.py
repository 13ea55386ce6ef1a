"""The drill in its shortest form: two pods are rolled."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import VERSION


@pytest.mark.timeout(300)
def test_a_rolling_restart_loses_and_repeats_nothing(tmp_path: Path) -> None:
    environment = {
        "TMPDIR": str(tmp_path),
        "STEP": "rolling",
        "DRILL_PODS": "2",
        "DRILL_PROCESSES": "1",
        "DRILL_RATE": "50",
        "KAFKA_VERSION": VERSION,
    }
    drill = subprocess.run(
        [sys.executable, "-m", "deploy.drill"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    said = drill.stdout + drill.stderr
    cells = r"^rolling +dynamic +\d+ s +([\d,]+) +(\d+) +(\d+) "
    row = re.search(cells, drill.stdout, re.MULTILINE)
    assert row, said
    events, lost, repeated = (int(cell.replace(",", "")) for cell in row.groups())
    assert events > 100, said
    assert (lost, repeated) == (0, 0), said
    assert "timeline.svg" in drill.stdout
