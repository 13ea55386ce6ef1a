"""Writes the dashboards: `python -m deploy.monitoring`."""

import json
from pathlib import Path

from deploy.monitoring.deliveries_board import DELIVERIES
from deploy.monitoring.fleet_board import FLEET
from deploy.monitoring.grafana import board_json

BOARDS = (FLEET, DELIVERIES)
DASHBOARDS = Path(__file__).with_name("dashboards")


def files() -> dict[Path, str]:
    """Each dashboard's file, and what has to be in it."""
    return {
        DASHBOARDS / f"{board.uid}.json": json.dumps(board_json(board), indent=2) + "\n"
        for board in BOARDS
    }


if __name__ == "__main__":
    DASHBOARDS.mkdir(exist_ok=True)
    for file, text in files().items():
        file.write_text(text)
