"""Measures how late the event loop runs what is due."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

SAMPLE_SECONDS = 1.0
WINDOW = 30
"""Samples that are remembered, so that a scrape every 30 s or oftener misses none."""


async def watch_loop_lag(
    tell: Callable[[float], object], clock: Callable[[], float] = time.monotonic
) -> None:
    """Tell once a second by how many seconds the latest timer of the last 30 was late, for ever."""
    samples: deque[float] = deque(maxlen=WINDOW)
    while True:
        due = clock() + SAMPLE_SECONDS
        await asyncio.sleep(SAMPLE_SECONDS)
        samples.append(max(0.0, clock() - due))
        tell(max(samples))
