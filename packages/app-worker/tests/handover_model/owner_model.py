"""A worker of the model as an owner: it loads, begins, commits, and waits for words."""

from random import Random

from aiokafka import TopicPartition

from app_worker.handover import inherited, snapshot, standing, words
from app_worker.handover.release import Obligation, Release
from app_worker.handover.snapshot import Said
from app_worker.handover.standing import Answer, Happened, Standing
from app_worker.offset_map import OffsetMap
from handover_model.brokers_model import Brokers, Late, Log
from handover_model.lane_model import Attempt, Giving, Lane, Phase


class Owner:
    """What a process does with the partitions that it has."""

    def __init__(self, brokers: Brokers, name: str, rng: Random) -> None:
        self.brokers = brokers
        self.name = name
        self.rng = rng
        self.skew = rng.choice([0.0, -1000.25, 77.5, 1e6])
        self.alive = True
        self.frozen = False
        self.member = True
        self.reads_words = True
        self.lanes: dict[TopicPartition, Lane] = {}
        self.releases: list[Release] = []
        self.giving: Giving | None = None
        self.attempts: list[Attempt] = []
        self.sent_holds: dict[tuple[int, TopicPartition, int], Release] = {}

    @property
    def clock(self) -> float:
        return self.brokers.now + self.skew

    @property
    def acts(self) -> bool:
        return self.alive and not self.frozen

    def draw_nonce(self) -> int:
        return self.rng.getrandbits(64)

    # An assignment.

    def assigned(self, log: Log, *, ignores_maps: bool) -> None:
        self.lanes[log.here] = Lane(log, ignores_maps=ignores_maps)
        self.brokers.tell(f"{self.name} is assigned {log.here.partition}")

    def load(self, lane: Lane) -> None:
        log, said = lane.log, lane.log.committed
        lane.standing = standing.after(lane.standing, Happened.LOADED)
        lane.loaded = True
        found = OffsetMap() if lane.ignores_maps else log.read(said)
        if lane.ignores_maps:
            for offset in log.offsets:
                self.brokers.excuse(lane.key(offset), "its owner knows no maps")
        lane.fetch()
        lane.hold(found, self.brokers.now, self.clock)
        for number, wanted in lane.inherited.read_from().items():
            there = self.brokers.words[number]
            lane.read_to[number] = inherited.place_to_read(wanted, there.start, there.end)
        self.brokers.tell(f"{self.name} loads {log.here.partition}: {said.offset} {found}")

    # Records.

    def startable(self, lane: Lane) -> int | None:
        if lane.stopped or not standing.may_start(lane.standing):
            return None
        running = {attempt.offset for attempt in self.attempts if attempt.lane is lane}
        for offset in lane.offsets:
            if offset not in lane.complete | running and offset not in lane.inherited:
                return offset
        return None

    def start(self, lane: Lane, offset: int, seconds: float) -> None:
        key = lane.key(offset)
        if not self.member:
            self.brokers.excuse(key, "begun by who does not know yet that it lost the partition")
        lane.began.add(offset)
        self.attempts.append(Attempt(key, lane, self.brokers.now + seconds))
        self.brokers.begin(key, self.name)

    def send_another_request(self, attempt: Attempt) -> None:
        """For a record that leads to several deliveries, or whose endpoint closed a connection."""
        brokers, release = self.brokers, attempt.release
        if release is None or release.may_send(attempt.here, self.clock):
            if brokers.now >= attempt.send_by:
                brokers.fail("I8", f"{self.name} sends about {attempt.offset} too late")
            brokers.tell(f"{self.name} sends another request about {attempt.offset}")

    def answer(self, attempt: Attempt) -> None:
        attempt.phase, attempt.since = Phase.ANSWERED, self.brokers.now

    def store(self, attempt: Attempt) -> None:
        self.attempts.remove(attempt)
        self.brokers.store(attempt.key, self.name)
        if attempt.release is not None:
            release, place = attempt.release, (attempt.here, attempt.offset)
            release.stored(*place, self.clock)
            if release.state(*place) is Obligation.GIVEN_UP:
                self.brokers.excuse_held(attempt.here, attempt.offset, "stored too late")
        attempt.lane.end(attempt.offset)

    # Commits.

    def say(self, lane: Lane, release: Release | None) -> Said:
        """What a commit says now; checked against what is known here."""
        committable = lane.tracker.committable
        assert committable is not None
        if lane.ignores_maps:
            return Said(committable, "")
        said = snapshot.say(
            lane.log.place,
            lane.here,
            committable,
            lane.tracker.completed_runs(),
            lane.inherited,
            release,
            self.clock,
        )
        self.check(lane, release, said)
        return said

    def check(self, lane: Lane, release: Release | None, said: Said) -> None:
        brokers = self.brokers
        if not lane.loaded or lane.standing not in (Standing.ACTIVE, Standing.SENT):
            brokers.fail("I7", f"{self.name} commits {lane.here.partition}, {lane.standing.name}")
        if not self.member:
            return
        found = brokers.check_commit(lane.log, said)
        brokers.tell(f"{self.name} sends {lane.here.partition}: {said.offset} {found}")
        is_held = {
            offset: (holds.nonce, holds.words_partition, holds.words_from)
            for holds in found.holds
            for offset in holds.offsets
        }
        expected = {offset: held.whose for offset, held in lane.ledger.items()}
        if release is not None:
            whose = (release.nonce, release.words_partition, release.words_from)
            own = {a.offset for a in self.attempts if a.lane is lane}
            expected |= dict.fromkeys(own, whose)
            for offset in own:
                self.sent_holds[release.nonce, lane.here, offset] = release
        if is_held != expected:
            brokers.fail("I5", f"held is {is_held}, should be {expected}")

    def commit(self, lane: Lane, said: Said, answer: Answer, *, applied: bool, late: bool) -> None:
        """What the coordinator does with it; it knows members, not whose partitions are."""
        brokers = self.brokers
        if not self.member:
            return
        if answer is Answer.ACKNOWLEDGED or applied:
            brokers.apply(lane.log, said)
            if answer is Answer.ACKNOWLEDGED:
                lane.committed = (len(lane.complete), len(lane.inherited))
        elif late:
            self.brokers.tell(f"{self.name}'s commit of {said.offset} is under way")
            brokers.late.append(Late(brokers.generation, lane.log, said))

    def commit_periodically(self, lane: Lane, answer: Answer, *, applied: bool, late: bool) -> None:
        if not standing.may_commit(lane.standing) or lane.stopped:
            return
        if (len(lane.complete), len(lane.inherited)) != lane.committed:
            said = self.say(lane, None)
            self.commit(lane, said, answer, applied=applied, late=late)

    # Holds.

    def read_word(self, lane: Lane, number: int) -> bool:
        """Read the next word for a lane; return whether there was one."""
        there = self.brokers.words[number]
        place = lane.read_to[number]
        if not self.reads_words or place >= there.end:
            return False
        word = words.read_word(there.values[place])
        lane.read_to[number] = place + 1
        for offset in lane.inherited.settle(word):
            lane.end(offset)
            self.brokers.tell(f"{self.name} reads that {offset} is settled")
        for partition, offset in word.settled:
            held = lane.ledger.get(offset) if partition == lane.here.partition else None
            if held is not None and held.whose[0] == word.nonce:
                del lane.ledger[offset]
        return True

    def ask_ends(self, lane: Lane) -> None:
        if self.reads_words:
            for number in lane.inherited.ends_to_ask(self.clock):
                lane.inherited.end_found(number, self.brokers.words[number].end, self.clock)

    def open_up(self, lane: Lane) -> None:
        for offset in lane.inherited.open_up(self.clock, lane.read_to):
            if not self.reads_words:
                self.brokers.excuse(lane.key(offset), "words cannot be read")
            lane.ledger.pop(offset, None)
            self.brokers.tell(f"{self.name} waits for {offset} no longer")

    def check_holds_end(self) -> None:
        """I9."""
        for lane in self.lanes.values():
            for offset, held in lane.ledger.items():
                if self.brokers.now > held.over_by + 1.0 and not lane.stopped and self.member:
                    self.brokers.fail("I9", f"{self.name} still waits for {offset}")
