"""Resolves names: one lookup for all who ask at a time, remembered for a short time."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from webhook_worker.egress import Address
from webhook_worker.sending.lookups import (
    SLOW_SECONDS,
    Answer,
    Lookups,
    ResolverBusyError,
    SlowNameError,
)

FOUND_SECONDS = 30.0
"""How long addresses are remembered. getaddrinfo does not tell how long they may be."""
FAILED_SECONDS = 5.0
"""How long it is remembered that there are none."""
MOST_NAMES = 10_000
"""Of more, the one whose lookup is the longest ago is forgotten."""
SLOW_FOR_ONE_YOUNG = 3
"""Threads for names that are slow, for each of the others."""


class _Known(NamedTuple):
    answer: Answer
    until: float
    slow: bool


class Resolver:
    """Knows the addresses of names, from memory or by a lookup.

    What is remembered gains nobody an address that may not be dialled: that is judged at every
    connection. A lookup is shared by all who want the name, so an endpoint takes one thread at
    most; ``most`` and ``patience`` are those of Lookups. ``now`` gives seconds.
    """

    def __init__(
        self, *, most: int, patience: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._lookups = Lookups(most=most, most_slow=SLOW_FOR_ONE_YOUNG * most, patience=patience)
        self._now = now
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._running: dict[str, asyncio.Task[Answer]] = {}

    async def look_up(self, host: str) -> Sequence[Address]:
        """The addresses of a name, the best first; an address is its own.

        Raises ResolverBusyError, SlowNameError, and socket.gaierror and UnicodeError as
        ``getaddrinfo`` does.
        """
        try:
            return [ip_address(host)]
        except ValueError:
            pass  # a name
        known = self._known.get(host)
        if known is not None and self._now() < known.until:
            return _addresses(known.answer)
        lookup = self._running.get(host)
        if lookup is None:
            lookup = self._running[host] = asyncio.create_task(self._run(host, known))
        # Shielded: whoever gives up leaves the lookup to the others.
        return _addresses(await asyncio.shield(lookup))

    async def _run(self, host: str, known: _Known | None) -> Answer:
        began = self._now()
        try:
            answer = await self._lookups.ask(host, slow=known is not None and known.slow)
        except (ResolverBusyError, SlowNameError) as error:
            return error
        finally:
            del self._running[host]
        self._remember(host, answer, began)
        return answer

    def _remember(self, host: str, answer: Answer, began: float) -> None:
        now = self._now()
        seconds = FAILED_SECONDS if isinstance(answer, Exception) else FOUND_SECONDS
        self._known[host] = _Known(answer, now + seconds, now - began >= SLOW_SECONDS)
        self._known.move_to_end(host)
        if len(self._known) > MOST_NAMES:
            self._known.popitem(last=False)


def _addresses(answer: Answer) -> Sequence[Address]:
    if isinstance(answer, Exception):
        raise answer.with_traceback(None)  # or it would collect those of all who were told
    return answer
