"""Whole members in generated schedules: what they promise holds at every moment, and at the end.

``GROUP_SCHEDULES=long`` tries many more schedules than a test run has time for.
"""

import os
from collections.abc import Callable
from typing import Any

from group_model.foreign_model import Form
from group_model.member_model import ModelMember
from group_model.network_model import Kind, Moment
from group_model.simulation import Simulation
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

LONG = os.environ.get("GROUP_SCHEDULES") == "long"
MOST_MEMBERS = 5
MOST_FOREIGN = 2

seconds = st.sampled_from([0.0, 0.003, 0.05, 0.3, 1.0, 3.1, 8.0])
a_member = st.integers(0, MOST_MEMBERS - 1)
kinds: list[Kind] = ["join", "sync", "heartbeat", "commit", "committed", "leave"]
moments: list[Moment] = ["before", "during", "after"]


def event(**given: Any) -> Callable[[Callable[..., None]], Any]:
    """A rule behind which some time may pass."""

    def decorate(happens: Callable[..., None]) -> Any:
        def happen_and_wait(machine: "GroupSchedules", then: float, **drawn: Any) -> None:
            machine.simulation.events += 1
            happens(machine, **drawn)
            machine.simulation.run(then)

        happen_and_wait.__name__ = happens.__name__
        made: Any = rule(then=seconds, **given)
        return made(happen_and_wait)

    return decorate


