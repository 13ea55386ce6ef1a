"""A record as it came, before anything is begun with it."""

import math

from app_worker.handler import DeadLetter
from app_worker.record import Record


class Arrival:
    """A record as it came, and what becomes of it if it is no record that can be handled."""

    __slots__ = ("due", "record", "size", "unfit")

    def __init__(
        self, record: Record, unfit: DeadLetter | None = None, due: float = math.inf
    ) -> None:
        self.record = record
        self.unfit = unfit
        self.due = due
        """When, on the loop's clock, a parked record's delay is over in any case."""
        self.size = record.size

    def seconds_left(self, now_ms: float, clock: float) -> float:
        """How long it is still to wait: by the wall clock, which may jump, or by the loop's.

        The one counts that is the first to let it go.
        """
        if not self.record.not_before_ms:
            return 0.0
        return max(0.0, min(self.record.not_before_ms - now_ms, (self.due - clock) * 1000)) / 1000
