"""What is subscribed and assigned: one assignment for life, whatever is subscribed next."""

import asyncio
import re
from typing import Any

import pytest
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import IllegalStateError, KafkaError

from kafka_utils.aiokafka_internals import IncrementalSubscription

A, B, C = (TopicPartition("t", number) for number in range(3))


def subscribed() -> Any:
    """Return a subscription to ``t``."""
    subscription = IncrementalSubscription()
    subscription.subscribe({"t"})
    return subscription


def begun(subscription: Any) -> Any:
    """Return the assignment of a subscription that has had a first plan."""
    subscription.begin()
    return subscription.assigned()


class Changes:
    """Counts the changes of a subscription."""

    def __init__(self, subscription: Any) -> None:
        self.count = 0
        subscription.changed = self._changed

    def _changed(self) -> None:
        self.count += 1


# One assignment for life.


async def test_before_a_first_plan_there_is_no_assignment() -> None:
    subscription = subscribed()

    assert subscription.assigned() is None
    assert subscription.assigned_partitions() == set()
    assert subscription.reassignment_in_progress


async def test_a_first_plan_lets_go_who_waits_for_an_assignment() -> None:
    subscription = subscribed()
    waiting = asyncio.create_task(subscription.first_assignment())
    await asyncio.sleep(0)
    assert not waiting.done()
    subscription.begin()
    await waiting

    assert not subscription.reassignment_in_progress
    await subscription.first_assignment()


async def test_further_plans_change_the_one_assignment() -> None:
    subscription = subscribed()
    assignment = begun(subscription)
    subscription.begin()

    assert subscription.assigned() is assignment
    assert assignment.active


async def test_what_stays_keeps_its_state() -> None:
    assignment = begun(subscribed())
    assignment.add({A, B})
    state = assignment.state_value(A)
    state.reset_to(7)
    state.pause()
    assignment.remove({B})
    assignment.add({C})

    assert assignment.tps == {A, C}
    assert assignment.state_value(A) is state
    assert (state.position, state.paused) == (7, True)
    assert assignment.state_value(B) is None


async def test_what_comes_back_begins_anew() -> None:
    assignment = begun(subscribed())
    assignment.add({A})
    assignment.state_value(A).reset_to(7)
    assignment.remove({A})
    assignment.add({A})

    assert not assignment.state_value(A).has_valid_position


async def test_who_waits_for_something_of_what_is_removed_is_let_go() -> None:
    assignment = begun(subscribed())
    assignment.add({A})
    state = assignment.state_value(A)
    state.pause()
    waiting = [state.wait_for_position(), state.resume_fut, state.fetch_committed()]
    assignment.remove({A})

    await asyncio.gather(*waiting)


async def test_removing_what_is_not_there_is_nothing() -> None:
    assignment = begun(subscribed())
    assignment.remove({A})

    assert assignment.tps == frozenset()


async def test_consumed_offsets_are_those_of_what_is_assigned() -> None:
    assignment = begun(subscribed())
    assignment.add({A, B})
    assignment.state_value(A).reset_to(7)

    assert {here: kept.offset for here, kept in assignment.all_consumed_offsets().items()} == {A: 7}


# Other topics.


async def test_other_topics_leave_the_assignment_as_it_is() -> None:
    subscription = subscribed()
    assignment = begun(subscription)
    assignment.add({A})
    before = subscription.subscription
    changes = Changes(subscription)
    subscription.subscribe({"t", "u"})

    assert subscription.assigned() is assignment
    assert assignment.active
    assert subscription.is_assigned(A)
    assert not subscription.reassignment_in_progress
    assert subscription.topics_wanted == {"t", "u"}
    assert not before.active
    assert subscription.subscription.active
    assert changes.count == 1


async def test_aiokafka_ends_the_assignment_with_its_topics() -> None:
    stock = SubscriptionState()
    stock.subscribe({"t"})
    stock.assign_from_subscribed({A})
    assignment: Any = stock.subscription.assignment
    stock.subscribe({"t", "u"})

    assert not assignment.active
    assert stock.subscription.assignment is None


async def test_other_topics_before_a_first_plan_are_told_of_too() -> None:
    subscription = subscribed()
    changes = Changes(subscription)
    subscription.subscribe({"u"})

    assert changes.count == 1
    assert subscription.topics_wanted == {"u"}
    assert subscription.assigned() is None


