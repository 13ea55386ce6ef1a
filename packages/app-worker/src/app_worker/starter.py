"""Starts records: lane by lane in turn, each when its time has come and admission has a place."""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from functools import partial

from app_worker.admission import Admission, Slot, Source
from app_worker.execution import Execution
from app_worker.lanes import Arrival, Lane, Lanes, Running
from app_worker.observability.metrics import WorkerMetrics

LONGEST_ALARM_SECONDS = 30.0
"""A waiting head is looked at again after so long at the latest: the wall clock may jump."""


class Starter:
    """Runs the records of one controller's lanes, each as a task."""

    def __init__(
        self,
        lanes: Lanes,
        execution: Execution,
        admission: Admission,
        source: Source,
        metrics: WorkerMetrics,
        now: Callable[[], float],
        room: asyncio.Event,
    ) -> None:
        self.crashed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the exception of a record that failed where nothing may fail."""
        self._lanes = lanes
        self._execution = execution
        self._claimant = admission.claimant(source, self._start_soon)
        self._max_in_flight = admission.max_records
        self._records = metrics.records.labels(source.value)
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._room = room
        self._queue: deque[Lane] = deque()
        self._scheduled = False

    def offer(self, lane: Lane) -> None:
        """Something may be startable in this lane now."""
        if not lane.queued:
            lane.queued = True
            self._queue.append(lane)
        self._start_soon()

    def withdraw(self) -> None:
        """Lanes were stopped: claim no place for what they had."""
        self._start()

    def _start_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        self._scheduled = False
        self._execution.count()
        queue, now = self._queue, self._clock()
        # Half of all places at most are for one of several partitions: it may be a slow one.
        most = self._max_in_flight // 2 or 1 if len(self._lanes) > 1 else math.inf
        started = 0
        while queue:
            lane = queue[0]
            arrival = lane.head()
            if arrival is None or len(lane.running) >= most or self._must_wait(lane, arrival):
                queue.popleft()
                lane.queued = False
                continue
            slot = self._claimant.admit(arrival.size, now)
            if slot is None:
                break
            queue.rotate(-1)
            self._run(lane, lane.start_head(), slot)
            started += 1
        else:
            self._claimant.withdraw()
        if started:
            self._records.inc(started)
            self._room.set()

    def _must_wait(self, lane: Lane, arrival: Arrival) -> bool:
        record = arrival.record
        if not lane.admits(record.offset):
            return True
        return bool(record.not_before_ms) and self._waits(lane, arrival)

    def _waits(self, lane: Lane, arrival: Arrival) -> bool:
        seconds = arrival.seconds_left(self._now() * 1000, self._clock())
        if not seconds:
            return False
        if lane.alarm is None:
            loop = asyncio.get_running_loop()
            lane.alarm = loop.call_later(min(seconds, LONGEST_ALARM_SECONDS), self._alarm, lane)
        return True

    def _alarm(self, lane: Lane) -> None:
        lane.alarm = None
        self.offer(lane)

    def _run(self, lane: Lane, arrival: Arrival, slot: Slot) -> None:
        task = self._loop.create_task(self._execution.complete(arrival))
        lane.running[arrival.record.offset] = Running(arrival, task, slot)
        task.add_done_callback(partial(self._ended, lane, arrival, slot))

    def _ended(self, lane: Lane, arrival: Arrival, slot: Slot, task: asyncio.Task[None]) -> None:
        del lane.running[arrival.record.offset]
        self._claimant.release(slot)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            # It counts in the lane that it started in, and only a lane alive is ever committed.
            lane.tracker.complete(arrival.record.offset)
            self._room.set()
            self.offer(lane)
        elif not self.crashed.done():
            self.crashed.set_exception(error)
