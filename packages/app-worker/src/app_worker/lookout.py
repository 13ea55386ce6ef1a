"""Looks at the lanes now and then: their lag, what they wait for, records that hold one up."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection
from typing import Protocol

from aiokafka import TopicPartition

from app_worker.admission import Admission
from app_worker.debug_state import PAUSES, pause_of
from app_worker.execution import Execution
from app_worker.head_of_line import stuck_head
from app_worker.lanes import Lanes
from app_worker.observability.metrics import WorkerMetrics

OBSERVE_SECONDS = 5.0
"""Between two looks."""

_log = logging.getLogger(__name__)


class Ends(Protocol):
    """The part of a consumer that knows where logs end."""

    def assignment(self) -> Collection[TopicPartition]:
        """What is assigned now."""

    def highwater(self, partition: TopicPartition) -> int | None:
        """The end of the log as the last fetch had it."""


class Lookout:
    """Sees to what is shown of one controller's lanes, and to stuck records."""

    def __init__(
        self,
        consumer: Ends,
        lanes: Lanes,
        execution: Execution,
        metrics: WorkerMetrics,
        group: str,
        tell_owned: Callable[[], None],
    ) -> None:
        self._consumer = consumer
        self._lanes = lanes
        self._execution = execution
        self._metrics = metrics
        self._name = group
        self._tell_owned = tell_owned

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(OBSERVE_SECONDS)
            self._look_for_stuck_heads()
            self._count_pauses()
            self._tell_owned()
            owned = self._consumer.assignment()
            for lane in self._lanes:
                here = lane.partition
                end = self._consumer.highwater(here) if here in owned else None
                reached = lane.tracker.committable
                if end is not None and reached is not None:
                    labels = (self._name, here.topic, str(here.partition))
                    self._metrics.lag_records.labels(*labels).set(max(0, end - reached))

    def forget(self, partition: TopicPartition) -> None:
        """It is not owned any more."""
        labels = (self._name, partition.topic, str(partition.partition))
        self._metrics.lag_records.labels(*labels)
        self._metrics.lag_records.remove(*labels)

    def _look_for_stuck_heads(self) -> None:
        now = asyncio.get_running_loop().time()
        stuck = [(lane, stuck_head(lane, now)) for lane in self._lanes]
        heads = [(lane, head) for lane, head in stuck if head is not None]
        self._metrics.stuck_heads.labels(self._name).set(len(heads))
        for lane, head in heads:
            record = head.arrival.record
            if lane.told_of == record.offset:
                continue
            lane.told_of = record.offset
            detail = {
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "set_aside": self._execution.set_aside(head.call),
            }
            _log.warning("one record keeps its partition from being committed", extra=detail)

    def _count_pauses(self) -> None:
        pauses = Counter(map(pause_of, self._lanes))
        for reason in PAUSES:
            self._metrics.paused_partitions.labels(self._name, reason).set(pauses[reason])


def show_limits(limits: Admission, metrics: WorkerMetrics) -> None:
    """What is in flight, by count, bytes and age."""
    clock = asyncio.get_running_loop().time

    def oldest_age() -> float:
        since = limits.oldest_since
        return 0.0 if since is None else clock() - since

    metrics.in_flight.set_function(lambda: limits.in_flight)
    metrics.in_flight_bytes.set_function(lambda: limits.bytes_in_flight)
    metrics.oldest_open_record_age.set_function(oldest_age)
