"""The drill in its shortest form: two pods are rolled, and one gets a bad release."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import VERSION


@pytest.mark.timeout(300)
def test_rolling_and_a_bad_release_lose_and_repeat_nothing(tmp_path: Path) -> None:
    environment = {
        "TMPDIR": str(tmp_path),
        "STEP": "rolling,bad-release",
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
    for step in ("rolling", "bad-release"):
        row = re.search(rf"^{step} +([\d,]+) +(\d+) +(\d+) ", drill.stdout, re.MULTILINE)
        assert row, said
        events, lost, repeated = (int(cell.replace(",", "")) for cell in row.groups())
        assert events > 100, said
        assert (lost, repeated) == (0, 0), said
    assert "WEBHOOK_RETRY_SCHEDULE is 'soon'" in drill.stdout
    assert "timeline.svg" in drill.stdout
