"""Puts a controller among scripted parts."""

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from app_worker.admission import Admission, Source
from app_worker.controller import (
    Controller,
    ControllerSettings,
    Subscription,
)
from app_worker.delays import DelaySchedule
from app_worker.handover.needs import Words
from app_worker.observability.metrics import WorkerMetrics
from app_worker.offset_map import Scope
from app_worker.ordered_lane import OrderedLanes
from app_worker.parked_headers import fresh, unpark, unqueue
from app_worker.parking import Parking
from app_worker.send_gate import SendGate
from app_worker.share import Share
from scripted.consumer import Message, ScriptedConsumer, message
from scripted.handler import ScriptedHandler, ScriptedProducer

EPOCH = 1_700_000_000.0
SCOPE = Scope("cluster", "group")
READ = {Source.FRESH: fresh, Source.PARKED: unpark, Source.ORDERED: unqueue}
A, B = TopicPartition("t", 0), TopicPartition("t", 1)


def wall_clock() -> float:
    return EPOCH + asyncio.get_running_loop().time()


class Bench:
    """A controller with everything around it scripted."""

    def __init__(
        self,
        handler: ScriptedHandler | None = None,
        *,
        limits: Admission | None = None,
        share: Share | None = None,
        words: Words | None = None,
        beside: "Bench | None" = None,
        **settings: Any,
    ) -> None:
        """``words`` is the way to the hand-over topic. ``beside`` is another worker of the group:
        they see the same logs and the same committed offsets."""
        self.consumer = ScriptedConsumer()
        if beside is not None:
            self.consumer.share_with(beside.consumer)
        self.gate = SendGate(asyncio.get_running_loop().time)
        self.producer = ScriptedProducer()
        self.handler = handler or ScriptedHandler()
        self.registry = CollectorRegistry()
        metrics = WorkerMetrics(self.registry)
        schedule = DelaySchedule.parse("t", "5s,1m")
        defaults = {"handler_timeout_seconds": 20.0, "drain_timeout_seconds": 25.0}
        made = ControllerSettings(**(defaults | settings))
        self.controller = Controller(
            consumer=self.consumer,  # type: ignore[arg-type]
            committed=self.consumer.committed_offsets,
            handler=self.handler,
            parking=Parking(
                self.producer,
                schedule,
                "t.dead",
                metrics,
                now=wall_clock,
                jitter=lambda: 0.0,
                ordered_topic="t.line",
            ),
            limits=limits or Admission(100, 10_000),
            settings=made,
            metrics=metrics,
            scope=SCOPE,
            read=READ[made.source],
            share=share,
            words=words,
            gate=self.gate,
            lanes=OrderedLanes("group", metrics, now=wall_clock, jitter=lambda: 0.0)
            if made.source is Source.ORDERED
            else None,
            now=wall_clock,
            clock=asyncio.get_running_loop().time,
        )

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"worker_{name}", labels) or 0.0

    @asynccontextmanager
    async def running(self) -> Any:
        run = asyncio.create_task(self.controller.run(Subscription(topics=("t",))))
        await asyncio.sleep(0)
        try:
            yield run
            self.controller.stop()
            await run
        finally:
            run.cancel()


async def soon() -> None:
    """Long enough for everything that waits for nothing, shorter than any pause."""
    await asyncio.sleep(0.004)


def queued(
    partition: TopicPartition,
    offset: int,
    key: bytes,
    delivery: bytes = b"endpoint-1",
    value: bytes = b"v",
) -> Message:
    """A record of the ordered topic, put there when the clock began."""
    headers = {
        "worker-attempts": b"0",
        "worker-queued": b"%d" % round(EPOCH * 1000),
        "worker-origin": b"t:0:%d" % offset,
        "worker-origin-timestamp": b"1",
        "worker-delivery": delivery,
    }
    return message(partition, offset, value, key=key, headers=tuple(headers.items()))


def parked(
    partition: TopicPartition,
    offset: int,
    seconds: float,
    *,
    at: float = 0.0,
    more: Mapping[str, bytes] = MappingProxyType({}),
) -> Message:
    """A record that was stored at one time and is to be handled at a later one."""
    headers = {
        "worker-attempts": b"1",
        "worker-not-before": b"%d" % round((EPOCH + seconds) * 1000),
        "worker-origin": b"t:0:7",
        "worker-origin-timestamp": b"1",
        "worker-delivery": b"endpoint-1",
    }
    merged = tuple((headers | dict(more)).items())
    return message(partition, offset, headers=merged, timestamp=round((EPOCH + at) * 1000))
