"""Fetches what is assigned and hands over what is open, across any number of rebalances."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from copy import copy
from functools import partial
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import Fetcher, FetchResult, OffsetResetStrategy
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.errors import ConsumerStoppedError, KafkaError, NoOffsetForPartitionError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import OffsetAndMetadata

from kafka_utils.aiokafka_internals.long_fetches import (
    WAIT_MS,
    LongFetches,
    OwnConnection,
    Place,
)
from kafka_utils.aiokafka_internals.subscription import IncrementalSubscription

CANCEL_SECONDS = 0.5
"""How long a task may take to end before it is cancelled again."""

Partitions = frozenset[TopicPartition]


class _Gone:
    """The state of a partition that is no longer assigned: a late fetch must find something."""

    has_valid_position = False
    position = None
    paused = False


_GONE = _Gone()


class _AsRequested:
    """The assignment as it was when a fetch was sent.

    A late answer must not count for a partition that went and came back: then it is another state.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._states = dict(assignment._tp_state)

    @property
    def active(self) -> bool:
        return self._assignment.active

    def state_value(self, partition: TopicPartition) -> Any:
        state = self._states.get(partition)
        current = state is not None and state is self._assignment._tp_state.get(partition)
        return state if current else _GONE


class _Part:
    """A part of an assignment: what fetches are planned for."""

    def __init__(self, assignment: Assignment, partitions: Partitions) -> None:
        self.tps = partitions
        self.state_value = assignment.state_value


