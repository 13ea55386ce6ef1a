"""How a plan is carried out: the order of steps, callbacks that misbehave, losses in the middle."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import pytest
from aiokafka import TopicPartition

from kafka_utils.coordinator.ownership import Partitions
from kafka_utils.coordinator.reconciler import CANCEL_SECONDS, Reconciler
from kafka_utils.events import ConsumerEvents, Loss, Revocation

pytestmark = pytest.mark.looptime

REVOKE_SECONDS = 30.0
PARTITIONS = {letter: TopicPartition("t", number) for number, letter in enumerate("abcdef")}
LETTERS = {partition: letter for letter, partition in PARTITIONS.items()}

Callback = Callable[[], Awaitable[None]]


def of(letters: str) -> Partitions:
    return frozenset(PARTITIONS[letter] for letter in letters)


def named(partitions: Collection[TopicPartition]) -> str:
    return "".join(sorted(LETTERS[partition] for partition in partitions))


def now() -> float:
    return asyncio.get_running_loop().time()


async def at_once() -> None:
    """A callback that has nothing to do."""


def taking(seconds: float) -> Callback:
    async def take() -> None:
        await asyncio.sleep(seconds)

    return take


async def stubborn() -> None:
    """A callback that goes on for long when it is cancelled."""
    try:
        await asyncio.sleep(1_000)
    except asyncio.CancelledError:
        await asyncio.sleep(100)


async def failing() -> None:
    raise ValueError("the application's own mistake")


class Eager:
    """A listener as aiokafka knows it, without a callback for losses."""

    def __init__(self, consumer: "Consumer") -> None:
        self._consumer = consumer

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        await self._consumer.called("assigned", assigned)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._consumer.called("revoked", revoked)


class Cooperative(Eager):
    async def on_partitions_lost(self, lost: set[TopicPartition]) -> None:
        await self._consumer.called("lost", lost)


class Keeping(Cooperative):
    """A listener that can take back the revoke of ``keeps``, and says so of ``boasts`` too."""

    def __init__(self, consumer: "Consumer", keeps: str, boasts: str = "") -> None:
        super().__init__(consumer)
        self._consumer = consumer
        self.keeps = keeps
        self._boasts = boasts

    def on_partitions_kept(self, kept: set[TopicPartition]) -> Collection[TopicPartition]:
        self._consumer.note(f"kept {named(kept)}")
        return (kept & of(self.keeps)) | of(self._boasts)


class Consumer(ConsumerEvents):
    """A reconciler with everything around it; ``log`` is what happened, step by step."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.times: dict[str, float] = {}
        self.does: dict[str, Callback] = {}
        self.listener: Any = Cooperative(self)
        self.revocations: list[Revocation] = []
        self.losses: list[Loss] = []
        self.reconciler = Reconciler(
            self,
            lambda: self.listener,
            REVOKE_SECONDS,
            self,
            lambda: self.note("told"),
        )

    def note(self, step: str) -> None:
        self.log.append(step)
        self.times[step] = now()

    async def called(self, kind: str, partitions: set[TopicPartition]) -> None:
        step = f"{kind} {named(partitions)}"
        self.note(step)
        await self.does.get(step, self.does.get(kind, at_once))()
        self.note(f"{step} returned")

    def add(self, partitions: Partitions) -> None:
        if partitions:
            self.note(f"add {named(partitions)}")

    def open(self, partitions: Partitions) -> None:
        if partitions:
            self.note(f"open {named(partitions)}")

    def freeze(self, partitions: Partitions) -> None:
        if partitions:
            self.note(f"freeze {named(partitions)}")

    def remove(self, partitions: Partitions) -> None:
        if partitions:
            self.note(f"remove {named(partitions)}")

    def revoked(self, revocation: Revocation) -> None:
        self.revocations.append(revocation)

    def lost(self, loss: Loss) -> None:
        self.losses.append(loss)

    def plan(self, letters: str, generation: int = 1) -> tuple[str, str]:
        added, revoked = self.reconciler.carry_out(of(letters), generation)
        return named(added), named(revoked)

    async def holding(self, letters: str) -> None:
        """Have these from an earlier plan, and a clean log."""
        self.plan(letters)
        await asyncio.sleep(0.1)
        self.log.clear()

    @property
    def held(self) -> str:
        return named(self.reconciler.held)

    def steps(self, *kinds: str) -> list[str]:
        return [step for step in self.log if step.split()[0] in kinds]


