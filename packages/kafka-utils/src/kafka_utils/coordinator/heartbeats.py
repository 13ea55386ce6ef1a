"""Sends a member's heartbeats, and notices when this process itself stood still."""

import asyncio
import logging
import random
from collections.abc import Callable

from aiokafka.errors import KafkaError, RebalanceInProgressError

from kafka_utils.coordinator.deadlines import Pulse, backoff
from kafka_utils.coordinator.membership import ALIVE, Membership, Request
from kafka_utils.coordinator.messages import Identity, Transport

_log = logging.getLogger(__name__)


class Heartbeats:
    """The heartbeats of one member, from its first join to its end.

    They go on during callbacks, drains and a SyncGroup, and pause only while a JoinGroup is
    pending: by that the coordinator holds the member.
    """

    def __init__(
        self,
        transport: Transport,
        pulse: Pulse,
        member: Callable[[], Membership],
        refused: Callable[[Request, KafkaError, Identity], None],
        slept: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._pulse = pulse
        self._member = member
        self._refused = refused
        self._slept = slept
        self._restart = asyncio.Event()
        self._beats = 0
        self._failures = 0
        self._another_round = False
        now = asyncio.get_running_loop().time()
        self._plan_at = self._last_word = self._last_look = now

    def new_plan(self, *, another_round: bool) -> None:
        """The rhythm begins anew: quick, where the plan says that another round follows."""
        self._beats = 0
        self._another_round = another_round
        self._plan_at = self._now()
        self.heard(self._plan_at)
        self._restart.set()

    def heard(self, spoken_at: float) -> None:
        """The coordinator answered what was said at that time."""
        self._last_word = max(self._last_word, spoken_at)

    def look(self) -> None:
        """Notice whether the process stood still past its session, before anything is done."""
        now = self._now()
        last_look, self._last_look = self._last_look, now
        if self._pulse.slept_through(self._last_word, last_look, now):
            self._last_word = now
            if self._member().is_member:
                self._slept()

    async def run(self) -> None:
        """Beat until cancelled."""
        looking = asyncio.create_task(self._look_often())
        try:
            while True:
                await self._pause()
                self.look()
                if self._member().phase in ALIVE:
                    await self._beat()
        finally:
            looking.cancel()

    async def _look_often(self) -> None:
        # A heartbeat may wait longer for its answer than a session lasts.
        while True:
            await asyncio.sleep(self._pulse.interval)
            self.look()

    async def _pause(self) -> None:
        while True:
            self._restart.clear()
            seconds = self._pulse.pause(
                self._beats, self._now() - self._plan_at, another_round=self._another_round
            )
            if self._failures:
                seconds = min(seconds, backoff(self._failures, random.random()))
            try:
                async with asyncio.timeout(seconds):
                    await self._restart.wait()
            except TimeoutError:
                return

    async def _beat(self) -> None:
        self._beats += 1
        spoken_at, spoken_as = self._now(), self._member().identity
        try:
            await self._transport.find()
            spoken_at, spoken_as = self._now(), self._member().identity
            if self._member().phase not in ALIVE:
                return
            await self._transport.heartbeat(spoken_as)
        except RebalanceInProgressError as error:
            self._answered(spoken_at)
            self._refused(Request.HEARTBEAT, error, spoken_as)
        except KafkaError as error:
            self._failures += 1
            self._refused(Request.HEARTBEAT, error, spoken_as)
        except Exception:
            # Whatever it was: a member without heartbeats is expelled, and does not know why.
            self._failures += 1
            _log.exception("a heartbeat could not be sent")
        else:
            self._answered(spoken_at)

    def _answered(self, spoken_at: float) -> None:
        self._failures = 0
        self.heard(spoken_at)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
