"""What a member holds, through any order of plans, callbacks, releases and losses."""

from typing import Final

from aiokafka import TopicPartition
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kafka_utils.coordinator.ownership import NOTHING, Ownership, Partitions

A, B, C, D = (TopicPartition("t", number) for number in range(4))
ALL: Final = frozenset({A, B, C, D})


def of(*partitions: TopicPartition) -> Partitions:
    return frozenset(partitions)


def test_what_is_added_is_held_at_once_and_delivered_when_it_is_announced() -> None:
    own = Ownership().planned(of(A, B))
    assert own == Ownership(held=of(A, B), target=of(A, B), announcing=of(A, B))
    assert own.delivered == NOTHING

    own = own.announced(of(A))
    assert own.delivered == of(A)
    assert not own.settled
    own = own.announced(of(B))
    assert own.delivered == of(A, B)
    assert own.settled


def test_what_is_to_be_revoked_is_delivered_until_its_revoke_begins() -> None:
    own = Ownership(held=of(A, B), target=of(A, B)).planned(of(A))
    assert own.to_revoke == of(B)
    assert own.delivered == of(A, B)

    own = own.begin_revoke()
    assert (own.to_revoke, own.revoking, own.delivered) == (NOTHING, of(B), of(A))
    assert own.held == of(A, B)
    own = own.released()
    assert own == Ownership(held=of(A), target=of(A))
    assert own.settled


def test_a_revoke_waits_until_its_partitions_are_announced() -> None:
    own = Ownership().planned(of(A)).planned(NOTHING)
    assert own.to_revoke == NOTHING

    assert own.announced(of(A)).to_revoke == of(A)


def test_what_is_given_back_while_it_drains_is_released_and_assigned_anew() -> None:
    own = Ownership(held=of(A, B), target=of(A, B)).planned(of(A)).begin_revoke().planned(of(A, B))
    assert own.revoking == of(B)
    assert own.delivered == of(A)

    own = own.released()
    assert own == Ownership(held=of(A, B), target=of(A, B), announcing=of(B))


def test_what_is_given_back_while_it_drains_may_be_kept() -> None:
    own = Ownership(held=of(A, B, C), target=of(A, B, C)).planned(of(A)).begin_revoke()
    own = own.planned(of(A, B)).kept(of(A, B, C, D))
    assert own == Ownership(held=of(A, B, C), target=of(A, B), revoking=of(C))
    assert own.delivered == of(A, B)

    assert own.released() == Ownership(held=of(A, B), target=of(A, B))


def test_after_a_loss_nothing_is_left() -> None:
    own = Ownership(of(A, B, C), of(A, D), of(B), of(C))

    assert own.lost() == Ownership()


class AnyOrder(RuleBasedStateMachine):
    """Every order of events. ``unannounced`` and ``draining`` are what the callbacks know."""

    def __init__(self) -> None:
        super().__init__()
        self.own = Ownership()
        self.before = self.own
        self.unannounced: list[Partitions] = []
        self.draining: Partitions = NOTHING

    @rule(given=st.frozensets(st.sampled_from(sorted(ALL))))
    def plan(self, given: Partitions) -> None:
        added = given - self.own.held
        self._go(self.own.planned(given))
        assert self.own.target == given
        assert self.own.held == self.before.held | added
        assert self.own.announcing == self.before.announcing | added
        self.unannounced.append(added)

    @precondition(lambda self: self.unannounced)
    @rule()
    def announce(self) -> None:
        partitions = self.unannounced.pop(0)
        self._go(self.own.announced(partitions))
        assert self.own.held == self.before.held
        assert not partitions & self.own.announcing
        assert partitions <= self.own.delivered

    @precondition(lambda self: not self.draining and self.own.to_revoke)
    @rule()
    def begin_revoke(self) -> None:
        self.draining = self.own.to_revoke
        self._go(self.own.begin_revoke())
        assert self.own.revoking == self.draining
        assert self.own.held == self.before.held
        assert self.own.to_revoke == NOTHING

    @precondition(lambda self: self.draining)
    @rule()
    def release(self) -> None:
        self._go(self.own.released())
        given_back = self.draining & self.own.target
        assert self.own.held == self.before.held - self.draining | given_back
        assert given_back <= self.own.announcing
        self.unannounced.append(given_back)
        self.draining = NOTHING

    @precondition(lambda self: self.draining & self.own.target)
    @rule()
    def keep(self) -> None:
        kept = self.draining & self.own.target
        self._go(self.own.kept(kept))
        assert self.own.held == self.before.held
        assert kept <= self.own.delivered
        self.draining -= kept

    @rule()
    def lose(self) -> None:
        self._go(self.own.lost())
        assert self.own == Ownership()
        self.unannounced.clear()
        self.draining = NOTHING

    @rule()
    def settle(self) -> None:
        """Whatever came before, carrying out what is due makes the newest plan true."""
        for _ in range(4):
            for partitions in self.unannounced:
                self._go(self.own.announced(partitions))
            self.unannounced.clear()
            if not self.draining and self.own.to_revoke:
                self.begin_revoke()
            if self.draining:
                self.release()
        assert self.own.settled
        assert self.own.held == self.own.delivered == self.own.target

    def _go(self, own: Ownership) -> None:
        self.before, self.own = self.own, own

    @invariant()
    def revoking_and_announcing_are_parts_of_what_is_held_and_have_nothing_in_common(self) -> None:
        assert self.own.revoking <= self.own.held
        assert self.own.announcing <= self.own.held
        assert not self.own.revoking & self.own.announcing

    @invariant()
    def nothing_is_delivered_while_it_is_revoked_or_announced(self) -> None:
        assert not self.own.delivered & (self.own.revoking | self.own.announcing)
        assert self.own.delivered <= self.own.held

    @invariant()
    def what_the_newest_plan_gives_is_held(self) -> None:
        assert self.own.target <= self.own.held

    @invariant()
    def what_drains_is_held(self) -> None:
        assert self.draining == self.own.revoking

    @invariant()
    def what_is_announced_is_known_to_a_callback(self) -> None:
        assert self.own.announcing == NOTHING.union(*self.unannounced)

    @invariant()
    def settled_is_when_nothing_is_left_to_do(self) -> None:
        busy = bool(self.own.to_revoke or self.own.revoking or self.own.announcing)
        assert self.own.settled is not busy


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