# Plans.


async def test_what_is_added_is_read_at_once_and_handed_over_after_its_callback() -> None:
    consumer = Consumer()
    consumer.does["assigned"] = taking(2)
    assert consumer.plan("ab") == ("ab", "")
    assert consumer.held == "ab"
    await asyncio.sleep(3)

    assert consumer.log == ["add ab", "assigned ab", "assigned ab returned", "open ab"]
    assert consumer.times["open ab"] == 2
    assert consumer.reconciler.settled


async def test_a_revoke_goes_freeze_callback_remove_and_then_the_group_is_told() -> None:
    consumer = Consumer()
    await consumer.holding("abc")
    consumer.does["revoked"] = taking(5)

    assert consumer.plan("a") == ("", "bc")
    await asyncio.sleep(6)

    assert [step for step in consumer.log if not step.startswith("assigned")] == [
        "freeze bc",
        "revoked bc",
        "revoked bc returned",
        "remove bc",
        "told",
    ]
    assert consumer.held == "a"


async def test_what_is_being_revoked_is_held_until_its_callback_has_returned() -> None:
    consumer = Consumer()
    await consumer.holding("ab")
    consumer.does["revoked"] = taking(5)
    consumer.plan("a")
    await asyncio.sleep(4.9)
    assert consumer.held == "ab"
    assert not consumer.reconciler.settled
    await asyncio.sleep(0.2)

    assert consumer.held == "a"
    assert consumer.reconciler.settled


async def test_what_stays_is_not_touched() -> None:
    consumer = Consumer()
    await consumer.holding("abc")

    consumer.plan("bcd", 2)
    await asyncio.sleep(1)
    consumer.plan("bc", 3)
    await asyncio.sleep(1)

    touched = "".join(step.split()[1] for step in consumer.steps("add", "open", "freeze", "remove"))
    assert set(touched) == {"a", "d"}


async def test_a_first_assignment_of_nothing_is_announced() -> None:
    consumer = Consumer()
    assert consumer.plan("") == ("", "")
    await asyncio.sleep(1)

    assert consumer.steps("assigned") == ["assigned ", "assigned  returned"]


async def test_added_partitions_start_beside_a_revoke_that_waits() -> None:
    consumer = Consumer()
    await consumer.holding("a")
    consumer.does["revoked"] = taking(20)
    began = now()

    assert consumer.plan("b") == ("b", "a")
    await asyncio.sleep(1)
    assert consumer.times["open b"] == pytest.approx(began)
    assert consumer.held == "ab"
    await asyncio.sleep(20)

    assert consumer.held == "b"


async def test_a_revoke_waits_until_its_partitions_are_announced() -> None:
    consumer = Consumer()
    consumer.does["assigned a"] = taking(5)
    consumer.plan("a")
    await asyncio.sleep(1)
    assert consumer.plan("", 2) == ("", "a")
    await asyncio.sleep(1)
    assert consumer.steps("revoked") == []
    await asyncio.sleep(5)

    assert consumer.log.index("assigned a returned") < consumer.log.index("freeze a")
    assert consumer.log.index("freeze a") < consumer.log.index("revoked a")
    assert consumer.held == ""


async def test_assigned_callbacks_run_one_after_another() -> None:
    consumer = Consumer()
    consumer.does["assigned"] = taking(2)
    consumer.plan("a")
    consumer.plan("ab", 2)
    await asyncio.sleep(5)

    assert consumer.steps("assigned") == [
        "assigned a",
        "assigned a returned",
        "assigned b",
        "assigned b returned",
    ]


