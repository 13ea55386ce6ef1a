"""A pod of app-worker's controllers, which hand partitions over or drain them."""

import asyncio
import signal
import sys
import time
from contextlib import AsyncExitStack
from functools import partial

from prometheus_client import CollectorRegistry

from app_worker import DelaySchedule, Done, KafkaSettings, Outcome, Record, WorkerSettings
from app_worker.admission import Admission
from app_worker.clients import connected
from app_worker.controller import Controller, ControllerSettings, Subscription
from app_worker.environment import load
from app_worker.handover.needs import Words
from app_worker.handover.words import handover_topic
from app_worker.handover_topic.kept import Asked, kept_words
from app_worker.observability.metrics import WorkerMetrics
from app_worker.offset_map import Scope
from app_worker.parking import Parking
from app_worker.positions import committed_in
from app_worker.renewable_producer import RenewableProducer
from benchmarks.rebalance.arguments import Arguments
from benchmarks.rebalance.notes import Kind, Note, Notebook
from benchmarks.rebalance.work import PAYLOAD
from kafka_utils import ConsumerEvents, TopicSpec, create_consumer, create_producer
from kafka_utils.events import Loss, Revocation

HANDS_OVER = {"worker": "on", "worker-drain": "off"}
WORDS_PARTITIONS = 12
WORDS_MS = 14 * 86_400_000


class Noted(ConsumerEvents):
    """What is done to one member, and the work of a record: to wait as long as it says."""

    def __init__(self, notebook: Notebook, number: int) -> None:
        self._notebook = notebook
        self._number = number

    def revoked(self, revocation: Revocation) -> None:
        """Partitions were given up in order."""
        for here in revocation.partitions:
            self._note(Kind.REVOKED, here.partition)

    def lost(self, loss: Loss) -> None:
        """Partitions were lost."""
        for here in loss.partitions:
            self._note(Kind.LOST, here.partition)

    async def handle(self, record: Record) -> list[Outcome]:
        """As the controller calls it."""
        produced_ns, work_us = PAYLOAD.unpack(record.value or b"")
        self._note(Kind.BEGAN, record.partition, record.offset, produced_ns)
        await asyncio.sleep(work_us / 1e6)
        return [Done()]

    def _note(self, kind: Kind, partition: int, offset: int = 0, produced_ns: int = 0) -> None:
        now = time.monotonic_ns()
        self._notebook.note(Note(kind, self._number, partition, offset, produced_ns, now))


def settings_of(arguments: Arguments, number: int) -> tuple[KafkaSettings, WorkerSettings]:
    """What one member is told."""
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": arguments.servers,
        "KAFKA_GROUP_ID": arguments.group,
        "KAFKA_CLIENT_ID": f"{arguments.pod}-{number}",
        "KAFKA_SESSION_TIMEOUT_MS": str(arguments.session_ms),
        "KAFKA_HEARTBEAT_INTERVAL_MS": str(arguments.heartbeat_ms),
        "KAFKA_REBALANCE_TIMEOUT_MS": str(arguments.rebalance_ms),
        "WORKER_MAX_IN_FLIGHT": str(arguments.slots),
        "WORKER_HANDOVER": HANDS_OVER[arguments.client],
    }
    return load(KafkaSettings, environ), load(WorkerSettings, environ)


async def controller(
    arguments: Arguments, number: int, noted: Noted, words: Words, stack: AsyncExitStack
) -> Controller:
    """One member; nothing is ever parked."""
    kafka, worker = settings_of(arguments, number)
    metrics = WorkerMetrics(CollectorRegistry())
    config = kafka.consumer_config(revoke_timeout_ms=worker.drain_timeout_ms)
    producer = RenewableProducer(lambda: create_producer(kafka.producer_config()))
    schedule = DelaySchedule.parse(arguments.topic, "1h")
    async with kafka.admin() as admin:
        cluster_id = await admin.cluster_id()
    return Controller(
        consumer=await stack.enter_async_context(connected(lambda: create_consumer(config, noted))),
        committed=partial(committed_in, config.group_id, kafka.admin),
        handler=noted,
        parking=Parking(producer, schedule, f"{arguments.topic}.dead", metrics),
        limits=Admission(worker.max_in_flight, worker.max_in_flight_bytes),
        settings=ControllerSettings(
            handler_timeout_seconds=worker.handler_timeout_seconds,
            drain_timeout_seconds=worker.drain_timeout_seconds,
        ),
        metrics=metrics,
        scope=Scope(cluster_id, config.group_id),
        words=words,
    )


async def run(arguments: Arguments) -> None:
    """Run the pod until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    notebook = Notebook(arguments.notes)
    kafka, worker = settings_of(arguments, 0)
    spec = TopicSpec(
        name=handover_topic(arguments.topic),
        partitions=WORDS_PARTITIONS,
        replication=3,
        configs={"retention.ms": str(WORDS_MS)},
    )
    async with kafka.admin() as admin:
        await admin.create([spec])
    if arguments.idle:
        await stopping.wait()
        return
    asked = Asked(topic=arguments.topic, create_command="", kafka=kafka, worker=worker)
    async with AsyncExitStack() as stack:
        words = await stack.enter_async_context(
            kept_words(asked, WorkerMetrics(CollectorRegistry()))
        )
        controllers = [
            await controller(arguments, number, Noted(notebook, number), words, stack)
            for number in range(arguments.members)
        ]
        subscription = Subscription(topics=(arguments.topic,))
        runs = [asyncio.create_task(each.run(subscription)) for each in controllers]
        end = asyncio.create_task(stopping.wait())
        await asyncio.wait([end, *runs], return_when=asyncio.FIRST_COMPLETED)
        end.cancel()
        for each in controllers:
            each.stop()
        await asyncio.gather(*runs)


if __name__ == "__main__":
    asyncio.run(run(Arguments.parse(sys.argv[1:])))