class IncrementalFetcher(Fetcher):
    """Fetches what is assigned, and hands over what is open.

    Nobody waits for anybody: in aiokafka a partition whose committed offset is not known yet, or
    whose offset is being reset, keeps its broker from being asked for any other partition.
    """

    look: Callable[[], object] = staticmethod(lambda: None)
    """Called before records are handed over: whether they still may."""
    unplaced: Callable[[Partitions], object] = staticmethod(lambda _: None)
    """Called when it is to be asked (again) where these are read from."""

    def __init__(
        self, client: AIOKafkaClient, subscription: IncrementalSubscription, **options: Any
    ):
        self._shut: set[TopicPartition] = set()
        self._resets: dict[TopicPartition, asyncio.Task[None]] = {}
        self._long = LongFetches()
        self.committed_at_start: dict[TopicPartition, OffsetAndMetadata] = {}
        """By what the group had committed those that are assigned were placed."""
        super().__init__(client, subscription, **options)

    async def close(self) -> None:
        """Stop fetching; whoever waits for records is let go.

        aiokafka's own lets a cancellation of its own through when a fetch waits in its backoff,
        because a broker is gone.
        """
        self._closed = True
        ending: set[asyncio.Future[Any]] = {self._fetch_task, *self._pending_tasks}
        ending.update(self._resets.values())
        while ending:
            for task in ending:
                task.cancel()
            # The fetch loop loses a cancellation that comes while it ends its own fetches.
            ended, ending = await asyncio.wait(ending, timeout=CANCEL_SECONDS)
            for task in ended:
                if not task.cancelled():
                    task.exception()
        self._wake()

    # What the reconciler asks for.

    def add(self, partitions: Partitions) -> None:
        """Find out where to read these from; fetch and hand over nothing yet."""
        self._subscriptions.begin()
        self._assignment().add(partitions)
        self._shut |= partitions
        if partitions:
            self.unplaced(partitions)

    def open(self, partitions: Partitions) -> None:
        """Hand over what was fetched of these."""
        self._shut -= partitions
        self._wake()

    def freeze(self, partitions: Partitions) -> None:
        """Hand over nothing more of these, and fetch nothing more."""
        self._shut |= partitions
        # An error that nobody has taken yet stays, for a revoke that is taken back: nothing else
        # says why this is not read, nor has its place looked up again.
        self._drop(here for here in partitions if isinstance(self._records.get(here), FetchResult))

    def remove(self, partitions: Partitions) -> None:
        """Forget these."""
        if self._subscriptions.assigned() is not None:
            self._assignment().remove(partitions)
        self._drop(partitions)
        self._shut -= partitions
        for here in partitions:
            self.committed_at_start.pop(here, None)
            if here in self._resets:
                self._resets.pop(here).cancel()
        self._notify(self._wait_consume_future)

    def needs_place(self, partition: TopicPartition) -> bool:
        """Whether this is assigned, and nobody has said yet where to read it from."""
        assignment = self._subscriptions.assigned()
        state = assignment and assignment.state_value(partition)
        return state is not None and not state.has_valid_position and not state.awaiting_reset

    def place(
        self, committed: Mapping[TopicPartition, OffsetAndMetadata | KafkaError | None]
    ) -> None:
        """Read these from what is committed, or by the reset policy where nothing is."""
        for here, kept in committed.items():
            if not self.needs_place(here):
                continue
            state = self._assignment().state_value(here)
            if isinstance(kept, OffsetAndMetadata):
                self.committed_at_start[here] = kept
                state.reset_to(kept.offset)
            elif isinstance(kept, KafkaError):
                self._fail(here, kept)
            elif self._default_reset_strategy != OffsetResetStrategy.NONE:
                state.await_reset(self._default_reset_strategy)
            else:
                self._fail(here, NoOffsetForPartitionError(here))
        self._wake()

    # What aiokafka's consumer asks for.

    async def next_record(self, partitions: Collection[TopicPartition]) -> ConsumerRecord[Any, Any]:
        """Return the next record of these partitions (of all if none are named)."""
        while True:
            if self._closed:
                raise ConsumerStoppedError
            for records in self._take(partitions, 1).values():
                return records[0]
            await self._create_fetch_waiter()

    async def fetched_records(
        self,
        partitions: Collection[TopicPartition],
        timeout: float = 0,
        max_records: int | None = None,
    ) -> dict[TopicPartition, list[ConsumerRecord[Any, Any]]]:
        """Return what was fetched; wait for some within the timeout, whatever the group does."""
        deadline = self._loop.time() + timeout
        while True:
            drained = self._take(partitions, max_records) if self._records else {}
            if drained or self._closed or self._loop.time() >= deadline:
                return drained
            waiter = self._create_fetch_waiter()
            # `asyncio.wait` costs twice as much, for each batch of records.
            timer = self._loop.call_at(deadline, self._notify, waiter)
            try:
                await waiter  # A fatal error of the group comes this way.
            finally:
                timer.cancel()

    def _take(
        self, partitions: Collection[TopicPartition], most: int | None
    ) -> dict[TopicPartition, list[ConsumerRecord[Any, Any]]]:
        """Take out what may be handed over. What was not emptied has the next turn last."""
        self.look()
        drained: dict[TopicPartition, list[ConsumerRecord[Any, Any]]] = {}
        for here in list(self._records):
            if (partitions and here not in partitions) or not self._is_open(here):
                continue
            result = self._records[here]
            if not isinstance(result, FetchResult):
                if not drained:
                    self._raise(here)
                break
            try:
                records = result.getall(most)
            except Exception:
                # Unreadable. It is fetched again, from behind the last record handed over, and what
                # others had is not lost for it.
                self._drop([here])
                if not drained:
                    raise
                break
            if result.has_more():
                self._records.move_to_end(here)
            else:
                self._drop([here])
            if not records:
                continue
            drained[here] = records
            if most is not None:
                most -= len(records)
                if most <= 0:
                    break
        return drained

    def _is_open(self, partition: TopicPartition) -> bool:
        # What is paused keeps its buffer; aiokafka throws it away and fetches it again.
        state = self._assignment().state_value(partition)
        return partition not in self._shut and state is not None and not state.paused

    def _raise(self, partition: TopicPartition) -> None:
        failed = self._records[partition]
        self._drop([partition])
        if not self._assignment().state_value(partition).has_valid_position:
            self.unplaced(frozenset([partition]))
        failed.check_raise()

    def _fail(self, partition: TopicPartition, error: KafkaError) -> None:
        """Whoever asks for records of this gets the error."""
        self._records.pop(partition, None)
        self._set_error(partition, error)

    def _drop(self, partitions: Iterable[TopicPartition]) -> None:
        for here in partitions:
            self._records.pop(here, None)
        self._notify(self._wait_consume_future)

    def _wake(self) -> None:
        self._notify(self._wait_consume_future)
        for waiter in self._fetch_waiters:
            self._notify(waiter)

    def _assignment(self) -> Any:
        return self._subscriptions.assigned()

    # What aiokafka's fetch loop asks for.

    def _get_actions_per_node(self, assignment: Assignment) -> Any:
        states, shut = assignment._tp_state, self._shut
        placed = {
            here: Place(state, state.position, self._select_read_replica(here))
            for here, state in states.items()
            if state.has_valid_position and here not in shut
        }
        # An error that nobody has taken yet is not asked for again.
        for here in states.keys() - placed.keys() - self._resets.keys() - self._records.keys():
            if states[here].awaiting_reset:
                self._resets[here] = asyncio.create_task(self._reset(here))
        # A fetch may be over whose broker becomes free in the loop's next turn only. Nothing would
        # tell of that then; aiokafka finds it out when its timeout is over.
        ending = len(self._in_flight) + len(self._long.nodes) > len(self._pending_tasks)
        self._fetch_for_long(assignment, placed)
        asked = self._long.others(placed)
        part = assignment if len(asked) == len(states) else _Part(assignment, frozenset(asked))
        fetches, resets, timeout, *others = super()._get_actions_per_node(part)
        return fetches, resets, 0 if ending else timeout, *others

    def _fetch_for_long(self, assignment: Assignment, placed: dict[TopicPartition, Place]) -> None:
        """Send what may wait for long, where nothing happens."""
        now = self._loop.time()
        if self._records or any(state.paused for state in assignment._tp_state.values()):
            self._long.stir(now)
        for node, places in self._long.due(placed, self._in_flight, now).items():
            request = self._long_request(places)
            through = copy(self)
            through._client = OwnConnection(self._client)
            task = asyncio.create_task(through._proc_fetch_request(assignment, node, request))
            self._long.begun(node, places)
            task.add_done_callback(partial(self._long.ended, node))
            self._pending_tasks.add(task)  # The fetch loop waits for these, and for its own.

    def _set_error(self, tp: TopicPartition, error: Exception) -> None:
        # Of a long fetch and one beside it, the answer that came first counts.
        if tp not in self._records:
            super()._set_error(tp, error)

    def _long_request(self, places: Mapping[TopicPartition, Place]) -> FetchRequest:
        by_topic: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for here, place in places.items():
            wanted = (here.partition, place.position, self._max_partition_fetch_bytes)
            by_topic[here.topic].append(wanted)
        return FetchRequest(
            max(self._fetch_max_wait_ms, min(WAIT_MS, self._client._request_timeout_ms // 2)),
            self._fetch_min_bytes,
            self._fetch_max_bytes,
            self._isolation_level,
            list(by_topic.items()),
            rack_id=self._client_rack or "",
        )

    def _proc_fetch_request(self, assignment: Assignment, node_id: int, request: Any) -> Any:
        return super()._proc_fetch_request(_AsRequested(assignment), node_id, request)

    async def _reset(self, here: TopicPartition) -> None:
        """Look up an offset by time; aiokafka does it in the place of the broker's next fetch."""
        state = self._assignment().state_value(here)
        strategy = state.reset_strategy
        try:
            found = await self._retrieve_offsets({here: strategy})
            if state.reset_strategy == strategy:
                state.reset_to(found[here][0])
        except KafkaError as error:
            if state.reset_strategy == strategy:
                self._fail(here, error)
        finally:
            if self._resets.get(here) is asyncio.current_task():
                del self._resets[here]
            self._wake()
