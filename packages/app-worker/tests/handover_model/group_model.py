"""What may happen in a group at any moment: to its members, to records, and to words."""

from collections.abc import Callable
from random import Random

from app_worker.handover.standing import Answer, Standing
from handover_model.brokers_model import END, Brokers, Log
from handover_model.lane_model import Attempt, Lane, Phase
from handover_model.worker_model import Worker

MOST_WORKERS = 3


class Group:
    """Brokers and workers. Each thing happens to whom chance chooses, if it can happen to any."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = Random(seed)
        logs = [
            sorted(rng.sample(range(END), rng.choice([3, 6, 10])))
            for _ in range(rng.choice([1, 2]))
        ]
        self.brokers = Brokers(logs, words_partitions=rng.choice([1, 2]))
        self.brokers.tell(f"seed {seed}, logs {logs}")
        self.workers: list[Worker] = []
        for _ in range(2):
            self.join()
        self.silent = self.unstorable = False
        """Whether words cannot be written, and outcomes cannot be stored."""

    # Who and what.

    def those(self, which: Callable[[Worker], object] = lambda _: True) -> list[Worker]:
        return [worker for worker in self.workers if worker.acts and which(worker)]

    def any_worker(self, which: Callable[[Worker], object] = lambda _: True) -> Worker | None:
        those = self.those(which)
        return self.rng.choice(those) if those else None

    def any_lane(self, which: Callable[[Lane], object]) -> tuple[Worker, Lane] | None:
        found = [
            (worker, lane)
            for worker in self.workers
            if worker.acts and worker.lanes
            for lane in worker.lanes.values()
            if which(lane)
        ]
        return self.rng.choice(found) if found else None

    def any_attempt(self, phase: Phase) -> tuple[Worker, Attempt] | None:
        found = [(w, a) for w in self.those() for a in w.attempts if a.phase is phase]
        return self.rng.choice(found) if found else None

    def unowned(self) -> Log | None:
        free = [log for log in self.brokers.logs.values() if log.owner is None]
        return self.rng.choice(free) if free else None

    def fate(self) -> tuple[Answer, bool, bool]:
        """Of a commit: how it is answered, whether it is applied, and whether it will be."""
        draw = self.rng.random()
        if self.brokers.away or draw < 0.15:
            return Answer.RETRIABLE, False, False
        if draw < 0.25:
            return Answer.UNKNOWN, True, False
        if draw < 0.35:
            return Answer.UNKNOWN, False, False
        if draw < 0.4:
            return Answer.UNKNOWN, False, True
        return Answer.ACKNOWLEDGED, True, False

    # The group.

    def join(self) -> None:
        if sum(worker.alive for worker in self.workers) < MOST_WORKERS:
            name = chr(ord("A") + len(self.workers))
            self.workers.append(Worker(self.brokers, name, self.rng))

    def assign(self, *, ignores_maps: bool = False) -> None:
        log = self.unowned()
        worker = self.any_worker(lambda w: w.member and w.giving is None)
        if log and worker and log.here not in worker.lanes:
            log.owner = worker
            self.brokers.bump()
            worker.assigned(log, ignores_maps=ignores_maps)

    def assign_to_an_old_version(self) -> None:
        if self.rng.random() < 0.2:
            self.assign(ignores_maps=True)

    def load(self) -> None:
        found = self.any_lane(lambda lane: lane.standing is Standing.LOADING and not lane.stopped)
        if found and found[0].member and not self.brokers.away and self._is_free(*found):
            found[0].load(found[1])

    def _is_free(self, worker: Worker, lane: Lane) -> bool:
        return worker.giving is None or lane not in worker.giving.lanes

    def revoke(self) -> None:
        worker = self.any_worker(lambda w: w.member and w.giving is None and w.lanes)
        if worker:
            lanes = [lane.log for lane in worker.lanes.values() if self.rng.random() < 0.8]
            if lanes:
                worker.revoked(lanes)

    def open_release(self) -> None:
        worker = self.any_worker(lambda w: w.giving and w.giving.step is None)
        if worker:
            number = self.rng.randrange(len(self.brokers.words))
            draw = 1.0 if self.silent else self.rng.random()
            worker.open_release(number, written=draw < 0.95, acknowledged=draw < 0.9)

    def give_up_further(self) -> None:
        worker = self.any_worker(lambda w: w.giving and w.giving.step is not None)
        if worker:
            answer, applied, late = self.fate()
            worker.give_up_further(answer, applied=applied, late=late)

    def commit(self) -> None:
        found = self.any_lane(lambda lane: True)
        if found:
            answer, applied, late = self.fate()
            found[0].commit_periodically(found[1], answer, applied=applied, late=late)

    def late_arrives(self) -> None:
        if self.brokers.late:
            self.brokers.arrive(self.rng.choice(self.brokers.late))

    # Records.

    def start(self) -> None:
        found = self.any_lane(lambda lane: True)
        if found:
            worker, lane = found
            offset = worker.startable(lane)
            if offset is not None:
                worker.start(lane, offset, self.rng.choice([3.0, 8.0, 15.0]))

    def answer(self) -> None:
        found = self.any_attempt(Phase.RUNNING)
        if found:
            found[0].answer(found[1])

    def store(self) -> None:
        found = self.any_attempt(Phase.ANSWERED)
        if found and not self.unstorable:
            found[0].store(found[1])

    def another_request(self) -> None:
        found = self.any_attempt(Phase.RUNNING)
        if found:
            found[0].send_another_request(found[1])

    # Words and holds.

    def tell(self) -> None:
        worker = self.any_worker(lambda w: w.owes)
        if worker and not self.silent:
            draw = self.rng.random()
            for release in worker.releases:
                worker.write_words(release, written=draw < 0.9, acknowledged=draw < 0.7)

    def read(self) -> None:
        found = self.any_lane(lambda lane: lane.read_to)
        if found:
            found[0].read_word(found[1], self.rng.choice(list(found[1].read_to)))

    def ask_ends(self) -> None:
        found = self.any_lane(lambda lane: lane.read_to)
        if found:
            found[0].ask_ends(found[1])

    def open_up(self) -> None:
        found = self.any_lane(lambda lane: lane.read_to)
        if found:
            found[0].open_up(found[1])
