"""Rows of figures as tables for people and as JSON for programs."""

import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence

from benchmarks.rebalance.table import Column, Figures, medians, render

Rows = Mapping[str, Sequence[Figures] | str]
"""By name: what each repetition measured, or why there is nothing."""

DIGITS = 4
INTERRUPTED = 130
"""The exit status after Ctrl-C."""
REASON_CHARACTERS = 100


def say(text: str) -> None:
    """What goes on, with the time and how busy the machine is, beside the tables."""
    load = os.getloadavg()[0]
    print(f"{time.strftime('%H:%M:%S')} {text} (load {load:.1f})", file=sys.stderr, flush=True)


def say_figures(name: str, figures: Figures) -> None:
    """What was just measured, for whoever waits, or has to stop it."""
    say(f"{name}: {json.dumps(_short([figures]))}")


def hush() -> None:
    """Waiting for a coordinator is no news, and aiokafka says it many times."""
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    logging.getLogger("aiokafka").propagate = False


def first_words(error: Exception) -> str:
    """Why a row has no figures, short enough for its cell."""
    return "failed: " + " ".join(str(error).split())[:REASON_CHARACTERS]


def show(tables: Mapping[str, Sequence[Column]], rows: Rows) -> None:
    """Print each table with its title, then all medians as one line of JSON."""
    for title, columns in tables.items():
        print(f"\n{title}:\n\n{render(columns, rows)}", flush=True)
    told = {name: row if isinstance(row, str) else _short(row) for name, row in rows.items()}
    print(f"\n```json\n{json.dumps(told)}\n```", flush=True)


def _short(row: Sequence[Figures]) -> dict[str, float | None]:
    return {
        name: None if value is None else float(f"{value:.{DIGITS}g}")
        for name, value in medians(row).items()
    }
