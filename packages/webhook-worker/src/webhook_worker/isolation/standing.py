"""What is known here and now of one endpoint: what it has in flight, and how it answers."""

import asyncio
from collections import deque

from webhook_worker.endpoint import Endpoint
from webhook_worker.isolation.breaker import Breaker
from webhook_worker.isolation.cap import Cap
from webhook_worker.isolation.pace import Pace

SLOW_SECONDS = 1.0
"""An endpoint that takes longer than this on average, or has been silent for longer, is slow."""
WEIGHT = 0.05
"""Of the newest answer in the average: a rare long one does not make an endpoint slow."""


class Permit:
    """One attempt that may be made; to be given back."""

    __slots__ = ("began", "standing")

    def __init__(self, standing: "Standing", began: float) -> None:
        self.standing = standing
        self.began = began


class Standing:
    """One endpoint's, in this process. Times are on one clock, in seconds."""

    __slots__ = (
        "breaker",
        "cap",
        "endpoint",
        "last_answer",
        "pace",
        "permits",
        "seconds",
        "waiting",
    )

    def __init__(self, endpoint: Endpoint, most: int) -> None:
        self.endpoint = endpoint
        self.cap = Cap(most)
        self.breaker = Breaker()
        self.pace = Pace()
        self.permits: dict[Permit, None] = {}
        """Attempts in flight, the oldest first."""
        self.waiting: deque[tuple[asyncio.Future[Permit | None], float]] = deque()
        """Who waits for a permit, and since when."""
        self.last_answer = float("-inf")
        self.seconds = 0.0
        """That an answer takes, on average."""

    @property
    def inside(self) -> int:
        """Deliveries that it holds places with."""
        return len(self.permits) + len(self.waiting)

    @property
    def has_room(self) -> bool:
        """Whether one more attempt may be made at the same time."""
        most = self.cap.allowed if self.breaker.is_closed else 1
        return len(self.permits) < most

    def is_slow(self, now: float, patience: float) -> bool:
        """Whether it holds up what it is given; ``patience`` is with its silence."""
        if self.seconds > SLOW_SECONDS:
            return True
        if now - self.last_answer <= patience:
            return False
        for oldest in self.permits:
            return now - oldest.began > patience
        return False

    def is_quick(self, now: float, patience: float) -> bool:
        """Whether it answered within ``patience``, and is not slow: nearly all are, at any time."""
        return now - self.last_answer <= patience and self.seconds <= SLOW_SECONDS

    def has_answered(self, since: float) -> bool:
        """Whether it has answered anything since then, or was not asked."""
        return not self.permits or self.last_answer >= since

    def is_forgettable(self, now: float) -> bool:
        """Whether nothing is lost if it is begun anew at the next delivery."""
        return not self.inside and self.breaker.is_spotless and self.pace.is_idle(now)

    def begin(self, now: float) -> Permit:
        """An attempt is made."""
        permit = Permit(self, now)
        self.permits[permit] = None
        self.cap.begun(len(self.permits))
        return permit

    def answered(self, began: float, now: float) -> bool:
        """An attempt was answered. Return whether that closed the circuit."""
        self.last_answer = now
        self.seconds += WEIGHT * (now - began - self.seconds)
        self.cap.answered(began, len(self.permits), now)
        return self.breaker.answered()

    def failed(self, began: float, now: float, jitter: float) -> bool:
        """An attempt failed by the endpoint's fault. Return whether that opened the circuit."""
        self.seconds += WEIGHT * (now - began - self.seconds)
        self.cap.failed(began, now)
        return self.breaker.failed(began, now, jitter)
