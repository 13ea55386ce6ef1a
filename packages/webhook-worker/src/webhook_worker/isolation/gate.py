"""Gives permits for attempts, so that what hangs or fails leaves the places to the others."""

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from webhook_worker.attempt import Answered, Attempt
from webhook_worker.endpoint import Endpoint
from webhook_worker.isolation.clock import LivedClock
from webhook_worker.isolation.standing import SLOW_SECONDS, Permit, Standing
from webhook_worker.metrics import WebhookMetrics
from webhook_worker.outcome import PostponedReason

LONGEST_WAIT_SECONDS = 2.0
"""A delivery waits no longer for a permit."""
CROWDED_SHARE = 0.9
"""Of the places; from then on nobody waits for one that does not answer, nor many for anyone."""
WAITING_SHARE = 0.25
"""The part of the places that may wait for one endpoint in any case."""
CROWDED_SILENCE_SECONDS = 0.25
"""So long an endpoint may be silent, while it is crowded, before it counts as slow."""
HALF = 0.5
SLOW_SHARE = 0.2
"""Slow endpoints share half of the places, but of those beyond it they get none while they have
this part of all."""
QUICK_SECONDS = 10.0
"""So long after the last quick answer the other half is kept for quick endpoints. Where there are
none, those that take long may have it too, if they do answer."""
LOOK_SECONDS = 0.1
"""Between two looks at those who wait."""
MOST_REMEMBERED = 10_000
"""Endpoints that are remembered although there is nothing bad to say of them."""
TOO_MANY_REQUESTS = 429
SERVER_ERROR = 500

_log = logging.getLogger(__name__)


class Refusal(NamedTuple):
    """No attempt is to be made now."""

    reason: PostponedReason
    seconds: float = 0.0
    """How long it makes no sense to ask again, as far as is known."""


BUSY = Refusal("endpoint_busy")


