"""Endpoints from a compacted topic."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from webhook_worker.compacted_topic import CompactedTopic, Reader
from webhook_worker.directory import EndpointProblem
from webhook_worker.directory.table import EndpointTable
from webhook_worker.endpoint import Endpoint

MOST_CHECKED = 100
"""Entries at a time; it takes some milliseconds."""


class Told(Protocol):
    """Who is told what becomes of the topic's endpoints."""

    def holds(self, counts: Mapping[str, int], problems: Iterable[EndpointProblem]) -> None:
        """So many there are now; ``problems`` have been found since the last call."""
        ...

    def is_current(self) -> None:
        """All that the topic holds has been read."""
        ...

    def cannot_be_read(self, error: Exception) -> None:
        """What was read before stays in use, and it will be tried again."""
        ...


class TopicDirectory:
    """The endpoints of a topic; a Directory once ``caught_up`` is set."""

    def __init__(
        self, connect: Callable[[], AbstractAsyncContextManager[Reader]], told: Told
    ) -> None:
        """``connect`` gives a reader of all partitions, from their beginning."""
        self._topic = CompactedTopic(connect, EndpointTable, _Follower(told))

    @property
    def caught_up(self) -> asyncio.Event:
        """Set when all has been read that was there at the beginning."""
        return self._topic.caught_up

    @property
    def is_checked(self) -> bool:
        """Whether all entries that came have been checked."""
        return self._topic.table.is_checked

    async def follow(self) -> None:
        """Read until cancelled."""
        await self._topic.follow()

    def endpoints_for(self, customer_id: str, event_type: str) -> tuple[Endpoint, ...]:
        """See Directory."""
        return self._topic.table.endpoints_for(customer_id, event_type)

    def broken_for(self, customer_id: str, event_type: str) -> tuple[str | None, ...]:
        """See Directory."""
        return self._topic.table.broken_for(customer_id, event_type)

    def get(self, endpoint_id: str) -> Endpoint | None:
        """See Directory."""
        return self._topic.table.get(endpoint_id)

    def is_broken(self, endpoint_id: str) -> bool:
        """See Directory."""
        return self._topic.table.is_broken(endpoint_id)

    def knows_customer(self, customer_id: str) -> bool:
        """See Directory."""
        return self._topic.table.knows_customer(customer_id)


class _Follower:
    """Checks entries as they come, and passes on what is told."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self.is_current = told.is_current
        self.cannot_be_read = told.cannot_be_read

    def is_whole(self, table: EndpointTable) -> None:
        self._told.holds(table.counts, ())

    def changed(self, table: EndpointTable) -> bool:
        problems = table.check(MOST_CHECKED)
        self._told.holds(table.counts, problems)
        return not table.is_checked