async def test_revoke_callbacks_run_one_after_another() -> None:
    consumer = Consumer()
    await consumer.holding("abc")
    consumer.does["revoked"] = taking(5)
    consumer.plan("ab", 2)
    await asyncio.sleep(1)
    consumer.plan("a", 3)
    await asyncio.sleep(10)

    assert consumer.steps("revoked", "told", "freeze") == [
        "freeze c",
        "revoked c",
        "revoked c returned",
        "told",
        "freeze b",
        "revoked b",
        "revoked b returned",
        "told",
    ]


async def test_what_is_given_back_while_it_drains_begins_anew_and_nobody_is_told() -> None:
    consumer = Consumer()
    await consumer.holding("ab")
    consumer.does["revoked"] = taking(5)
    consumer.plan("a", 2)
    await asyncio.sleep(1)
    assert consumer.plan("ab", 3) == ("", "")
    await asyncio.sleep(5)

    assert [step for step in consumer.log if step.split()[-1] in ("b", "told")] == [
        "freeze b",
        "revoked b",
        "remove b",
        "add b",
        "assigned b",
        "open b",
    ]
    assert consumer.held == "ab"
    assert consumer.reconciler.settled


async def test_of_what_drains_only_a_part_may_be_given_back() -> None:
    consumer = Consumer()
    await consumer.holding("abc")
    consumer.does["revoked"] = taking(5)
    consumer.plan("a", 2)
    await asyncio.sleep(1)
    consumer.plan("ab", 3)
    await asyncio.sleep(5)

    assert consumer.held == "ab"
    assert consumer.steps("add", "open", "told") == ["add b", "told", "open b"]


async def test_what_was_given_back_may_be_taken_again() -> None:
    consumer = Consumer()
    await consumer.holding("ab")
    consumer.does["revoked"] = taking(5)
    for generation, letters in enumerate(("a", "ab", "a"), 2):
        consumer.plan(letters, generation)
        await asyncio.sleep(1)
    await asyncio.sleep(5)

    assert consumer.held == "a"
    assert consumer.steps("add") == []
    assert consumer.steps("told") == ["told"]


# Revokes that are taken back.


async def test_what_is_given_back_while_it_drains_goes_on_where_it_stopped() -> None:
    consumer = Consumer()
    consumer.listener = Keeping(consumer, keeps="b")
    await consumer.holding("ab")
    number = consumer.reconciler.assignments[PARTITIONS["b"]]
    consumer.does["revoked"] = taking(5)
    consumer.plan("a", 2)
    await asyncio.sleep(1)
    at = now()
    assert consumer.plan("ab", 3) == ("", "")
    assert consumer.times["open b"] == at
    await asyncio.sleep(5)

    assert consumer.steps("freeze", "revoked", "kept", "remove", "add", "open", "told") == [
        "freeze b",
        "revoked b",
        "kept b",
        "open b",
        "revoked b returned",
    ]
    assert consumer.reconciler.assignments[PARTITIONS["b"]] == number
    assert consumer.reconciler.settled
    assert consumer.revocations == []


async def test_what_is_not_given_back_with_it_is_given_up_when_its_callback_returns() -> None:
    consumer = Consumer()
    consumer.listener = Keeping(consumer, keeps="bc")
    await consumer.holding("abc")
    consumer.does["revoked"] = taking(5)
    consumer.plan("a", 2)
    await asyncio.sleep(1)
    consumer.plan("ab", 3)
    await asyncio.sleep(5)

    assert consumer.held == "ab"
    assert consumer.steps("kept", "open", "remove", "told") == [
        "kept b",
        "open b",
        "remove c",
        "told",
    ]
    assert [named(each.partitions) for each in consumer.revocations] == ["c"]


