"""How a fleet's price grows: real fleets of 4 to 100 processes, and 1,000 simulated members.

``python -m benchmarks.growth``; ``--sizes 4 --simulated 4,50 --workers ours --kinds ours
--idle-seconds 5`` for a look of a minute.
"""

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.fleet.__main__ import PARTITIONS, prepared
from benchmarks.fleet.ground import Ground, ground
from benchmarks.fleet.measured import TABLES, Size, measure
from benchmarks.fleet.receiver import ReceiverError
from benchmarks.fleet.workers import SLOW, WORKERS, Start
from benchmarks.growth import simulated
from benchmarks.growth.members import KINDS
from benchmarks.rebalance.fleet import FleetError
from benchmarks.rebalance.table import Figures
from benchmarks.tables import INTERRUPTED, first_words, hush, say, say_figures, show
from deploy.demo.stage import StageError
from deploy.local.brokers import DEFAULT_VERSION, BrokersUnavailable

EVENTS_EACH = 600
Rows = dict[str, list[Figures] | str]


def _counts(text: str) -> list[int]:
    counts = [int(each) if each.isdecimal() else 0 for each in text.split(",") if each]
    if 0 in counts:
        raise argparse.ArgumentTypeError(f"numbers separated by commas, or nothing, not {text!r}")
    return counts


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--sizes", type=_counts, default="4,20,50,100", help="processes of the real fleets"
    )
    parser.add_argument("--workers", default="ours,careful", help=f"of {', '.join(WORKERS)}")
    parser.add_argument("--simulated", type=_counts, default="4,20,50,100,1000", help="members")
    parser.add_argument("--kinds", default="ours,stock-sticky", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--idle-seconds", type=float, default=20.0)
    options = parser.parse_args()
    for name, known in (("workers", WORKERS), ("kinds", KINDS)):
        chosen = [each for each in getattr(options, name).split(",") if each]
        if unknown := [each for each in chosen if each not in known]:
            parser.error(f"unknown {name}: {', '.join(unknown)}")
        setattr(options, name, chosen)
    return options


def _real(
    here: Ground, starts: dict[str, Start | str], options: argparse.Namespace, rows: Rows
) -> None:
    for kind, start in starts.items():
        for processes in options.sizes:
            row = f"{kind}, {processes}"
            say(row)
            if isinstance(start, str):
                rows[row] = start
                continue
            events = processes * EVENTS_EACH // SLOW.get(kind, 1)
            size = Size(processes, PARTITIONS, events, options.idle_seconds)
            try:
                found = measure(here, start, size, f"{kind}-{processes}")
                rows[row] = [found]
                say_figures(row, found)
            except (FleetError, StageError) as error:
                rows[row] = first_words(error)


def _simulated(here: Ground, options: argparse.Namespace, rows: Rows) -> None:
    for kind in options.kinds:
        for members in options.simulated:
            row = f"{kind}, {members:,}"
            say(f"simulated: {row}")
            try:
                found = simulated.measure(here, kind, members, options.idle_seconds)
                rows[row] = [found]
                say_figures(row, found)
            except FleetError as error:
                rows[row] = first_words(error)


def main() -> int:
    """Print the tables; 3 when there are no brokers here."""
    options = _options()
    hush()
    real: Rows = {}
    simulated_rows: Rows = {}
    status = 0
    try:
        with TemporaryDirectory() as directory:
            starts = prepared(options.workers if options.sizes else [], Path(directory))
            with ground(PARTITIONS) as here:
                print(f"Kafka {DEFAULT_VERSION}, {os.cpu_count()} cores", flush=True)
                _real(here, starts, options, real)
                _simulated(here, options, simulated_rows)
    except (BrokersUnavailable, ReceiverError, StageError) as error:
        print(error, file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        say("interrupted: what there is so far")
        status = INTERRUPTED
    if real:
        show({f"{title}, by size": columns for title, columns in TABLES.items()}, real)
    if simulated_rows:
        title = "SIMULATED members (the group's protocol alone) on real brokers"
        show({title: simulated.COLUMNS}, simulated_rows)
    return status


if __name__ == "__main__":
    sys.exit(main())