class Isolation:
    """Knows of each endpoint what it has in flight, and says who may make an attempt.

    All of it is of one process: each has caps and circuits of its own, and finds out for itself.
    """

    def __init__(
        self,
        places: int,
        most_per_endpoint: int,
        metrics: WebhookMetrics,
        *,
        share: Callable[[], float] = lambda: 1.0,
        jitter: Callable[[], float] = random.random,
        waited: Callable[[], float] | None = None,
    ) -> None:
        """``places`` is how many records may be in flight; ``share`` the part of the whole fleet's
        work that is done here, by which the rate limit of an endpoint is divided.
        ``waited`` is the one of LivedClock."""
        self._places = places
        self._half = places * HALF
        self._most = most_per_endpoint
        self._share = share
        self._jitter = jitter
        self._lived = LivedClock(lambda: self._inside, waited)
        self._clock = self._lived.now
        self._standings: OrderedDict[str, Standing] = OrderedDict()
        self._busy: dict[Standing, None] = {}
        """Those that hold places."""
        self._inside = 0
        self._quick_at = float("-inf")
        """When an endpoint answered quickly last."""
        self._look: asyncio.TimerHandle | None = None
        metrics.waiting.set_function(lambda: self._waiting)
        metrics.open_circuits.set_function(
            lambda: sum(not each.breaker.is_closed for each in self._standings.values())
        )

    async def enter(self, endpoint: Endpoint) -> Permit | Refusal:
        """Return a permit, to be given back by ``leave``; it may be waited for, shortly."""
        standing = self._standings.get(endpoint.id)
        if standing is None or standing.endpoint is not endpoint:
            standing = self._standing_of(endpoint)
        now = self._clock()
        if not standing.breaker.is_closed and (closed := self._shut_out(standing, now)):
            return closed
        # All who wait may go in one moment, so there have to be attempts for them too.
        rate = None if endpoint.limits.rate is None else self._rate_of(endpoint)
        if rate is not None and (wait := standing.pace.wait(rate, now, len(standing.waiting))):
            return Refusal("rate_limited", wait)
        if self._inside >= self._half and self._is_crowded_by(standing, now):
            return BUSY
        if not standing.waiting and standing.has_room:
            self._hold(standing)
            if rate is not None:
                standing.pace.take(rate, now)
            return standing.begin(now)
        return await self._wait(standing, now) if self._may_wait(standing, now) else BUSY

    def leave(self, permit: Permit, attempt: Attempt | None) -> None:
        """The attempt is over; None if it was cancelled, and so says nothing."""
        standing, now = permit.standing, self._clock()
        del standing.permits[permit]
        if attempt is not None:
            self._judge(permit, attempt, now)
        if standing.waiting:
            self._let_in(standing, now)
        self._let_go(standing)

    def state(self) -> dict[str, int]:
        """How much it holds now, and remembers."""
        return {
            "places": self._inside,
            "endpoints": len(self._busy),
            "waiting": self._waiting,
            "remembered": len(self._standings),
        }

    @property
    def _waiting(self) -> int:
        return sum(len(each.waiting) for each in self._busy)

    def _standing_of(self, endpoint: Endpoint) -> Standing:
        standing = self._standings.get(endpoint.id)
        wanted = endpoint.limits.concurrency
        most = self._most if wanted is None else min(wanted, self._most)
        if standing is None or standing.endpoint.url != endpoint.url:
            # What is known of another URL says nothing of this one.
            if len(self._standings) >= MOST_REMEMBERED:
                self._forget()
            standing = self._standings[endpoint.id] = Standing(endpoint, most)
        standing.endpoint = endpoint
        standing.cap.bound(most)
        return standing

    def _forget(self) -> None:
        """Look at the oldest two: more are forgotten than come, once there is nothing to keep."""
        now = self._clock()
        for name, oldest in list(islice(self._standings.items(), 2)):
            if not oldest.is_forgettable(now):
                self._standings.move_to_end(name)
            elif len(self._standings) >= MOST_REMEMBERED:
                del self._standings[name]

    def _rate_of(self, endpoint: Endpoint) -> float | None:
        """Attempts a second that this process may make; None if there is no limit."""
        limit = endpoint.limits.rate
        return None if limit is None else limit * self._share()

    def _shut_out(self, standing: Standing, now: float) -> Refusal | None:
        seconds = standing.breaker.seconds_open(now)
        if seconds or standing.permits:  # A probe is under way.
            return Refusal("circuit_open", seconds)
        return None

    def _is_crowded_by(self, standing: Standing, now: float) -> bool:
        """Whether slow endpoints, of which this is one, have their part of the places already.

        To be asked where half of all places are held.
        """
        if standing.is_quick(now, CROWDED_SILENCE_SECONDS):
            return False
        patience = self._patience()
        if not standing.is_slow(now, patience):
            return False
        if now - self._quick_at > QUICK_SECONDS and standing.has_answered(now - QUICK_SECONDS):
            return False
        theirs, most = 0, self._places * SLOW_SHARE
        for each in self._busy:
            if each.is_slow(now, patience):
                theirs += each.inside
                if theirs >= most:
                    return True
        return False

    def _may_wait(self, standing: Standing, now: float) -> bool:
        if standing.is_slow(now, self._patience()):
            return False
        turns = (len(standing.waiting) + 1) / max(1, standing.cap.allowed)
        if turns * standing.seconds > LONGEST_WAIT_SECONDS:
            return False
        if len(standing.waiting) < self._places * WAITING_SHARE or len(self._busy) == 1:
            return True
        # Those that wait for one that still gets more attempts from round to round are soon gone.
        return self._inside < self._places * (HALF if standing.cap.is_full else CROWDED_SHARE)

    def _patience(self) -> float:
        crowded = self._inside >= self._places * CROWDED_SHARE and len(self._busy) > 1
        return CROWDED_SILENCE_SECONDS if crowded else SLOW_SECONDS

    def _hold(self, standing: Standing) -> None:
        self._inside += 1
        self._lived.watch()
        self._busy[standing] = None

    async def _wait(self, standing: Standing, now: float) -> Permit | Refusal:
        permitted: asyncio.Future[Permit | None] = asyncio.get_running_loop().create_future()
        self._hold(standing)
        standing.waiting.append((permitted, now))
        if self._look is None:
            self._look_later()
        try:
            permit = await permitted
        except asyncio.CancelledError:
            self._withdraw(standing, permitted, now)
            raise
        return BUSY if permit is None else permit

    def _withdraw(
        self, standing: Standing, permitted: "asyncio.Future[Permit | None]", since: float
    ) -> None:
        if permitted.cancelled():
            if (permitted, since) in standing.waiting:
                standing.waiting.remove((permitted, since))
                self._let_go(standing)
        elif permit := permitted.result():
            self.leave(permit, None)

    def _let_in(self, standing: Standing, now: float) -> None:
        """The first of those who wait may go, as many as there is room for."""
        if not standing.breaker.is_closed:
            self._turn_away(standing, float("inf"))
        while standing.waiting and standing.has_room:
            permitted, _ = standing.waiting.popleft()
            if permitted.cancelled():
                self._let_go(standing)
            else:
                if (rate := self._rate_of(standing.endpoint)) is not None:
                    standing.pace.take(rate, now)
                permitted.set_result(standing.begin(now))

    def _let_go(self, standing: Standing) -> None:
        self._inside -= 1
        if not standing.permits and not standing.waiting:
            self._busy.pop(standing, None)

    def _look_later(self) -> None:
        self._look = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look_at_waiting)

    def _look_at_waiting(self) -> None:
        """Nobody waits for what does not answer, nor for too long."""
        self._look = None
        now = self._clock()
        for standing in [each for each in self._busy if each.waiting]:
            hopeless = standing.is_slow(now, self._patience())
            self._turn_away(standing, float("inf") if hopeless else now - LONGEST_WAIT_SECONDS)
        if self._waiting:
            self._look_later()

    def _turn_away(self, standing: Standing, before: float) -> None:
        """Who has waited since then or longer waits no more."""
        while standing.waiting and standing.waiting[0][1] <= before:
            permitted, _ = standing.waiting.popleft()
            self._let_go(standing)
            if not permitted.cancelled():
                permitted.set_result(None)

    def _judge(self, permit: Permit, attempt: Attempt, now: float) -> None:
        standing = permit.standing
        if is_failure(attempt):
            if standing.failed(permit.began, now, self._jitter()):
                _log.info("a circuit was opened", extra={"endpoint": standing.endpoint.id})
        elif isinstance(attempt, Answered):
            if now - permit.began <= SLOW_SECONDS:
                self._quick_at = now
            if standing.answered(permit.began, now):
                _log.info("a circuit was closed", extra={"endpoint": standing.endpoint.id})


def is_failure(attempt: Attempt) -> bool:
    """Whether it tells of trouble at the receiver, so that trying others of its soon helps nobody.

    A refusal of one event, such as 400, is an answer like another. What is our own fault says
    nothing.
    """
    if isinstance(attempt, Answered):
        return attempt.status >= SERVER_ERROR or attempt.status == TOO_MANY_REQUESTS
    return not attempt.ours