async def test_what_the_listener_cannot_go_on_with_begins_anew() -> None:
    consumer = Consumer()
    consumer.listener = Keeping(consumer, keeps="b")
    await consumer.holding("abc")
    consumer.does["revoked"] = taking(5)
    consumer.plan("a", 2)
    await asyncio.sleep(1)
    consumer.plan("abc", 3)
    await asyncio.sleep(5)

    assert consumer.steps("kept", "open", "remove", "add", "told") == [
        "kept bc",
        "open b",
        "remove c",
        "add c",
        "open c",
    ]
    assert consumer.held == "abc"
    assert consumer.reconciler.settled


async def test_a_listener_keeps_nothing_that_it_was_not_asked_for() -> None:
    consumer = Consumer()
    consumer.listener = Keeping(consumer, keeps="b", boasts="cd")
    await consumer.holding("abc")
    consumer.does["revoked"] = taking(5)
    consumer.plan("a", 2)
    await asyncio.sleep(1)
    consumer.plan("ab", 3)
    await asyncio.sleep(5)

    assert consumer.held == "ab"
    assert consumer.steps("open") == ["open b"]


async def test_a_listener_is_not_asked_to_take_back_what_it_was_not_asked_to_give_up() -> None:
    consumer = Consumer()
    consumer.listener = Keeping(consumer, keeps="b")
    await consumer.holding("ab")
    consumer.does["revoked"] = taking(5)
    consumer.plan("a", 2)
    await asyncio.sleep(0)
    assert consumer.steps("freeze", "revoked") == ["freeze b"]
    consumer.plan("ab", 3)
    await asyncio.sleep(6)

    assert consumer.steps("kept") == []
    assert consumer.steps("remove", "add") == ["remove b", "add b"]


async def test_a_listener_that_has_given_up_is_not_asked_to_take_back() -> None:
    consumer = Consumer()
    consumer.listener = Keeping(consumer, keeps="b")
    await consumer.holding("ab")

    async def give_up() -> None:
        asyncio.get_running_loop().call_soon(consumer.plan, "ab", 3)

    consumer.does["revoked"] = give_up
    consumer.plan("a", 2)
    await asyncio.sleep(1)

    assert consumer.steps("kept") == []
    assert consumer.held == "ab"


async def test_a_listener_whose_time_to_give_up_is_over_is_not_asked_to_take_back() -> None:
    consumer = Consumer()
    consumer.listener = Keeping(consumer, keeps="b")
    await consumer.holding("ab")
    consumer.does["revoked"] = stubborn
    consumer.plan("a", 2)
    await asyncio.sleep(REVOKE_SECONDS + CANCEL_SECONDS / 2)
    consumer.plan("ab", 3)
    await asyncio.sleep(300)

    assert consumer.steps("kept") == []
    assert consumer.steps("remove", "add") == ["remove b", "add b"]


async def test_a_callback_left_to_itself_does_not_stand_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consumer = Consumer()
    consumer.listener = Keeping(consumer, keeps="b")
    await consumer.holding("ab")
    consumer.does["revoked"] = stubborn
    for generation, letters in enumerate(("a", "ab", "a"), 2):
        consumer.plan(letters, generation)
        await asyncio.sleep(1)
    consumer.does["revoked"] = taking(5)
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(consumer, "freeze", lambda _: loop.call_soon(consumer.plan, "ab", 5))
    await asyncio.sleep(60)

    assert consumer.steps("revoked", "kept", "remove") == [
        "revoked b",
        "kept b",
        "revoked b",
        "revoked b returned",
        "remove b",
    ]


async def test_an_assigned_callback_out_of_time_keeps_no_revoke_from_being_taken_back() -> None:
    consumer = Consumer()
    consumer.listener = Keeping(consumer, keeps="b")
    await consumer.holding("ab")
    consumer.does |= {"assigned": taking(3_600), "revoked": taking(20)}
    consumer.plan("abc", 2)
    await asyncio.sleep(REVOKE_SECONDS - 1)
    consumer.plan("ac", 3)
    await asyncio.sleep(2)
    consumer.plan("abc", 4)

    assert consumer.steps("kept") == ["kept b"]


