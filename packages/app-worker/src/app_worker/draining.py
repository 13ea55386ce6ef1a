"""Finishes what is in work in lanes that are to be given up, or goes on with those that are not."""

import asyncio
import logging
from collections.abc import Collection, Iterable

from app_worker.handover import cancelled_by_loss
from app_worker.lanes import Lane

_log = logging.getLogger(__name__)


class Draining:
    """The lanes of one controller that drain."""

    def __init__(self, group: str, margin_seconds: float) -> None:
        """``margin_seconds`` is how much of a drain's time is kept back for what follows it."""
        self._group = group
        self._margin = margin_seconds
        self._going_on = asyncio.Event()
        self._finishing: set[Lane] = set()
        """Those whose work is being finished: nothing of it is cancelled yet."""

    async def finish(self, lanes: Collection[Lane], until: float) -> None:
        """Return when nothing of these stopped lanes is in work any more.

        ``until``, on the loop's clock, is when they must be committed too. What is not finished in
        time is cancelled, and stays uncommitted; likewise if this is cancelled.
        """
        self._finishing.update(lanes)
        try:
            await self._until_finished(lanes, until - self._margin / 2)
        except asyncio.CancelledError:
            # Cut short, by a loss or by the time. Their lanes are dropped next, so that nobody else
            # would find them.
            self.end(lanes)
            for task in in_work(_not_owed(still(lanes))):
                task.cancel()
            raise
        late = in_work(_not_owed(still(lanes)))
        if late:
            self.end(lanes)
            detail = {"group": self._group, "records": len(late)}
            _log.warning("records were not finished in time and stay uncommitted", extra=detail)
            for task in late:
                task.cancel()
            await asyncio.wait(late, timeout=self._margin / 4)

    def end(self, lanes: Collection[Lane]) -> None:
        """It is too late to go on with these."""
        self._finishing.difference_update(lanes)

    def go_on(self, lanes: Iterable[Lane]) -> list[Lane]:
        """Go on with these as if they had never been stopped; return those that can."""
        going_on = [lane for lane in lanes if lane in self._finishing and not lane.positioning]
        for lane in going_on:
            lane.go_on()
        self.end(going_on)
        self._going_on.set()
        return going_on

    async def _until_finished(self, lanes: Collection[Lane], until: float) -> None:
        clock = asyncio.get_running_loop().time
        while (running := in_work(still(lanes))) and (left := until - clock()) > 0:
            self._going_on.clear()
            waits = [
                asyncio.create_task(_ended(running)),
                asyncio.create_task(self._going_on.wait()),
            ]
            try:
                await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waits:
                    each.cancel()


def still(lanes: Iterable[Lane]) -> list[Lane]:
    """Those of these that are stopped, and were not gone on with meanwhile."""
    return [lane for lane in lanes if lane.stopped]


def _not_owed(lanes: Iterable[Lane]) -> list[Lane]:
    """Those whose work ends with them: of others somebody may read that it goes on."""
    return [lane for lane in lanes if cancelled_by_loss(lane.standing)]


def in_work(lanes: Iterable[Lane]) -> list[asyncio.Task[None]]:
    """What runs in these."""
    return [running.call.task for lane in lanes for running in lane.running.values()]


async def _ended(tasks: Collection[asyncio.Task[None]]) -> bool:
    await asyncio.wait(tasks)
    return True
