"""The story before and after: its original settings, its tuned ones, and ours, in one run.

``python -m benchmarks.story`` (25 pods x 4, 17 minutes); in 2 minutes, with all times a tenth:
``python -m benchmarks.story --pods 3 --processes 2 --rate 30 --pace 0.1``.
"""

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.fleet.environments import PeerUnavailableError
from benchmarks.fleet.ground import Ground, ground
from benchmarks.fleet.receiver import ReceiverError
from benchmarks.rebalance.fleet import FleetError
from benchmarks.rebalance.table import Figures
from benchmarks.story.account import COLUMNS
from benchmarks.story.fleets import EAGER, FLEETS
from benchmarks.story.picture import Timeline, stacked
from benchmarks.story.plan import PARTITIONS, Plan
from benchmarks.story.scene import perform
from benchmarks.tables import INTERRUPTED, first_words, hush, say, say_figures, show
from deploy.demo.stage import StageError
from deploy.local.brokers import DEFAULT_VERSION, BrokersUnavailable

USUAL = Plan()
LEAST_SESSION_MS = 1_000
LEAST_PODS = 2


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.story",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--fleets", default=",".join(FLEETS))
    parser.add_argument("--pods", type=int, default=USUAL.pods)
    parser.add_argument("--processes", type=int, default=USUAL.processes, help="in each pod")
    parser.add_argument("--rate", type=int, default=USUAL.rate, help="events a second")
    parser.add_argument("--pace", type=float, default=USUAL.pace, help="0.1: ten times as fast")
    parser.add_argument("--picture", type=Path, default=Path("story.svg"))
    options = parser.parse_args()
    options.fleets = options.fleets.split(",")
    unknown = [each for each in options.fleets if each not in FLEETS]
    if unknown:
        parser.error(f"unknown fleets: {', '.join(unknown)}")
    if options.pods < LEAST_PODS:
        parser.error(f"--pods: {LEAST_PODS} at least, since one dies and another one is stuck")
    # Not after a quarter of an hour.
    if not os.access(options.picture.absolute().parent, os.W_OK):
        parser.error(f"--picture: {options.picture} cannot be written")
    return options


def _play_all(
    here: Ground,
    kinds: list[str],
    directory: Path,
    plan: Plan,
    rows: dict[str, list[Figures] | str],
    timelines: dict[str, Timeline],
) -> None:
    for kind in kinds:
        say(kind)
        try:
            told = perform(here, kind, FLEETS[kind](directory), plan, eager=kind in EAGER)
        except (PeerUnavailableError, FleetError, StageError) as error:
            say(f"{kind} failed: {error}")
            rows[kind] = first_words(error)
        else:
            rows[kind] = [told.figures]
            say_figures(kind, told.figures)
            timelines[kind] = told.timeline


def main() -> int:
    """Print the table and draw the picture; 3 when there are no brokers here."""
    options = _options()
    hush()
    plan = Plan(options.pods, options.processes, options.rate, options.pace)
    rows: dict[str, list[Figures] | str] = {}
    timelines: dict[str, Timeline] = {}
    status = 0
    # A session may be as short as the pace makes it.
    extra = {"group.min.session.timeout.ms": str(LEAST_SESSION_MS)}
    try:
        with TemporaryDirectory() as directory, ground(PARTITIONS, extra=extra) as here:
            print(
                f"{plan.pods} pods of {plan.processes} processes, {plan.rate} events/s, all times "
                f"x {plan.pace:g}, Kafka {DEFAULT_VERSION}, {os.cpu_count()} cores",
                flush=True,
            )
            _play_all(here, options.fleets, Path(directory), plan, rows, timelines)
    except (BrokersUnavailable, ReceiverError, StageError) as error:
        print(error, file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        say("interrupted: what there is so far")
        status = INTERRUPTED
    show({"A pod dies, a pod is stuck": COLUMNS}, rows)
    if timelines:
        options.picture.write_text(stacked(timelines, PARTITIONS))
        print(f"\nThe picture is {options.picture}")
    return status


if __name__ == "__main__":
    sys.exit(main())
