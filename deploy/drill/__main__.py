"""`make drill`: what a fleet goes through in its life, on real brokers, with a ledger.

It leaves nothing running; the picture and, if a promise did not hold, the logs are kept.
"""

import signal

if __name__ == "__main__":
    # Ctrl-C while the rest is imported, for a second: the end, and no traceback out of an import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import asyncio
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

from aiokafka.errors import KafkaError

from deploy.demo.stage import PARTITIONS, StageError, create_topics
from deploy.drill.playing import Ground, Told, played_through
from deploy.drill.report import broken_promises, table
from deploy.drill.settings import DrillSettings, DrillSettingsError
from deploy.drill.stage import start_customers, workers_environment, write_endpoints
from deploy.local.brokers import DEFAULT_VERSION, BrokersUnavailable, Cluster
from deploy.local.guard import Guard
from deploy.local.scratch import roomy_memory

LONG_SECONDS = 8.0


def main() -> int:
    """Play it; 0: every promise held, 1: one did not, 2: wrong settings, 128 + n: signal n."""
    try:
        settings = DrillSettings.from_environment(os.environ)
    except DrillSettingsError as error:
        print(error, file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with Guard() as guard:
        directory = Path(tempfile.mkdtemp(prefix="webhook-drill-", dir=roomy_memory()))
        guard.remove(directory)
        logs = directory / "logs"
        logs.mkdir()
        logging.basicConfig(filename=logs / "drill.log", level=logging.WARNING)
        try:
            return _drill(settings, guard, directory, logs)
        except (BrokersUnavailable, StageError, KafkaError) as error:
            kept = shutil.copytree(logs, _place_to_keep(), dirs_exist_ok=True)
            print(f"The drill could not be begun: {error}\nThe logs are in {kept}")
            return 1
        except KeyboardInterrupt:
            print("The drill was stopped before it began.")
            return 128 + signal.SIGINT


def _place_to_keep() -> Path:
    return Path(tempfile.mkdtemp(prefix="webhook-drill-"))


def _drill(settings: DrillSettings, guard: Guard, directory: Path, logs: Path) -> int:
    print(
        f"The drill: {', '.join(settings.steps)}. Ctrl-C ends it, with the table of what was "
        "played.\nThe brokers are being started; the first time, Kafka's jars are fetched before.",
        flush=True,
    )
    cluster = Cluster(
        settings.kafka_version or DEFAULT_VERSION,
        directory=directory / "brokers",
        # Kafka's own defaults, because rebalances are judged.
        offsets_partitions=50,
        rebalance_delay_ms=3_000,
        guard=guard,
    )
    with cluster:
        environment = workers_environment(cluster.bootstrap_servers, directory)
        ledger = directory / "ledger"
        write_endpoints(directory, start_customers(guard, logs, ledger, LONG_SECONDS))
        create_topics(environment, ["--partitions", str(PARTITIONS)])
        print(
            f"Kafka {cluster.version}, {settings.pods} pods x {settings.processes} workers, "
            f"{' and '.join(settings.memberships)} members, {settings.rate} events/s, "
            f"1 % of which take {LONG_SECONDS:g} s",
            flush=True,
        )
        ground = Ground(settings, guard, logs, environment, cluster, ledger)
        told = asyncio.run(played_through(ground))
    return told_of(told, logs, _place_to_keep())


def told_of(told: Told, logs: Path, kept: Path) -> int:
    """Print what came of it, and keep what is worth it; the exit status."""
    (kept / "timeline.svg").write_text(told.picture)
    shown = table(told.rows) if told.rows else ["No step was played to its end."]
    print("\n".join(["", *shown, ""]))
    if told.signal:
        print(f"The drill was {told.cut_short}; what was in flight then counts as lost.")
        print(f"The picture is {kept / 'timeline.svg'}")
        return 128 + told.signal
    broken = broken_promises(told.rows, told.lost)
    if told.cut_short:
        broken.append(f"The drill could not be played to its end: {told.cut_short}")
    print("\n".join(broken) if broken else "Every promise held.")
    if broken:
        shutil.copytree(logs, kept, dirs_exist_ok=True)
    print(f"The picture is {kept / 'timeline.svg'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
