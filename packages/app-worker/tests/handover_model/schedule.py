"""What happens to a group, drawn at random: one schedule for each seed."""

from collections.abc import Callable
from typing import Final

from app_worker.handover.standing import Answer, Standing
from handover_model.brokers_model import END
from handover_model.faults_model import FaultyGroup
from handover_model.lane_model import Lane, Phase
from handover_model.worker_model import BARRIER_SECONDS, Worker

STEP: Final = 0.5
"""Seconds that pass at once; then whoever acts does what is overdue."""

PATIENCE: Final = 1.5
"""Seconds after which a worker stores, or tells, what it has to in any case."""

Action = Callable[[], None]


class Schedule(FaultyGroup):
    """A group and its workers, and what happens to them.

    Without ``faults`` nothing fails but commits without an answer, and every record is delivered
    exactly once. With them, only what they excuse is delivered again, and nothing is lost.
    """

    def __init__(self, seed: int, *, faults: bool) -> None:
        super().__init__(seed)
        self.faults, rng = faults, self.rng
        graceful: dict[Action, float] = {
            self.assign: 10,
            self.load: 12,
            self.start: 12,
            self.answer: 2,
            self.store: 4,
            self.revoke: 7,
            self.open_release: 12,
            self.give_up_further: 14,
            self.commit: 4,
            self.tell: 5,
            self.read: 8,
            self.ask_ends: 4,
            self.open_up: 4,
            self.another_request: 2,
            self.pass_time: 4,
            self.late_arrives: 2,
            self.reset: 4,
        }
        themes: list[dict[Action, float]] = [
            {self.crash: 3, self.join: 3},
            {self.expel: 3, self.notice_lost: 3},
            {self.freeze: 3, self.thaw: 3},
            {self.compact: 3},
            {self.go_away: 4, self.come_back: 1},
            {self.go_away: 1, self.come_back: 0.3},
            {self.forget_words: 1, self.blind: 2},
            {self.assign_to_an_old_version: 2},
        ]
        # Each schedule has much of some things, and most of the faults not at all.
        chosen = rng.sample(themes, rng.choice([1, 1, 2])) if faults else []
        self._faults = [next(iter(theme)) for theme in chosen]
        actions = graceful
        for theme in chosen:
            actions |= theme
        self._actions = list(actions)
        self._weights = [actions[each] * rng.choice([0.2, 1, 1, 3]) for each in actions]
        self._haste = rng.choice([0.3, 0.6, 0.9])

    def run(self, steps: int) -> None:
        """Let so much happen, and then nothing that disturbs, until all is done."""
        for _ in range(steps):
            self.happen()
            if self.rng.random() < 0.1:
                self.move()
        self.come_to_rest()

    def happen(self) -> None:
        """One thing."""
        self.rng.choices(self._actions, self._weights)[0]()

    def move(self) -> None:
        """What belongs together when a partition moves, and what may come between."""
        steps = [self.start, self.start, self.revoke, self.open_release, self.give_up_further]
        steps += [self.give_up_further, self.assign, self.load]
        if self.rng.random() < 0.2:
            steps.insert(-2, self.reset)
        if self._faults and self.rng.random() < 0.3:
            first = self.rng.randint(3, len(steps))
            steps[first:first] = [self.rng.choice(self._faults), self.pass_time]
            steps.append(self.pass_time)
        for step in steps:
            step()
            if self.rng.random() > self._haste:
                self.happen()

    # Time.

    def pass_time(self) -> None:
        for _ in range(self.rng.choice([1, 1, 2, 4, 12, 30])):
            self.tick()

    def tick(self) -> None:
        """A moment passes, and whoever acts does what must not wait any longer."""
        brokers = self.brokers
        brokers.now += STEP
        for worker in self.workers:
            giving = worker.giving
            if giving and worker.member and brokers.now > giving.started + BARRIER_SECONDS:
                worker.expelled("it kept the group waiting")
            if worker.frozen:
                worker.excuse_standing_still()
            if not worker.acts:
                continue
            self._finish_attempts(worker)
            self._tell_overdue(worker)
            worker.tick()
            if giving and brokers.now > giving.started + 5.0:
                self._go_on_giving(worker)
            self._keep_reading(worker)
            worker.check_holds_end()

    def _finish_attempts(self, worker: Worker) -> None:
        for attempt in list(worker.attempts):
            if attempt.phase is Phase.RUNNING and self.brokers.now >= attempt.deadline:
                worker.answer(attempt)
            elif (
                attempt.phase is Phase.ANSWERED
                and self.brokers.now > attempt.since + PATIENCE
                and not self.unstorable
            ):
                worker.store(attempt)

    def _tell_overdue(self, worker: Worker) -> None:
        if not self.silent:
            for release in worker.releases:
                if self.brokers.now * 2 % 3 == 0:
                    worker.write_words(release, written=True, acknowledged=True)

    def _go_on_giving(self, worker: Worker) -> None:
        if worker.giving and worker.giving.step is None:
            worker.open_release(0, written=not self.silent, acknowledged=not self.silent)
        elif worker.giving:
            away = self.brokers.away
            answer = Answer.RETRIABLE if away else Answer.ACKNOWLEDGED
            worker.give_up_further(answer, applied=not away, late=False)

    def _keep_reading(self, worker: Worker) -> None:
        for lane in worker.lanes.values():
            worker.open_up(lane)
            deadline = lane.inherited.next_deadline
            if deadline is not None and worker.clock > deadline + 5.0:
                worker.ask_ends(lane)
                self._read_all(worker, lane)
                worker.open_up(lane)

    def _read_all(self, worker: Worker, lane: Lane) -> None:
        for number in lane.read_to:
            while worker.read_word(lane, number):
                pass

    # The end.

    def come_to_rest(self) -> None:
        """I10: without further faults every record completes; and then I4."""
        brokers = self.brokers
        brokers.tell("nothing disturbs any more")
        brokers.away = self.silent = self.unstorable = False
        for worker in self.workers:
            worker.frozen, worker.reads_words = False, True
            if worker.alive and not worker.member:
                worker.notice_lost()
        self.join()
        until = brokers.now + 150.0
        while not self._is_at_rest():
            if brokers.now > until:
                brokers.fail("I10", "records do not complete")
            for worker in self.those():
                self._work(worker)
            self.tick()
        for log in brokers.logs.values():
            for offset in log.offsets:
                if (log.here, log.life, offset) not in brokers.stored:
                    brokers.fail("I1", f"{offset} of {log.here.partition} is lost")
        for worker in self.workers:
            worker.check_owed()
        if not self.faults and brokers.excused:
            brokers.fail("I3", f"without any fault: {brokers.excused}")

    def _is_at_rest(self) -> bool:
        committed = all(log.committed.offset == END for log in self.brokers.logs.values())
        return committed and not any(w.owes or w.giving for w in self.those())

    def _work(self, worker: Worker) -> None:
        if worker.giving:
            self._go_on_giving(worker)
        self.assign()
        for lane in list(worker.lanes.values()):
            if lane.standing is Standing.LOADING and self._is_free(worker, lane):
                worker.load(lane)
            self._read_all(worker, lane)
            worker.ask_ends(lane)
            worker.open_up(lane)
            while (offset := worker.startable(lane)) is not None:
                worker.start(lane, offset, 1.0)
            worker.commit_periodically(lane, Answer.ACKNOWLEDGED, applied=True, late=False)
