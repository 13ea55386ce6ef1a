"""State per assigned partition: what was fetched, what runs, what may be committed."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator

from aiokafka import TopicPartition

from app_worker.admission import Slot
from app_worker.arrival import Arrival
from app_worker.handover import Release, Standing
from app_worker.held_records import HeldRecords, with_one_more
from app_worker.offset_map import SURE_HELD, SURE_SPAN, Runs, admits
from app_worker.offset_tracker import OffsetTracker
from app_worker.time_limit import Call
from app_worker.turns import Turns

LANE_BUFFER_RECORDS = 100
"""A lane asks for more records while fewer than these wait in it."""

LANE_SPAN_RECORDS = 5_000
"""A lane asks for no more while so many were delivered from its oldest open record on.

It bounds what is delivered again after a crash behind a record that takes very long.
"""


class Running:
    """What a task has in work: one record after the other."""

    __slots__ = ("arrival", "call", "lane", "slot")

    def __init__(self) -> None:
        self.lane: Lane
        self.arrival: Arrival
        self.slot: Slot
        self.call: Call
        """Of the handler; one after the other too."""

    def begin(self, lane: "Lane", slot: Slot) -> None:
        """Take the head of a lane into work. Raises IndexError if nothing waits there."""
        self.lane, self.slot = lane, slot
        arrival = self.arrival = lane.start_head()
        lane.running[arrival.record.offset] = self

    def end(self) -> bool:
        """Have it in work no longer; return whether it was."""
        in_work = self.lane.running
        offset = self.arrival.record.offset
        if in_work.get(offset) is not self:
            return False
        del in_work[offset]
        return True

    @property
    def since(self) -> float:
        """When the record began, on the loop's clock, in seconds."""
        return self.slot.since


