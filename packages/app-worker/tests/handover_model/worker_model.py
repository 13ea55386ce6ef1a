"""A worker of the model as a whole: it also gives partitions up, loses them, and owes."""

from collections.abc import Iterable
from typing import Final

from aiokafka import TopicPartition

from app_worker.handover import standing, words
from app_worker.handover.release import Obligation, Release
from app_worker.handover.snapshot import Said
from app_worker.handover.standing import Answer, Happened, Standing, Step
from app_worker.handover.timing import settle_by
from app_worker.handover.words import Kind, Word
from handover_model.brokers_model import GROUP, TOPIC, Log
from handover_model.lane_model import Giving, Lane
from handover_model.owner_model import Owner

BARRIER_SECONDS: Final = 40.0
"""How long a rebalance waits for a worker before it goes on without it."""

IN_TIME_SECONDS: Final = 20.0
"""Of those, for a map to be acknowledged; what is left is for a drain."""


class Worker(Owner):
    """One process."""

    # Giving partitions up.

    def revoked(self, logs: Iterable[Log]) -> None:
        self.giving = Giving([], self.brokers.now)
        for log in logs:
            lane = self.lanes[log.here]
            self.brokers.tell(f"{self.name} is to give up {log.here.partition}")
            lane.standing = standing.after(lane.standing, Happened.REVOKED)
            if lane.standing is Standing.RELEASED:
                self.released(lane)
                continue
            if not lane.offsets:
                lane.fetch()
            self.giving.lanes.append(lane)
            self.giving.draining = self.giving.draining or lane.ignores_maps
        if not self.giving.lanes:
            self.giving = None

    def open_release(self, words_partition: int, *, written: bool, acknowledged: bool) -> None:
        """Write the word that begins a release, and freeze; or drain, if it cannot be written."""
        giving, brokers = self.giving, self.brokers
        assert giving is not None
        nonce = self.draw_nonce()
        opened = words.write_word(Word(Kind.OPENED, GROUP, nonce, TOPIC))
        there = brokers.words[words_partition]
        place = there.append(opened) if written else -1
        for lane in giving.lanes:
            lane.stopped = True
        # What was sent before, and not answered, is waited for; nothing follows it but the map.
        brokers.settle_late(arrives=self.rng.random() < 0.5)
        if giving.draining or not (written and acknowledged):
            brokers.tell(f"{self.name} drains")
            giving.draining, giving.step = True, Step.DRAIN
            return
        release = giving.release = Release(GROUP, nonce, words_partition, place)
        self.releases.append(release)
        giving.step = Step.SEND_AGAIN
        for lane in giving.lanes:
            lane.standing = standing.after(lane.standing, Happened.FROZEN)
            running = [attempt for attempt in self.attempts if attempt.lane is lane]
            left = {a.offset: max(0.0, a.deadline - brokers.now) for a in running}
            release.freeze(lane.here, left, self.clock)
            for attempt in running:
                attempt.release = release
                attempt.send_by = brokers.now + max(left.values())
        brokers.tell(f"{self.name} freezes, words from {words_partition}/{place}")

    @property
    def in_time(self) -> bool:
        assert self.giving is not None
        return self.brokers.now < self.giving.started + IN_TIME_SECONDS

    def give_up_further(self, answer: Answer, *, applied: bool, late: bool) -> None:
        """The next step of giving partitions up, answered so."""
        giving = self.giving
        assert giving is not None
        if not self.member:
            answer = Answer.REFUSED
        if giving.step is Step.DRAIN:
            if any(attempt.lane in giving.lanes for attempt in self.attempts):
                return
            giving.step = Step.SEND_AGAIN
        if giving.step is Step.SEND_AGAIN:
            for lane in giving.lanes:
                said = self.say(lane, giving.release)
                giving.sent.add((lane.here, said.offset, said.metadata))
                self.commit(lane, said, answer, applied=applied, late=late)
            giving.step = standing.after_commit(answer, in_time=self.in_time)
            self.brokers.tell(f"{self.name}'s commit: {answer.name}, so {giving.step.name}")
        elif giving.step is Step.READ_BACK:
            self.read_back(answer)
        self.finish_giving()

    def read_back(self, answer: Answer) -> None:
        giving = self.giving
        assert giving is not None
        steps = set()
        for lane in giving.lanes:
            sent = [(offset, text) for here, offset, text in giving.sent if here == lane.here]
            there = lane.log.committed
            known = (there.offset, there.metadata) if answer is Answer.ACKNOWLEDGED else None
            steps.add(standing.after_reading_back(known, sent, in_time=self.in_time))
        giving.step = next(
            step
            for step in (Step.DRAIN, Step.READ_BACK, Step.SEND_AGAIN, Step.RELEASE)
            if step in steps
        )
        self.brokers.tell(f"{self.name} reads back, so {giving.step.name}")

    def finish_giving(self) -> None:
        giving = self.giving
        assert giving is not None
        if giving.step is Step.LOSE or (giving.step is Step.RELEASE and not self.member):
            self.notice_lost()
        elif giving.step is Step.RELEASE:
            for lane in giving.lanes:
                how = Happened.ACKNOWLEDGED if giving.release else Happened.DRAINED
                lane.standing = standing.after(lane.standing, how)
                self.released(lane)
            self.giving = None

    def released(self, lane: Lane) -> None:
        del self.lanes[lane.here]
        if self.member:
            lane.log.owner = None
            self.brokers.bump()
        self.brokers.tell(f"{self.name} releases {lane.here.partition}")

    # Losing them.

    def expelled(self, why: str) -> None:
        """The group goes on without this worker, which may not know of it yet."""
        brokers = self.brokers
        brokers.tell(f"{self.name} is out of the group: {why}")
        self.member = False
        for lane in self.lanes.values():
            self.excuse(lane, why, dies=not self.alive)
            lane.log.owner = None
        brokers.bump()

    def excuse(self, lane: Lane, why: str, *, dies: bool) -> None:
        held = lane.log.read(lane.log.committed).holds
        own = {release.nonce for release in self.releases}
        kept = {n for each in held if not (dies and each.nonce in own) for n in each.offsets}
        begun = lane.began | lane.complete
        self.brokers.excuse_unsaid(lane.log, begun, kept, why)

    def notice_lost(self) -> None:
        """It learns that its partitions are others', and joins anew."""
        self.brokers.tell(f"{self.name} learns that it lost everything")
        for lane in self.lanes.values():
            for attempt in [a for a in self.attempts if a.here == lane.here]:
                if standing.cancelled_by_loss(attempt.lane.standing):
                    self.attempts.remove(attempt)
            lane.standing = standing.after(lane.standing, Happened.LOST)
        self.lanes.clear()
        self.giving = None
        self.member = True

    def crash(self) -> None:
        self.alive = False
        self.frozen = False
        for (_, here, offset), release in self.sent_holds.items():
            if release.state(here, offset) in (Obligation.RUNNING, Obligation.STORED):
                self.brokers.excuse_held(here, offset, f"{self.name} died")
        if self.member:
            self.expelled("it crashed")
        self.lanes.clear()
        self.giving = None
        self.attempts.clear()

    # Obligations.

    def tick(self) -> None:
        """What a timer does when its time has come."""
        self.releases = [release for release in self.releases if release.open]
        for release in self.releases:
            deadline = release.next_deadline
            if deadline is None or self.clock < deadline:
                continue
            in_flight = [a for a in self.attempts if a.release is release]
            before = {key: release.state(*key[1:]) for key in self._of(release)}
            cancelled = release.give_up(self.clock)
            for (_, here, offset), was in before.items():
                if was is Obligation.WORDED or release.state(here, offset) is was:
                    continue
                self.brokers.excuse_held(here, offset, f"{self.name} gave it up")
            for here, offset in cancelled:
                owed = [a for a in in_flight if (a.here, a.offset) == (here, offset)]
                if not owed:
                    self.brokers.fail("I4", f"nobody works on {offset}, which is held")
                self.attempts.remove(owed[0])
                self.brokers.excuse_held(here, offset, f"{self.name} gave it up")
                self.brokers.tell(f"{self.name} gives up {offset}")

    def excuse_standing_still(self) -> None:
        """Nobody gives up in time, or tells of, what a process owes that stands still."""
        in_flight = [(a.release, a.here, a.offset) for a in self.attempts if a.release]
        told_of = [
            (release, here, offset) for (_, here, offset), release in self.sent_holds.items()
        ]
        for release, here, offset in in_flight + told_of:
            owed = release.state(here, offset) in (Obligation.RUNNING, Obligation.STORED)
            if owed and self.clock >= settle_by(release._owed[here].until):
                self.brokers.excuse_held(here, offset, f"{self.name} stood still")

    def _of(self, release: Release) -> list[tuple[int, TopicPartition, int]]:
        return [key for key, owed in self.sent_holds.items() if owed is release]

    def open_up(self, lane: Lane) -> None:
        self.tick()  # What this worker itself still owes is given up before anybody begins it.
        super().open_up(lane)

    def say(self, lane: Lane, release: Release | None) -> Said:
        self.tick()  # So is what a map would hold for no time.
        return super().say(lane, release)

    def write_words(self, release: Release, *, written: bool, acknowledged: bool) -> None:
        there = self.brokers.words[release.words_partition]
        for word in list(release.words(self.clock)):
            if written:
                place = there.append(words.write_word(word))
                self.brokers.tell(f"{self.name}'s word {place}: {word.settled}")
                if place < release.words_from:
                    self.brokers.fail("I6", f"word {place} stands before {release.words_from}")
            if written and acknowledged:
                release.told(word)

    @property
    def owes(self) -> bool:
        return any(release.open for release in self.releases)

    def check_owed(self) -> None:
        """I4, at the end."""
        for nonce, here, offset in self.sent_holds:
            state = self.sent_holds[nonce, here, offset].state(here, offset)
            if self.alive and state not in (Obligation.WORDED, Obligation.GIVEN_UP):
                self.brokers.fail("I4", f"{offset} is held, and its fate is {state.name}")