class GroupSchedules(RuleBasedStateMachine):
    """A group, and everything that may happen to it, in any order."""

    assignor_lists: tuple[tuple[str, ...], ...] = (("cooperative-sticky",),)
    allows_foreign = True

    simulation: Simulation

    @initialize(
        seed=st.integers(0, 2**16),
        partitions=st.integers(1, 6),
        slow=st.booleans(),
        initial_delay=st.sampled_from([0.0, 3.0]),
        which=st.integers(0, 7),
        members=st.integers(1, 4),
        then=seconds,
    )
    def begin(
        self,
        seed: int,
        partitions: int,
        slow: bool,
        initial_delay: float,
        which: int,
        members: int,
        then: float,
    ) -> None:
        self.simulation = Simulation(
            {"t": partitions, "u": 2}, seed=seed, initial_delay=initial_delay
        )
        if slow:
            self.simulation.network.slowest = 0.4
        self.assignors = self.assignor_lists[which % len(self.assignor_lists)]
        for _ in range(members):
            self.simulation.start(assignors=self.assignors)
        self.simulation.run(then)

    def teardown(self) -> None:
        if not hasattr(self, "simulation"):
            return
        try:
            self._come_to_rest()
        finally:
            self.simulation.end()

    def _come_to_rest(self) -> None:
        simulation = self.simulation
        for member in simulation.members:
            member.thaw()
            member.transport.silent = False
            member.transport.faults.clear()
            member.revoke_raises = False
        before, at = simulation.coordinator.generation, len(simulation.coordinator.log.barriers)
        simulation.settle()
        after = len(simulation.coordinator.log.barriers) - at
        owners = len(simulation.members) + len(simulation.foreign)
        assert after <= 6 + 2 * owners, (
            f"P13: {after} rebalances after the last event\n{simulation.portrait()}"
        )
        assert simulation.coordinator.generation >= before or not owners
        unexpected = [member.name for member in simulation.failed() if not member.instance_id]
        assert not unexpected, f"{unexpected} failed"

    def _member(self, number: int) -> ModelMember | None:
        members = self.simulation.members
        return members[number % len(members)] if members else None

    @invariant()
    def nothing_is_wrong(self) -> None:
        if hasattr(self, "simulation"):
            self.simulation.check()

    # Time.

    @rule(duration=seconds)
    def time_passes(self, duration: float) -> None:
        self.simulation.run(duration)

    # Members.

    @precondition(lambda self: len(self.simulation.members) < MOST_MEMBERS)
    @event()
    def start(self) -> None:
        self.simulation.start(assignors=self.assignors)

    @event(number=a_member, relinquish=st.booleans())
    def stop(self, number: int, relinquish: bool) -> None:
        member = self._member(number)
        if member and member.name not in self.stopping and not member.process.stopped:
            self.stopping.add(member.name)
            member.stop(relinquish=relinquish)

    @event(number=a_member)
    def crash(self, number: int) -> None:
        if member := self._member(number):
            member.crash()

    @event(number=a_member)
    def freeze(self, number: int) -> None:
        if member := self._member(number):
            member.freeze()

    @event(number=a_member)
    def thaw(self, number: int) -> None:
        if member := self._member(number):
            member.thaw()

    @event(number=a_member, silent=st.booleans())
    def cut_off(self, number: int, silent: bool) -> None:
        if member := self._member(number):
            member.cut_off(silent=silent)

    @event(number=a_member, both=st.booleans())
    def subscribe(self, number: int, both: bool) -> None:
        member = self._member(number)
        if member and member.name not in self.stopping:
            member.subscribe({"t", "u"} if both else {"t"})

    @event(number=a_member)
    def start_static(self, number: int) -> None:
        """A new static member, one that comes back, or a second one of its name."""
        if len(self.simulation.members) < MOST_MEMBERS:
            self.simulation.start(assignors=self.assignors, instance_id=f"i{number % 2}")

    @precondition(lambda self: self.allows_foreign)
    @event(form=st.sampled_from(Form))
    def start_foreign(self, form: Form) -> None:
        if len(self.simulation.foreign) < MOST_FOREIGN:
            self.simulation.start_foreign(form)

    @event()
    def stop_foreign(self) -> None:
        if self.simulation.foreign:
            self.simulation.foreign[0].stop()

    # Applications.

    @event(number=a_member, drain=st.sampled_from([0.0, 0.4, 4.0, 9.0, 14.0]))
    def drain_slowly(self, number: int, drain: float) -> None:
        if member := self._member(number):
            member.drain_seconds = drain

    @event(number=a_member, raises=st.booleans())
    def fail_in_the_callback(self, number: int, raises: bool) -> None:
        if member := self._member(number):
            member.revoke_raises = raises

    @event(number=a_member, keeps=st.booleans())
    def take_revokes_back(self, number: int, keeps: bool) -> None:
        if member := self._member(number):
            member.keeps = keeps

    @event(number=a_member, assign=st.sampled_from([0.0, 0.4, 4.0]))
    def announce_slowly(self, number: int, assign: float) -> None:
        if member := self._member(number):
            member.assign_seconds = assign

    # Brokers.

    @event(number=a_member, kind=st.sampled_from(kinds), moment=st.sampled_from(moments))
    def disconnect(self, number: int, kind: Kind, moment: Moment) -> None:
        if member := self._member(number):
            member.transport.faults[kind] = moment

    @event(
        node=st.integers(0, 2),
        without=st.sampled_from([0.0, 0.5, 4.0]),
        lagging=st.sampled_from([0.0, 1.0]),
        loading=st.sampled_from([0.0, 0.3, 5.0]),
    )
    def move_the_coordinator(
        self, node: int, without: float, lagging: float, loading: float
    ) -> None:
        self.simulation.move_coordinator(node, without, lagging, loading)

    @event(more=st.integers(1, 3))
    def add_partitions(self, more: int) -> None:
        topics = dict(self.simulation.truth.topics)
        if 0 < topics.get("t", 0) < 8:
            self.simulation.change_topics(topics | {"t": topics["t"] + more})

    @event(there=st.booleans())
    def delete_or_create_a_topic(self, there: bool) -> None:
        topics = dict(self.simulation.truth.topics)
        topics.pop("u", None)
        self.simulation.change_topics(topics | ({"u": 2} if there else {}))

    def __init__(self) -> None:
        super().__init__()
        self.stopping: set[str] = set()


class EagerSchedules(GroupSchedules):
    """The same with lists that are eager."""

    assignor_lists = (("cooperative-sticky", "roundrobin"), ("roundrobin",))
    allows_foreign = False


def profile(examples: int) -> Any:
    return settings(
        max_examples=examples * (40 if LONG else 1),
        derandomize=not LONG,  # The suite's are the same in every run.
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


TestGroupSchedules = GroupSchedules.TestCase
TestGroupSchedules.settings = profile(100)
TestEagerSchedules = EagerSchedules.TestCase
TestEagerSchedules.settings = profile(30)
