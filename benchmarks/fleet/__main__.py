"""A whole fleet on this machine: how soon it is ready, what it costs idle, how fast it delivers.

``python -m benchmarks.fleet`` (100 processes, 60,000 events), ``--workers all`` for every peer;
``--processes 4 --events 2000 --idle-seconds 5`` for a look of a minute.
"""

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.fleet import promises
from benchmarks.fleet.environments import PeerUnavailableError
from benchmarks.fleet.ground import Ground, ground
from benchmarks.fleet.measured import TABLES, Size, measure
from benchmarks.fleet.receiver import ReceiverError
from benchmarks.fleet.workers import SLOW, WORKERS, Start
from benchmarks.rebalance.fleet import FleetError
from benchmarks.rebalance.table import Figures
from benchmarks.tables import INTERRUPTED, first_words, hush, say, say_figures, show
from deploy.demo.stage import StageError
from deploy.local.brokers import DEFAULT_VERSION, BrokersUnavailable

PARTITIONS = 100


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fleet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--processes", type=int, default=100)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--idle-seconds", type=float, default=30.0)
    parser.add_argument(
        "--workers", default="ours,careful", help=f"all, or of {', '.join(WORKERS)}"
    )
    parser.add_argument("--kafka", default=DEFAULT_VERSION, help="version of the brokers")
    options = parser.parse_args()
    options.workers = list(WORKERS) if options.workers == "all" else options.workers.split(",")
    unknown = [each for each in options.workers if each not in WORKERS]
    if unknown:
        parser.error(f"unknown workers: {', '.join(unknown)}")
    return options


def _measure_all(
    here: Ground,
    starts: dict[str, Start | str],
    options: argparse.Namespace,
    rows: dict[str, list[Figures] | str],
) -> None:
    """Each worker in turn, so often; what fails leaves the others alone."""
    for kind, start in starts.items():
        rows[kind] = start if isinstance(start, str) else []
    for turn in range(options.repeat):
        for kind, start in starts.items():
            row = rows[kind]
            if isinstance(start, str) or isinstance(row, str):
                continue
            size = Size(
                options.processes,
                PARTITIONS,
                options.events // SLOW.get(kind, 1),
                options.idle_seconds,
            )
            say(f"{kind}, {turn + 1} of {options.repeat}")
            try:
                row.append(measure(here, start, size, f"{kind}-{turn}"))
                say_figures(kind, row[-1])
            except (FleetError, StageError) as error:
                say(f"{kind} failed: {error}")
                rows[kind] = first_words(error)


def prepared(kinds: list[str], directory: Path) -> dict[str, Start | str]:
    """How each is started, or why it is not there."""
    starts: dict[str, Start | str] = {}
    for kind in kinds:
        say(f"preparing {kind}")
        try:
            starts[kind] = WORKERS[kind](directory)
        except PeerUnavailableError as error:
            starts[kind] = str(error)
    return starts


def main() -> int:
    """Print the tables; 3 when there are no brokers here."""
    options = _options()
    hush()
    rows: dict[str, list[Figures] | str] = {}
    status = 0
    try:
        with TemporaryDirectory() as directory:
            starts = prepared(options.workers, Path(directory))
            with ground(PARTITIONS, options.kafka) as here:
                print(
                    f"{options.processes} processes, a backlog of {options.events:,} events in "
                    f"{PARTITIONS} partitions, Kafka {options.kafka}, {os.cpu_count()} cores, "
                    f"medians of {options.repeat}",
                    flush=True,
                )
                _measure_all(here, starts, options, rows)
    except (BrokersUnavailable, ReceiverError, StageError) as error:
        print(error, file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        say("interrupted: what there is so far")
        status = INTERRUPTED
    show(TABLES, rows)
    print("\nPromised of 100 processes:\n\n" + "\n".join(promises.judged(rows)))
    return status


if __name__ == "__main__":
    sys.exit(main())