async def test_the_listener_is_the_one_of_the_last_subscription() -> None:
    class Listener(ConsumerRebalanceListener):
        async def on_partitions_assigned(self, assigned: Any) -> None:
            pass

        async def on_partitions_revoked(self, revoked: Any) -> None:
            pass

    listener = Listener()
    subscription = subscribed()
    begun(subscription)
    subscription.subscribe({"u"}, listener)

    assert subscription.listener is listener


async def test_the_end_of_a_subscription_is_the_end_of_its_assignment() -> None:
    subscription = subscribed()
    assignment = begun(subscription)
    subscription.end()

    assert subscription.topics_wanted is None
    assert subscription.assigned() is None
    assert not assignment.active


async def test_after_an_end_there_may_be_another_subscription() -> None:
    subscription = subscribed()
    first = begun(subscription)
    subscription.end()
    subscription.subscribe({"t"})
    second = begun(subscription)

    assert second is not first
    assert second.active


async def test_a_plan_for_what_is_no_longer_subscribed_is_no_assignment() -> None:
    subscription = subscribed()
    subscription.end()
    subscription.begin()

    assert subscription.assigned() is None


async def test_nothing_subscribed_is_not_the_same_as_no_topics() -> None:
    assert IncrementalSubscription().topics_wanted is None
    subscription: Any = IncrementalSubscription()
    subscription.subscribe(set())

    assert subscription.topics_wanted == frozenset()


# Patterns.


async def test_a_pattern_subscribes_to_what_matches_it() -> None:
    subscription: Any = IncrementalSubscription()
    subscription.subscribe_pattern(re.compile("a.*"))
    assert subscription.by_pattern
    assert subscription.topics_wanted is None
    subscription.match(["a1", "a2", "b"])

    assert subscription.topics_wanted == {"a1", "a2"}


async def test_a_pattern_is_matched_anew_only_when_the_topics_are_others() -> None:
    subscription = subscribed()
    subscription.end()
    subscription.subscribe_pattern(re.compile("a.*"))
    changes = Changes(subscription)
    for topics in (["a1", "b"], ["b", "a1", "c"], ["a1", "a2"], ["a1", "a2"]):
        subscription.match(topics)

    assert changes.count == 2
    assert subscription.topics_wanted == {"a1", "a2"}


async def test_without_a_pattern_other_topics_are_nobodys_business() -> None:
    subscription = subscribed()
    changes = Changes(subscription)
    subscription.match(["t", "u"])

    assert not subscription.by_pattern
    assert subscription.topics_wanted == {"t"}
    assert changes.count == 0


async def test_topics_and_patterns_exclude_each_other() -> None:
    with pytest.raises(IllegalStateError):
        subscribed().subscribe_pattern(re.compile("a.*"))


# Waits.


async def test_a_failure_for_good_reaches_who_waits_for_an_assignment() -> None:
    subscription = subscribed()
    subscription.register_fetch_waiters(set())
    waiting = asyncio.create_task(subscription.first_assignment())
    await asyncio.sleep(0)
    subscription.fail(KafkaError("the end"))

    with pytest.raises(KafkaError, match="the end"):
        await waiting


async def test_a_resume_wakes_who_waits_for_records() -> None:
    subscription = subscribed()
    begun(subscription).add({A})
    waiter = asyncio.get_running_loop().create_future()
    done = asyncio.get_running_loop().create_future()
    done.set_result(None)
    subscription.register_fetch_waiters({waiter, done})
    subscription.pause(A)
    assert subscription.paused_partitions() == {A}
    subscription.resume(A)

    assert waiter.done()
    assert subscription.paused_partitions() == set()


async def test_a_call_that_fails_or_is_cancelled_is_not_taken_for_one_that_goes_on() -> None:
    subscription = subscribed()
    with pytest.raises(asyncio.CancelledError), subscription.fetch_context():
        raise asyncio.CancelledError

    assert subscription._fetch_count == 0
    ended = subscription._last_fetch_ended
    with subscription.fetch_context():
        assert subscription.fetcher_idle_time == 0
    assert subscription._last_fetch_ended >= ended


async def test_of_two_calls_the_later_end_counts() -> None:
    subscription = subscribed()
    ended = subscription._last_fetch_ended
    with subscription.fetch_context():
        with subscription.fetch_context():
            pass
        assert subscription._last_fetch_ended == ended
        assert subscription.fetcher_idle_time == 0