class Lane:
    """One assignment of one partition. A later assignment of the same partition is another lane."""

    most_span = LANE_SPAN_RECORDS
    """So many records are delivered from the oldest open one on at most."""

    def __init__(self, partition: TopicPartition, epoch: int, position: int | None = None) -> None:
        self.partition = partition
        self.epoch = epoch
        self.tracker = OffsetTracker(position)
        self.committed: tuple[int, int] | None = None
        """What this lane has committed, as the offset and how many records were complete then;
        None if nothing yet."""
        self.recalled = False
        """Whether it is known what was complete when this assignment began."""
        self.running: dict[int, Running] = {}
        """What is in work, by its offset."""
        self.held: HeldRecords | None = None
        """What a former owner may still finish; None if nothing is held."""
        self.release: Release | None = None
        """By which it is handed over; None before that."""
        self.maps_sent: list[tuple[int, str]] = []
        """Offset and metadata of each commit that was sent while it is handed over."""
        self.stopped = False
        """A stopped lane takes no records and starts none."""
        self.told_of: int | None = None
        """The offset of the stuck head that was told of."""
        self.positioning = False
        """Whether it is being found out where the partition is to be read from."""
        self.log_end: int | None = None
        """As the leader has it, while a fetch has told of less; None while that is not needed."""
        self.queued = False
        """Whether the lane stands in the queue of those that may start a record."""
        self.alarm: asyncio.TimerHandle | None = None
        """Goes off when the time of the head has come."""
        self.buffered_bytes = 0
        self._buffered: deque[Arrival] = deque()
        self._complete_before: deque[tuple[int, int]] = deque()
        self._turns: Turns | None = None
        self._recalled = (0, 0)
        """How many runs were recalled, and where the last one ends."""

    @property
    def readable(self) -> bool:
        """Whether what the consumer hands over for this partition belongs in this lane."""
        return not (self.stopped or self.positioning)

    @property
    def standing(self) -> Standing:
        """Where this worker stands with the partition while the lane is alive."""
        if not self.recalled:
            return Standing.LOADING
        return Standing.ACTIVE if self.release is None else Standing.SENT

    def recall(
        self, complete: Runs, committed: int | None = None, held: HeldRecords | None = None
    ) -> None:
        """These were complete or held when this assignment began, and so much was committed.

        To be called once, before anything is taken.
        """
        self.recalled = True
        self.held = held
        if committed is not None:
            self.committed = (committed, 0)
        if complete:
            self._complete_before.extend(complete)
            self._recalled = (len(complete), complete[-1][1])

    def forget(self) -> None:
        """What was recalled is not so, or of other records: nothing was complete before."""
        self.recalled = True
        self._complete_before.clear()
        self._recalled = (0, 0)
        if self.held is not None:
            self._put_back(self.held.let_all_go())
            self.held = None

    @property
    def recalled_end(self) -> int:
        """Behind the last offset that was recalled and is not read yet; 0 if there is none."""
        return self._recalled[1] if self._complete_before else 0

    def take(self, arrivals: Iterable[Arrival]) -> int:
        """Records came, in the order of the log; they are open from now on.

        Return how many of them were complete before, and so are at once.
        """
        before = 0
        held = self.held
        for arrival in arrivals:
            offset = arrival.record.offset
            self.tracker.open(offset)
            if self._complete_before and self._was_complete(offset):
                self.tracker.complete(offset)
                before += 1
                continue
            if held is not None and offset in held:
                held.keep(arrival)
                continue
            self.buffered_bytes += arrival.size
            self._buffered.append(arrival)
        if held is not None:
            self._pass_gone()
        return before

    def settle(self, offsets: Iterable[int]) -> None:
        """Of what was held these are complete: a former owner has told."""
        position = self.tracker.position
        for offset in offsets:
            if self.held is not None and self.held.let_go(offset) is not None:
                self.tracker.complete(offset)
            elif position is None or offset >= position:
                # It will be when it comes.
                self._complete_before = deque(with_one_more(self._complete_before, offset))
                runs, end = self._recalled
                self._recalled = (runs + 1, max(end, offset + 1))
        self._look_for_holds()

    def open_up(self, offsets: Iterable[int]) -> None:
        """What was held is to be handled here; what has not come yet is when it comes."""
        if self.held is not None:
            let_go = [self.held.let_go(offset) for offset in offsets]
            self._put_back([arrival for arrival in let_go if arrival is not None])
        self._look_for_holds()

    def _pass_gone(self) -> None:
        """End the holds of records that the log does not have any more."""
        if self.held is not None and self.tracker.position is not None:
            self.held.pass_gone(self.tracker.position)
            self._look_for_holds()

    def _look_for_holds(self) -> None:
        if self.held is not None and not len(self.held):
            self.held = None

    def _put_back(self, arrivals: Collection[Arrival]) -> None:
        """Into the buffer, in the order of the log."""
        self.buffered_bytes += sum(arrival.size for arrival in arrivals)
        merged = sorted((*arrivals, *self._buffered), key=lambda each: each.record.offset)
        self._buffered = deque(merged)

    def complete_runs(self) -> Runs:
        """What is complete above the committable offset, also what was and was not read yet."""
        runs = self.tracker.completed_runs() if self.tracker.out_of_order else []
        position = self.tracker.position or 0
        for start, end in self._complete_before:
            if end > position:
                first = max(start, position)
                if runs and runs[-1][1] == first:
                    first = runs.pop()[0]
                runs.append((first, end))
        return runs

    def _was_complete(self, offset: int) -> bool:
        runs = self._complete_before
        while runs and runs[0][1] <= offset:
            runs.popleft()
        return bool(runs) and runs[0][0] <= offset

    def admits(self, offset: int) -> bool:
        """Whether a record may be started without the map of any commit becoming too large.

        What is in work may have to be held in one, beside what is held already.
        """
        base, running = self.tracker.committable, len(self.running)
        if base is None:
            return True
        kept, releases = 0, 1
        if self.held is not None:
            kept, releases = len(self.held), self.held.inherited.releases + 1
        elif offset - base < SURE_SPAN and running < SURE_HELD:
            return True
        runs, end = self._recalled
        held = kept + running + 1
        return admits(base, offset, held + (runs if base < end else 0), held, releases)

    def head(self) -> Arrival | None:
        """The next to start, whether or not its time has come; None if nothing is to be."""
        return self._buffered[0] if self._buffered and not self.stopped else None

    def start_head(self) -> Arrival:
        """Take the head out of the buffer. Raises IndexError if nothing waits."""
        arrival = self._buffered.popleft()
        self.buffered_bytes -= arrival.size
        return arrival

    def complete(self, arrival: Arrival) -> None:
        """What was in work is complete."""
        self.tracker.complete(arrival.record.offset)

    @property
    def turns(self) -> Turns:
        """In which its records put deliveries into the ordered topic."""
        if self._turns is None:
            self._turns = Turns()
        return self._turns

    def has_room(self, share_bytes: int, now_ms: float, clock: float) -> bool:
        """Whether more records may be fetched for it, ``share_bytes`` being its part of memory.

        While the head's time has not come nothing more is fetched: a backlog of a day stays with
        the brokers.
        """
        if not self.readable or self.tracker.span >= self.most_span:
            return False
        if self.held is not None and self.held.bytes > share_bytes:
            return False
        head = self.head()
        if head is None:
            return True
        return (
            len(self._buffered) < LANE_BUFFER_RECORDS
            and self.buffered_bytes < share_bytes
            and not self.seconds_left(now_ms, clock)
        )

    def make_room(self) -> bool:
        """Where there is no room and nothing makes any: return whether more may start now."""
        return False

    @property
    def oldest(self) -> Running | None:
        """The record that everything else of the partition waits for to be committed, in work."""
        offset = self.tracker.committable
        return None if offset is None else self.running.get(offset)

    @property
    def blocked_keys(self) -> int:
        """Keys that wait for one of their records, which is tried again."""
        return 0

    @property
    def buffered(self) -> int:
        """Records that were fetched and not started."""
        return len(self._buffered)

    def seconds_left(self, now_ms: float, clock: float) -> float:
        """How long until the time of its head has come; 0 without any."""
        head = self.head()
        return head.seconds_left(now_ms, clock) if head else 0.0

    def pass_gap(self, position_of: Callable[[TopicPartition], int | None]) -> None:
        """Move on to the consumer's position if all that was delivered is complete.

        Without this the offsets behind the last record (markers of transactions, compacted records)
        would stay uncommitted. Of a stopped lane the consumer may have passed on records that were
        not taken any more, and while it is positioned its old place means nothing.
        """
        self._pass_gone()
        if not self.readable or self.tracker.span:
            return
        position = position_of(self.partition)
        if position is not None:
            self.tracker.advance_to(position)
            self._pass_gone()

    def stop(self) -> None:
        """Start nothing more. What was fetched and not started stays open, so uncommitted."""
        self.stopped = True
        if self.alarm:
            self.alarm.cancel()
            self.alarm = None

    def freeze(self, release: Release) -> None:
        """Start nothing more, and hand over what is in work: the next commit is to say so."""
        self.stop()
        self.release = release
        self.committed = None

    def go_on(self) -> None:
        """Start again what was fetched, and take more: the lane was not to be stopped after all."""
        self.stopped = False


class Lanes:
    """The lanes that are alive: those of the partitions assigned now."""

    def __init__(self) -> None:
        self._lanes: dict[TopicPartition, Lane] = {}
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lanes)

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def get(self, partition: TopicPartition) -> Lane | None:
        """The lane of a partition that is assigned now."""
        return self._lanes.get(partition)

    def alive(self, lane: Lane) -> bool:
        """Whether it is the lane of its partition's present assignment."""
        return self._lanes.get(lane.partition) is lane

    def begin(self, partition: TopicPartition, position: int | None = None) -> Lane:
        """A partition was assigned. A lane of an earlier assignment is dropped."""
        self._epoch += 1
        lane = self._lanes[partition] = self.make(partition, position)
        return lane

    def make(self, partition: TopicPartition, position: int | None) -> Lane:
        """A new one, of the present epoch."""
        return Lane(partition, self._epoch, position)

    def drop(self, lanes: Collection[Lane]) -> None:
        """These are over: whatever still completes in them never enters a commit."""
        for lane in lanes:
            if self.alive(lane):
                del self._lanes[lane.partition]
