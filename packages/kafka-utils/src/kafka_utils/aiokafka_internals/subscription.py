"""What is subscribed and assigned: one assignment for life, changed partition by partition."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.subscription_state import (
    Assignment,
    Subscription,
    SubscriptionState,
    TopicPartitionState,
)


class IncrementalAssignment(Assignment):
    """One assignment for life. A partition that stays keeps its state, hence all that refers to it.

    ``_topic_partitions`` and ``_tp_state`` are replaced and changed, which aiokafka never does.
    """

    def __init__(self) -> None:
        super().__init__(())

    def add(self, partitions: Iterable[TopicPartition]) -> None:
        """Begin with these, in a fresh state."""
        self._topic_partitions = self._topic_partitions.union(partitions)
        self._tp_state.update({here: TopicPartitionState(self) for here in partitions})

    def remove(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget these; whoever waits for something of them is let go."""
        self._topic_partitions = self._topic_partitions.difference(partitions)
        for here in partitions:
            state = self._tp_state.pop(here, None)
            if state is not None:
                waiting = [state._position_fut, state._resume_fut, *state._committed_futs]
                for future in waiting:
                    if future is not None and not future.done():
                        future.set_result(None)


class IncrementalSubscription(SubscriptionState):
    """What is subscribed; the assignment outlives a change of the topics."""

    changed: Callable[[], object] = staticmethod(lambda: None)
    """Called when other topics are subscribed."""

    def assigned(self) -> IncrementalAssignment | None:
        """The one assignment, from the first plan on."""
        assignment = None if self._subscription is None else self._subscription.assignment
        return assignment if isinstance(assignment, IncrementalAssignment) else None

    def begin(self) -> None:
        """There is a first plan: who waits for an assignment need wait no longer."""
        if self._subscription is not None and self._subscription.assignment is None:
            self._subscription._assignment = IncrementalAssignment()
            self._subscription._reassignment_in_progress = False
            self._notify_assignment_waiters()

    def _change_subscription(self, subscription: Subscription) -> None:
        # aiokafka ends the assignment here; what stays subscribed would be dropped with it.
        old, assignment = self._subscription, self.assigned()
        if old is None or assignment is None:
            super()._change_subscription(subscription)
            self.changed()
            return
        subscription._assignment = assignment
        subscription._reassignment_in_progress = False
        self._subscription = subscription
        old.unsubscribe_future.set_result(None)
        self._notify_subscription_waiters()
        self.changed()

    def resume(self, partition: TopicPartition) -> None:
        """Hand over records again; what was buffered is there at once."""
        super().resume(partition)
        for waiter in self._fetch_waiters:
            if not waiter.done():
                waiter.set_result(None)

    @property
    def topics_wanted(self) -> frozenset[str] | None:
        """The topics that are subscribed; None if nothing is, which is not the same as none."""
        by_group = self._subscription is not None and self.partitions_auto_assigned()
        return frozenset(self._subscription.topics) if by_group else None

    def assign_from_user(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these, whatever the group does."""
        before = self.assigned()
        assignment = IncrementalAssignment()
        assignment.add(frozenset(partitions))
        super().assign_from_user(list(partitions))
        self._subscription._assignment = assignment
        if before is not None:
            before._unassign()  # Who fetches for it begins anew with this one.

    @property
    def by_pattern(self) -> bool:
        """Whether topics are subscribed by a pattern, so that any new one may be."""
        return self._subscribed_pattern is not None

    async def first_assignment(self) -> None:
        """Return when there is an assignment; raise what keeps it from coming for good."""
        if self.assigned() is None:
            await self.wait_for_assignment()

    def match(self, topics: Iterable[str]) -> None:
        """Subscribe to those of all topics that match the pattern, if one is subscribed."""
        pattern: Any = self._subscribed_pattern
        if pattern is not None:
            matching = frozenset(topic for topic in topics if pattern.match(topic))
            if matching != self.topics_wanted:
                self.subscribe_from_pattern(set(matching))

    def end(self) -> None:
        """Nothing is subscribed any more."""
        self.unsubscribe()

    def fail(self, error: Exception) -> None:
        """Whoever waits for an assignment or for records gets the error."""
        self.abort_waiters(error)

    @contextlib.contextmanager
    def fetch_context(self) -> Iterator[None]:
        """Note that somebody asks for records, and when that ended.

        Of a cancelled call aiokafka never notes the end, and takes an idle consumer for a busy one
        from then on.
        """
        self._fetch_count += 1
        try:
            yield
        finally:
            self._fetch_count -= 1
            if self._fetch_count == 0:
                self._last_fetch_ended = time.monotonic()