async def test_a_listener_that_fails_to_take_back_gives_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    consumer = Consumer()
    consumer.listener = Keeping(consumer, keeps="b")
    await consumer.holding("ab")
    consumer.does["revoked"] = taking(5)
    consumer.plan("a", 2)
    await asyncio.sleep(1)
    consumer.listener.keeps = "no such partition"
    consumer.plan("ab", 3)
    await asyncio.sleep(6)

    assert "on_partitions_kept failed on t-1" in caplog.text
    assert consumer.steps("remove", "add") == ["remove b", "add b"]
    assert consumer.reconciler.settled


async def test_what_was_kept_may_be_revoked_again() -> None:
    consumer = Consumer()
    consumer.listener = Keeping(consumer, keeps="b")
    await consumer.holding("ab")
    consumer.does["revoked"] = taking(5)
    for generation, letters in enumerate(("a", "ab", "a"), 2):
        consumer.plan(letters, generation)
        await asyncio.sleep(1)
    await asyncio.sleep(10)

    assert consumer.steps("freeze", "revoked", "kept", "told") == [
        "freeze b",
        "revoked b",
        "kept b",
        "revoked b returned",
        "freeze b",
        "revoked b",
        "revoked b returned",
        "told",
    ]
    assert consumer.held == "a"


async def test_who_gives_up_everything_takes_no_revoke_back() -> None:
    consumer = Consumer()
    consumer.listener = Keeping(consumer, keeps="ab")
    await consumer.holding("ab")
    consumer.does["revoked"] = taking(5)
    giving_up = asyncio.create_task(consumer.reconciler.give_up_all())
    await asyncio.sleep(3)
    # The leader is of another kind: its plan leaves everything as it is.
    assert consumer.plan("ab", 2) == ("", "")
    await asyncio.sleep(2.1)

    assert giving_up.done()
    assert consumer.held == ""
    assert consumer.steps("kept", "open", "add", "told") == ["told"]


async def test_who_gave_up_giving_up_everything_takes_revokes_back_again() -> None:
    consumer = Consumer()
    consumer.listener = Keeping(consumer, keeps="ab")
    await consumer.holding("ab")
    consumer.does["revoked"] = taking(5)
    giving_up = asyncio.create_task(consumer.reconciler.give_up_all())
    await asyncio.sleep(3)
    giving_up.cancel()
    await asyncio.wait({giving_up})
    consumer.plan("ab", 2)
    await asyncio.sleep(5)

    assert consumer.held == "ab"
    assert consumer.steps("kept", "open") == ["kept ab", "open ab"]


# Callbacks that misbehave.


async def test_a_revoke_callback_may_take_a_bounded_time_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    consumer = Consumer()
    await consumer.holding("ab")
    consumer.does["revoked"] = taking(3_600)
    began = now()
    consumer.plan("a", 2)
    await asyncio.sleep(REVOKE_SECONDS + 1)

    assert consumer.times["told"] - began == pytest.approx(REVOKE_SECONDS)
    assert consumer.held == "a"
    assert "on_partitions_revoked did not return within 30 s: t-1" in caplog.text
    (revocation,) = consumer.revocations
    assert (revocation.outcome, revocation.generation) == ("timeout", 2)
    assert revocation.seconds == pytest.approx(REVOKE_SECONDS)


async def test_a_callback_that_ignores_its_cancellation_is_left_to_itself() -> None:
    consumer = Consumer()
    await consumer.holding("a")
    consumer.does["revoked"] = stubborn
    began = now()
    consumer.plan("", 2)
    await asyncio.sleep(REVOKE_SECONDS + CANCEL_SECONDS + 0.1)

    assert consumer.times["told"] - began == pytest.approx(REVOKE_SECONDS + CANCEL_SECONDS)
    assert consumer.held == ""


