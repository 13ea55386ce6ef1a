"""A group in generated schedules: partitions move at once, and the invariants hold at every moment.

Each rule of the protocol that is needed is also taken out, and that must be noticed.
``HANDOVER_SCHEDULES=long`` tries many more schedules than a test run has time for.
"""

import os
from collections.abc import Callable
from typing import Final

import pytest
from handover_model.brokers_model import Brokers, Violation
from handover_model.missing_rules import MARKED, OTHERS, REPEATING
from handover_model.schedule import Schedule

LONG: Final = os.environ.get("HANDOVER_SCHEDULES") == "long"
SCHEDULES: Final = 40_000 if LONG else 500
MOST: Final = 1_000
"""Schedules within which a rule that is missing is noticed."""
STEPS: Final = 60


@pytest.mark.timeout(3_600 if LONG else 120)
def test_without_faults_every_record_is_delivered_once_wherever_its_partition_goes() -> None:
    for seed in range(SCHEDULES):
        Schedule(seed, faults=False).run(STEPS)


@pytest.mark.timeout(3_600 if LONG else 120)
def test_with_faults_nothing_is_lost_and_only_what_they_excuse_is_repeated() -> None:
    for seed in range(SCHEDULES):
        Schedule(seed, faults=True).run(STEPS)


@pytest.mark.parametrize("without", [*MARKED, *OTHERS], ids=lambda rule: rule.__name__)
def test_each_rule_is_missed_when_it_is_taken_out(
    without: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch)
    assert any(_is_noticed(seed) for seed in range(MOST))


@pytest.mark.parametrize("without", REPEATING, ids=lambda rule: rule.__name__)
def test_what_is_noticed_in_a_commit_does_harm_if_nobody_looks_at_commits(
    without: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Brokers, "unchecked", frozenset({"I5", "I7"}))
    without(monkeypatch)
    assert any(_is_noticed(seed) for seed in range(MOST))


def _is_noticed(seed: int) -> bool:
    try:
        Schedule(seed, faults=bool(seed % 2)).run(STEPS)
    except (Violation, ValueError):  # The latter by the codec, for what no map can say.
        return True
    return False
