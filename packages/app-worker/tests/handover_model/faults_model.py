"""What may fail."""

from handover_model.group_model import Group
from handover_model.lane_model import Phase
from handover_model.worker_model import Worker


class FaultyGroup(Group):
    """A group in which anything may fail."""

    def any_victim(self) -> Worker | None:
        """Somebody who owes something, if there is anybody."""
        return self.any_worker(lambda w: w.owes) or self.any_worker()

    def crash(self) -> None:
        worker = self.any_victim()
        if worker:
            worker.crash()
            self.join()

    def expel(self) -> None:
        worker = self.any_worker(lambda w: w.member and w.lanes)
        if worker:
            worker.expelled("its session is over")

    def notice_lost(self) -> None:
        worker = self.any_worker(lambda w: not w.member)
        if worker:
            worker.notice_lost()

    def freeze(self) -> None:
        worker = self.any_victim()
        if worker:
            worker.frozen = True
            self.brokers.tell(f"{worker.name} stands still")

    def thaw(self) -> None:
        for worker in self.workers:
            if worker.frozen and self.rng.random() < 0.5:
                worker.frozen = False
                self.brokers.tell(f"{worker.name} goes on")
                # Its timers may be the last to learn how late it is.
                for attempt in worker.attempts:
                    if attempt.phase is Phase.RUNNING:
                        worker.send_another_request(attempt)

    def reset(self) -> None:
        if all(log.owner is None for log in self.brokers.logs.values()):
            log = self.rng.choice(list(self.brokers.logs.values()))
            self.brokers.reset(log, self.rng.choice([0, *log.offsets]))

    def compact(self) -> None:
        """Compaction removes a record, one that is held if there is any."""
        log = self.rng.choice(list(self.brokers.logs.values()))
        held = [n for each in log.read(log.committed).holds for n in each.offsets]
        gone = self.rng.choice(held or log.offsets)
        if gone in log.offsets and len(log.offsets) > 1:
            log.offsets = [n for n in log.offsets if n != gone]
            self.brokers.tell(f"{log.here.partition} has now {log.offsets}")

    def go_away(self) -> None:
        few = self.rng.random() < 0.5
        self.brokers.away, self.silent, self.unstorable = (
            not few or self.rng.random() < 0.5 for _ in range(3)
        )
        self.brokers.tell(
            f"away: coordinator {self.brokers.away}, words {self.silent}, "
            f"outcomes {self.unstorable}"
        )

    def come_back(self) -> None:
        self.brokers.away = self.silent = self.unstorable = False
        self.brokers.tell("the brokers are there again")

    def blind(self) -> None:
        worker = self.any_worker()
        if worker:
            worker.reads_words = not worker.reads_words
            self.brokers.tell(f"{worker.name} reads words: {worker.reads_words}")

    def forget_words(self) -> None:
        if self.rng.random() < 0.3:
            self.brokers.forget_words(self.rng.randrange(len(self.brokers.words)))