@pytest.mark.parametrize("kind", ["revoked", "assigned", "lost"])
async def test_a_callback_that_raises_is_logged_with_its_partitions_and_the_group_goes_on(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = Consumer()
    await consumer.holding("ab")
    consumer.does[kind] = failing
    if kind == "lost":
        consumer.reconciler.lose_all("a test")
    else:
        consumer.plan("a" if kind == "revoked" else "abc", 2)
    await asyncio.sleep(1)

    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    gone = {"revoked": "t-1", "assigned": "t-2", "lost": "t-0, t-1"}[kind]
    assert record.getMessage() == f"on_partitions_{kind} failed on {gone}"
    assert record.exc_info is not None
    assert consumer.held == {"revoked": "a", "assigned": "abc", "lost": ""}[kind]
    assert consumer.reconciler.settled


async def test_a_revoke_callback_that_raises_is_told_as_failed() -> None:
    consumer = Consumer()
    await consumer.holding("a")
    consumer.does["revoked"] = failing
    consumer.plan("", 2)
    await asyncio.sleep(1)

    assert [revocation.outcome for revocation in consumer.revocations] == ["failed"]
    assert consumer.steps("told") == ["told"]


async def test_a_callback_may_cancel_itself(caplog: pytest.LogCaptureFixture) -> None:
    async def cancelling() -> None:
        raise asyncio.CancelledError

    consumer = Consumer()
    await consumer.holding("a")
    consumer.does["revoked"] = cancelling
    consumer.plan("b", 2)
    await asyncio.sleep(1)

    assert consumer.held == "b"
    assert "on_partitions_revoked failed on t-0" in caplog.text


async def test_callbacks_may_be_plain_functions() -> None:
    called: list[str] = []

    class Plain:
        def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
            called.append(f"assigned {named(assigned)}")

        def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
            called.append(f"revoked {named(revoked)}")

    consumer = Consumer()
    consumer.listener = Plain()
    consumer.plan("a")
    await asyncio.sleep(1)
    consumer.plan("", 2)
    await asyncio.sleep(1)

    assert called == ["assigned a", "assigned ", "revoked a"]
    assert [revocation.outcome for revocation in consumer.revocations] == ["done"]


async def test_no_listener_is_needed() -> None:
    consumer = Consumer()
    consumer.listener = None
    consumer.plan("ab")
    await asyncio.sleep(1)
    consumer.plan("a", 2)
    await asyncio.sleep(1)
    consumer.reconciler.lose_all("a test")
    await asyncio.sleep(1)

    assert consumer.log == [
        "add ab",
        "open ab",
        "freeze b",
        "remove b",
        "told",
        "freeze a",
        "remove a",
    ]


async def test_a_callback_cannot_change_what_is_planned() -> None:
    class Greedy:
        async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
            assigned.clear()

    consumer = Consumer()
    consumer.listener = Greedy()
    consumer.plan("ab")
    await asyncio.sleep(1)

    assert consumer.steps("open") == ["open ab"]


# Losses.


async def test_what_is_lost_is_gone_before_its_callback_which_is_its_own() -> None:
    consumer = Consumer()
    await consumer.holding("ab")

    assert consumer.reconciler.lose_all("expelled") == of("ab")
    assert consumer.log == ["freeze ab", "remove ab"]
    assert consumer.held == ""
    await asyncio.sleep(1)

    assert consumer.log[2:] == ["lost ab", "lost ab returned"]
    assert consumer.losses == [Loss(partitions=of("ab"), reason="expelled")]
    assert consumer.revocations == []


async def test_a_listener_without_a_callback_for_losses_is_called_as_for_a_revoke() -> None:
    consumer = Consumer()
    consumer.listener = Eager(consumer)
    await consumer.holding("a")
    consumer.reconciler.lose_all("expelled")
    await asyncio.sleep(1)

    assert consumer.steps("revoked") == ["revoked a", "revoked a returned"]


async def test_who_holds_nothing_loses_nothing() -> None:
    consumer = Consumer()
    assert consumer.reconciler.lose_all("expelled") == frozenset()
    await asyncio.sleep(1)

    assert consumer.log == []
    assert consumer.losses == []


async def test_a_loss_ends_an_assigned_callback_and_reports_what_it_was_told() -> None:
    consumer = Consumer()
    consumer.does["assigned"] = taking(10)
    consumer.plan("a")
    await asyncio.sleep(1)
    consumer.reconciler.lose_all("expelled")
    await asyncio.sleep(20)

    assert consumer.steps("assigned", "open", "lost") == [
        "assigned a",
        "lost a",
        "lost a returned",
    ]


async def test_what_was_never_announced_is_not_reported_as_lost() -> None:
    consumer = Consumer()
    consumer.does["assigned a"] = taking(10)
    consumer.plan("a")
    await asyncio.sleep(1)
    consumer.plan("ab", 2)
    consumer.reconciler.lose_all("expelled")
    await asyncio.sleep(20)

    assert consumer.steps("assigned", "lost") == ["assigned a", "lost a", "lost a returned"]
    assert consumer.losses == [Loss(partitions=of("ab"), reason="expelled")]


async def test_a_loss_ends_a_revoke_callback_and_nobody_is_told_of_a_release() -> None:
    consumer = Consumer()
    await consumer.holding("ab")
    consumer.does["revoked"] = taking(10)
    consumer.plan("a", 2)
    await asyncio.sleep(1)
    consumer.reconciler.lose_all("expelled")
    await asyncio.sleep(20)

    assert consumer.steps("revoked", "lost", "told") == [
        "revoked b",
        "lost ab",
        "lost ab returned",
    ]
    assert consumer.revocations == []


async def test_a_loss_waits_for_a_callback_that_it_ends_but_not_for_long() -> None:
    consumer = Consumer()
    await consumer.holding("a")
    consumer.does["revoked"] = stubborn
    consumer.plan("", 2)
    await asyncio.sleep(1)
    began = now()
    consumer.reconciler.lose_all("expelled")
    await asyncio.sleep(20)

    assert consumer.times["lost a"] - began == pytest.approx(CANCEL_SECONDS, abs=0.01)


async def test_a_second_loss_lets_the_lost_callback_finish() -> None:
    consumer = Consumer()
    await consumer.holding("ab")
    consumer.does["lost"] = taking(2)
    consumer.reconciler.lose_all("this process stood still")
    await asyncio.sleep(0.1)
    consumer.reconciler.lose_all("JoinGroup: UnknownMemberIdError")
    await asyncio.sleep(5)

    assert consumer.steps("lost") == ["lost ab", "lost ab returned"]


async def test_a_loss_during_a_lost_callback_is_reported_after_it() -> None:
    consumer = Consumer()
    await consumer.holding("a")
    consumer.does["lost"] = taking(2)
    consumer.does["assigned"] = at_once
    consumer.reconciler.lose_all("first")
    await asyncio.sleep(0.1)
    consumer.plan("b", 2)
    await asyncio.sleep(0.1)
    consumer.reconciler.lose_all("second")
    await asyncio.sleep(5)

    # Of b nothing had been announced yet.
    assert consumer.steps("lost", "assigned") == ["lost a", "lost a returned"]
    assert [loss.reason for loss in consumer.losses] == ["first", "second"]
    assert consumer.held == ""


async def test_after_a_loss_the_next_plan_begins_when_the_loss_is_reported() -> None:
    consumer = Consumer()
    await consumer.holding("a")
    consumer.does["lost"] = taking(2)
    consumer.reconciler.lose_all("expelled")
    consumer.plan("a", 2)
    await asyncio.sleep(5)

    assert consumer.log[2:] == [
        "add a",
        "lost a",
        "lost a returned",
        "assigned a",
        "assigned a returned",
        "open a",
    ]


async def test_a_revoke_callback_may_lose_everything_by_itself() -> None:
    consumer = Consumer()
    await consumer.holding("ab")

    async def losing() -> None:
        consumer.reconciler.lose_all("the callback looked")
        await asyncio.sleep(10)

    consumer.does["revoked"] = losing
    consumer.plan("a", 2)
    await asyncio.sleep(20)

    assert consumer.steps("revoked", "lost", "told") == [
        "revoked b",
        "lost ab",
        "lost ab returned",
    ]
    assert consumer.held == ""
    consumer.plan("c", 3)
    await asyncio.sleep(1)
    assert consumer.held == "c"
    assert consumer.log[-1] == "open c"


async def test_an_assigned_callback_may_lose_everything_by_itself() -> None:
    consumer = Consumer()

    async def losing() -> None:
        consumer.reconciler.lose_all("the callback looked")
        await asyncio.sleep(10)

    consumer.does["assigned a"] = losing
    consumer.plan("a")
    await asyncio.sleep(20)

    assert consumer.steps("open") == []
    assert consumer.steps("lost") == ["lost a", "lost a returned"]


# Giving up everything.


async def test_everything_is_given_up_in_order() -> None:
    consumer = Consumer()
    await consumer.holding("ab")
    consumer.does["revoked"] = taking(5)
    began = now()
    await consumer.reconciler.give_up_all()

    assert now() - began == pytest.approx(5)
    assert consumer.held == ""
    assert consumer.steps("freeze", "revoked", "remove", "told") == [
        "freeze ab",
        "revoked ab",
        "revoked ab returned",
        "remove ab",
        "told",
    ]


async def test_giving_up_nothing_takes_no_time() -> None:
    consumer = Consumer()
    await consumer.reconciler.give_up_all()

    assert consumer.log == []
    assert now() == 0


async def test_what_is_just_announced_is_given_up_after_it() -> None:
    consumer = Consumer()
    consumer.does["assigned"] = taking(2)
    consumer.plan("a")
    await asyncio.sleep(1)
    await consumer.reconciler.give_up_all()

    assert consumer.steps("assigned", "revoked") == [
        "assigned a",
        "assigned a returned",
        "revoked a",
        "revoked a returned",
    ]
    assert now() == 2


async def test_giving_up_ends_when_everything_is_lost() -> None:
    consumer = Consumer()
    await consumer.holding("a")
    consumer.does["revoked"] = taking(20)
    giving_up = asyncio.create_task(consumer.reconciler.give_up_all())
    await asyncio.sleep(1)
    consumer.reconciler.lose_all("expelled")
    began = now()
    await giving_up

    assert now() == began


async def test_a_plan_that_comes_while_all_is_given_up_does_not_keep_it() -> None:
    consumer = Consumer()
    await consumer.holding("a")
    consumer.does["revoked"] = taking(5)
    giving_up = asyncio.create_task(consumer.reconciler.give_up_all())
    await asyncio.sleep(1)
    consumer.plan("ab", 2)
    async with asyncio.timeout(60):
        await giving_up

    assert consumer.held == ""
    assert consumer.steps("open")[-1:] in ([], ["open b"])


async def test_a_callback_that_gives_up_everything_is_bounded_as_any_other() -> None:
    consumer = Consumer()
    await consumer.holding("ab")
    consumer.does["revoked b"] = consumer.reconciler.give_up_all
    consumer.plan("a", 2)
    await asyncio.sleep(REVOKE_SECONDS + 5)

    assert consumer.held == ""
    assert [revocation.outcome for revocation in consumer.revocations] == ["timeout", "done"]


# The end.


async def test_closing_waits_for_callbacks_under_way() -> None:
    consumer = Consumer()
    await consumer.holding("a")
    consumer.does["lost"] = taking(3)
    consumer.reconciler.lose_all("expelled")
    began = now()
    await consumer.reconciler.close()

    assert now() - began == pytest.approx(3)
    assert consumer.steps("lost") == ["lost a", "lost a returned"]


async def test_closing_waits_for_a_bounded_time_only() -> None:
    consumer = Consumer()
    await consumer.holding("a")
    consumer.does["lost"] = stubborn
    consumer.reconciler.lose_all("expelled")
    began = now()
    await consumer.reconciler.close()

    assert now() - began <= REVOKE_SECONDS + CANCEL_SECONDS


async def test_closing_what_is_at_rest_takes_no_time() -> None:
    consumer = Consumer()
    await consumer.holding("a")
    began = now()
    await consumer.reconciler.close()

    assert now() == began
