"""The processes of a fleet: started as one session, ended in order, none left over."""

import os
from pathlib import Path

import pytest

from benchmarks.fleet.launcher import Launched, Program
from benchmarks.processes import ended
from benchmarks.rebalance.fleet import FleetError
from deploy.local.guard import Guard

WAITING = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
FAILING = ["/bin/sh", "-c", "echo $WHAT is missing; exit 3"]
BAD_END = ["/bin/sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done"]


def test_a_fleet_ends_in_order_and_tells_who_did_not(tmp_path: Path) -> None:
    with Guard() as guard:
        programs = [Program(WAITING, {}), Program(BAD_END, {})]
        fleet = Launched.start(guard, tmp_path / "fleet", programs, os.environ)
        fleet.check()
        assert len(fleet.pids) == 2
        assert fleet.stop().disorderly == 1
        assert sorted(ended(fleet.pids)) == sorted(fleet.pids)


def test_a_process_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    with Guard() as guard:
        programs = [Program(WAITING, {}), Program(FAILING, {"WHAT": "the topic"})]
        fleet = Launched.start(guard, tmp_path / "fleet", programs, os.environ)
        while not ended(fleet.pids):
            pass
        with pytest.raises(FleetError, match="1 of 2 ended by themselves: the topic is missing"):
            fleet.check()
        fleet.kill()


def test_no_process_outlives_its_guard(tmp_path: Path) -> None:
    with Guard() as guard:
        fleet = Launched.start(guard, tmp_path / "fleet", [Program(WAITING, {})], os.environ)
    assert ended(fleet.pids) == fleet.pids
    fleet._process.wait()
