"""`make demo`: the whole way of a webhook on real brokers, with a pod killed in the middle.

It leaves nothing running and no files, whatever ends it; see `settings` for what can be set.
"""

import signal

if __name__ == "__main__":
    # Ctrl-C while the rest is imported, for a second: the end, and no traceback out of an import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

from aiokafka.errors import KafkaError

from app_worker.errors import EnvironmentProblems
from deploy.demo.observe import ClusterView
from deploy.demo.play import Play, PlayError
from deploy.demo.pods import Pod, PodError
from deploy.demo.progress import Display
from deploy.demo.receipts import ReceiptTail
from deploy.demo.report import Run, broken_promises, table, verdict
from deploy.demo.settings import DemoSettings, DemoSettingsError
from deploy.demo.stage import (
    PARTITIONS,
    SCHEDULE,
    SESSION_MS,
    Stage,
    StageError,
    bootstrap_servers,
    cleared_afterwards,
    place_pods,
    set_stage,
)
from deploy.demo.traffic import Traffic
from deploy.local.brokers import DEFAULT_VERSION, BrokersUnavailable
from deploy.local.guard import Guard
from deploy.local.scratch import roomy_memory
from kafka_utils import KafkaUtilsError, create_producer

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PRODUCER_STOP_SECONDS = 5.0
LOOK_AROUND = ("KAFKA_", "WEBHOOK_")

T = TypeVar("T")


class Interrupted(BaseException):
    """A signal asked for the end; like KeyboardInterrupt it is for nobody but `main` to handle."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def main() -> int:
    """Run the demo; 0: the promise held, 1: it did not, 2: wrong settings, 128 + n: signal n."""
    display = Display()
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    began = time.monotonic()
    try:
        settings = DemoSettings.from_environment(os.environ)
        status = _demo(settings, display)
    except (DemoSettingsError, EnvironmentProblems) as error:
        print(error, file=sys.stderr)
        return 2
    except (BrokersUnavailable, StageError, KafkaUtilsError, KafkaError) as error:
        print(error, file=sys.stderr)
        return 1
    except Interrupted as interruption:
        display.say(
            f"{interruption}: everything that was started is stopped, its files are removed."
        )
        return 128 + interruption.number
    except BrokenPipeError:
        # Nobody reads on; nor shall the interpreter complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    display.say(f"Nothing of it is left running. {time.monotonic() - began:.0f} s in all.")
    return status


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)  # cleaning up takes its time, but not long
    raise Interrupted(number)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run, but a signal cancels only the work: what it has begun it ends in order."""

    async def until_interrupted() -> T:
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        interruptions: list[int] = []

        def interrupt(number: int) -> None:
            if not interruptions:
                interruptions.append(number)
                task.cancel()

        for number in SIGNALS:
            loop.add_signal_handler(number, interrupt, number)
        try:
            return await task
        except asyncio.CancelledError:
            if interruptions:
                _interrupt(interruptions[0], None)
            raise
        finally:
            for number in SIGNALS:
                handler = signal.SIG_IGN if interruptions else _interrupt
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    return asyncio.run(until_interrupted())


def _demo(settings: DemoSettings, display: Display) -> int:
    _introduce(settings, display)
    with Guard() as guard:
        directory = Path(tempfile.mkdtemp(prefix="webhook-demo-", dir=roomy_memory()))
        guard.remove(directory)
        with bootstrap_servers(settings, display, guard, directory) as servers:
            stage = set_stage(settings, display, guard, directory, servers)
            pods = place_pods(stage)
            with cleared_afterwards(stage, pods):
                return _perform(stage, pods)


def _introduce(settings: DemoSettings, display: Display) -> None:
    where = (
        f"the cluster at {settings.bootstrap_servers}"
        if settings.bootstrap_servers
        else f"Kafka {settings.kafka_version or DEFAULT_VERSION}, three brokers on this machine"
    )
    display.say(
        f"""\
The way of a webhook, on {where}:
{settings.pods} pods x {settings.processes} workers under supervisord, {PARTITIONS} partitions,
{settings.rate} events/s for {settings.seconds} s or more, and a pod killed in the middle.

Set for the demo: a session of {SESSION_MS // 1000} s (so long nobody takes over from a killed
worker; the default is 60 s) and the retry schedule {SCHEDULE} (the default reaches over days).
Partitions that stay with their worker go on in a rebalance: the longest silence in the table
at the end shows what is left of it.
"""
    )


def _perform(stage: Stage, pods: Sequence[Pod]) -> int:
    try:
        run = _run(_play(stage, pods))
    except (PlayError, PodError, KafkaError) as error:
        stage.display.say(f"The demo could not be played to its end: {error}")
        stage.display.say(f"The logs are kept in {_keep_logs(stage)}")
        return 1
    except BrokenPipeError:
        raise
    except Exception:
        stage.display.say(f"A fault of the demo itself; the logs are kept in {_keep_logs(stage)}")
        raise
    broken = broken_promises(run)
    for line in ["", *table(run), "", *verdict(run), ""]:
        stage.display.say(line)
    if stage.settings.keep:
        _look_around(stage, pods)
    if broken:
        stage.display.say(f"The logs and the ledger are kept in {_keep_logs(stage)}")
    return 1 if broken else 0


async def _play(stage: Stage, pods: Sequence[Pod]) -> Run:
    began = time.monotonic()
    for pod in pods:
        pod.start()
    producer = create_producer(stage.kafka.producer_config())
    async with ClusterView(stage.kafka, stage.topic) as view:
        await producer.start()
        try:
            play = Play(
                stage.settings,
                display=stage.display,
                view=view,
                pods=pods,
                traffic=Traffic(producer, stage.topic, PARTITIONS, stage.endpoints),
                tail=ReceiptTail(stage.ledger),
                partitions=PARTITIONS,
                dead_letter_topic=stage.environment["WEBHOOK_DEAD_LETTER_TOPIC"],
            )
            await play.until_ready()
            stage.display.say(
                f"{stage.settings.workers} workers are ready and own {PARTITIONS} partitions, "
                f"after {time.monotonic() - began:.1f} s. Events begin to flow."
            )
            return await play.run()
        finally:
            async with asyncio.timeout(PRODUCER_STOP_SECONDS):
                await producer.stop()


def _keep_logs(stage: Stage) -> Path:
    kept = Path(tempfile.mkdtemp(prefix="webhook-demo-logs-"))
    shutil.copytree(stage.logs, kept, dirs_exist_ok=True)
    for log in (stage.directory / "brokers").glob("*.log"):
        shutil.copy(log, kept)
    return kept


def _look_around(stage: Stage, pods: Sequence[Pod]) -> None:
    """Say what there is to see, and wait for a signal."""
    shown = sorted(name for name in stage.environment if name.startswith(LOOK_AROUND))
    for line in (
        "KEEP=1: everything is left up. In another terminal:",
        *(f"  export {name}={stage.environment[name]}" for name in shown),
        *(
            f"  {pod.name}: http://127.0.0.1:{pod.ports[0]}/metrics, and so on to {pod.ports[-1]}"
            for pod in pods
        ),
        f"  logs and the receiver's ledger: {stage.logs}",
        "  .venv/bin/webhook-worker send --customer acme --type order.paid --count 10",
        "Ctrl-C stops it all and removes its files.",
    ):
        stage.display.say(line)
    try:
        while True:
            time.sleep(3600)
    except Interrupted:
        return


if __name__ == "__main__":
    sys.exit(main())
