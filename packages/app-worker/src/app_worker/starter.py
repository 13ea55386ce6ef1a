"""Starts records: lane by lane in turn, each when its time has come and admission has a place."""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial

from app_worker.admission import Admission, Source
from app_worker.arrival import Arrival
from app_worker.execution import Blocked, Execution
from app_worker.lanes import Lane, Lanes, Running
from app_worker.loop_clock import loop_clock
from app_worker.observability.metrics import WorkerMetrics
from app_worker.owing import Owing
from app_worker.time_limit import Call

AT_ONCE = 8
"""Tasks that are begun in one turn of the loop. Each goes on with the next record by itself, so of
records that are complete at once a few tasks take all, and of others all are soon begun."""

SLICE_SECONDS = 0.001
"""How long records that are complete at once may follow each other in one turn of the loop."""

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
        owing: Owing,
    ) -> None:
        self.crashed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the exception of a record that failed where nothing may fail."""
        self._lanes = lanes
        self._execution = execution
        self._claimant = admission.claimant(source, self._start_soon)
        self._half = admission.max_records // 2 or 1
        self._records = metrics.records.labels(source.value)
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._clock = loop_clock()
        self._room = room
        self._owing = owing
        self._context = copy_context()
        self._queue: deque[Lane] = deque()
        self._scheduled = False
        self._uncounted = 0
        self._slice_ends = 0.0
        self._turns = 0
        """Turns of the loop in which records were started."""

    def begin(self) -> None:
        """Records are handled in the context of whoever calls this, each in a copy of its own."""
        self._context = copy_context()

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
        self._turns += 1
        self._execution.count()
        now = self._clock()
        self._slice_ends = now + SLICE_SECONDS
        for _ in range(AT_ONCE):
            running = Running()
            if not self._next(running, now):
                break
            # A handler may have left something in the context of who asked for this.
            task = self._loop.create_task(self._work(running), context=self._context.copy())
            running.call = Call(task)
            task.add_done_callback(partial(self._ended, running))
        else:
            self._start_soon()
        if self._uncounted:
            self._records.inc(self._uncounted)
            self._uncounted = 0
            self._room.set()

    def _next(self, running: Running, now: float) -> bool:
        """Take the next record that may start into work, if there is one."""
        queue = self._queue
        # Half of all places at most are for one of several partitions: it may be a slow one.
        most = self._half if len(self._lanes) > 1 else math.inf
        while queue:
            lane = queue[0]
            arrival = lane.head()
            if (
                arrival is None
                or len(lane.running) >= most
                or not lane.admits(arrival.record.offset)
                or (arrival.record.not_before_ms and self._waits(lane, arrival))
            ):
                queue.popleft()
                lane.queued = False
                continue
            slot = self._claimant.admit(arrival.size, now)
            if slot is None:
                return False
            queue.rotate(-1)
            running.begin(lane, slot)
            self._uncounted += 1
            return True
        self._claimant.withdraw()
        return False

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

    async def _work(self, running: Running) -> None:
        """Complete a record, and then the next one, as long as any may start.

        A task for each would cost as much as the rest of its way.
        """
        context = self._context
        while True:
            turn = self._turns
            blocked = await self._execution.complete(running)
            if blocked is None:
                self._completed(running)
            else:
                self._blocked(running, blocked)
            # Who waits for what a stopped lane has in work waits for its tasks; and what a handler
            # leaves behind in its context is not for the next record to find.
            if running.lane.stopped:
                if running.lane.release is not None:
                    self._owing.stored(running)
                return
            if _differs(context):
                return
            now = self._clock()
            # A record that waited has let the loop turn meanwhile.
            if now > self._slice_ends and turn == self._turns:
                return
            if not self._next(running, now):
                return

    def _completed(self, running: Running) -> None:
        running.end()
        self._claimant.release(running.slot)
        # It counts in the lane that it started in, and only a lane alive is ever committed.
        running.lane.complete(running.arrival)
        self._room.set()
        self.offer(running.lane)

    def _blocked(self, running: Running, blocked: Blocked) -> None:
        running.end()
        self._claimant.release(running.slot)
        blocked.lane.block(running.arrival, blocked.block)
        self._room.set()
        self.offer(blocked.lane)

    def _ended(self, running: Running, task: asyncio.Task[None]) -> None:
        if running.end():
            self._claimant.release(running.slot)
            if running.lane.release is not None:
                self._owing.without_outcome(running)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not self.crashed.done():
            self.crashed.set_exception(error)


def _differs(context: Context) -> bool:
    """Whether the current context is another; one with values that cannot be compared is."""
    try:
        return copy_context() != context
    except Exception:
        return True
