"""Decides what becomes of deliveries that are kept in order: put in line, blocked, or given up."""

from itertools import accumulate, takewhile

from app_worker.delays import DelaySchedule
from app_worker.handler import Block, DeadLetter, Outcome, Park
from app_worker.record import Record
from webhook_worker.endpoint import Endpoint

LONGEST_BLOCKED = "30m"
LONGEST_BLOCKED_SECONDS = 1_800.0
"""A blocked key is tried again after so long at the latest: everything behind it waits as well."""
LONGEST_POSTPONED_SECONDS = 60.0
"""What is put off without an attempt asks again after so long, or when it is told to."""
MOST_COUNTED = 10
"""How often in a row that is told of: it is bounded by time instead."""
GRACE_SECONDS = 86_400.0
"""What was never attempted may wait for so much longer than what was."""


class LineOrder:
    """How deliveries are kept in order, by a schedule of delays between their attempts."""

    def __init__(self, schedule: DelaySchedule) -> None:
        self.schedule = _with_short_delays(schedule)
        """The same whole length, in delays that a key can be blocked for."""
        self._until_next = list(accumulate(map(schedule.seconds, schedule.delays)))
        self.patience_seconds = self._until_next[-1]
        """How long after it was put in line a delivery is given up when an attempt fails: as long
        as one that is in no line. A restart begins the schedule again, but not this."""

    def belongs_in_line(self, record: Record, endpoint: Endpoint) -> bool:
        """Whether this delivery is to be put into the ordered topic.

        A record without a key has no order. What has stepped aside is in none any more, but what
        was replayed, as if it had never been tried, takes its place at the end.
        """
        if endpoint.ordered is None or record.key is None or record.queued_ms:
            return False
        if endpoint.id in record.enqueued:
            return False
        stepped_aside = record.attempts > 0 or record.postponed > 0
        return endpoint.ordered == "block" or not stepped_aside

    def attempts_outside(self, attempts: int) -> int:
        """How many attempts a delivery in no line has had when one in line has had so many.

        In line there are more in the same time, and the schedule would be over by them.
        """
        waited = sum(map(self.schedule.seconds, self.schedule.delays[: attempts - 1]))
        return min(attempts, 1 + sum(each <= waited for each in self._until_next))

    def kept(self, outcome: Outcome, record: Record, now: float, least: float = 0.0) -> Outcome:
        """What such an outcome comes to where a failure blocks the key.

        ``now`` is in unix seconds. What was postponed waits ``least`` seconds.
        """
        if not isinstance(outcome, Park):
            return outcome
        waited = now - record.queued_ms / 1000
        if waited >= self.patience_seconds + (GRACE_SECONDS if outcome.postponed else 0):
            return DeadLetter(outcome.delivery, outcome.attempts, "exhausted", outcome.detail)
        if not outcome.postponed:
            seconds = self.schedule.seconds(outcome.delay)
            return Block(outcome.delivery, outcome.attempts, seconds)
        # It costs next to nothing to ask again, and the sooner it goes the sooner do the others.
        seconds = max(least, min(2.0 ** (outcome.postponed - 1), LONGEST_POSTPONED_SECONDS))
        postponed = min(outcome.postponed, MOST_COUNTED)
        return Block(outcome.delivery, outcome.attempts, seconds, postponed)


def _with_short_delays(schedule: DelaySchedule) -> DelaySchedule:
    delays = list(
        takewhile(lambda delay: schedule.seconds(delay) <= LONGEST_BLOCKED_SECONDS, schedule.delays)
    )
    rest = schedule.delays[len(delays) :]
    left = sum(map(schedule.seconds, rest))
    count = -int(-left // LONGEST_BLOCKED_SECONDS)
    return DelaySchedule(schedule.topic, (*delays, *[LONGEST_BLOCKED] * count))
