"""Lets what is to be stored of one partition go in the order of its log, one key by itself."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """The turns of one lane.

    Records are taken into work in the order of the log, but their tasks may take their first steps
    in another one. A step without waiting is enough for each to ask for its turn.
    """

    def __init__(self) -> None:
        self._asked: defaultdict[bytes | None, dict[int, asyncio.Event]] = defaultdict(dict)
        self._nobody = asyncio.Event()

    @asynccontextmanager
    async def turn(self, key: bytes | None, offset: int) -> AsyncIterator[None]:
        """Within the block nobody else of this key has a turn, and all before had theirs.

        To be entered in the first step of a record's task.
        """
        asked, mine = self._asked[key], asyncio.Event()
        asked[offset] = mine
        try:
            # All that were taken into work before this one ask meanwhile, if they are to ask.
            await asyncio.sleep(0)
            while min(asked) != offset:
                mine.clear()
                await mine.wait()
            yield
        finally:
            del asked[offset]
            if asked:
                asked[min(asked)].set()
            else:
                del self._asked[key]
                if not self._asked:
                    self._nobody.set()

    async def over(self) -> None:
        """Return when all that were taken into work before this have had their turns."""
        await asyncio.sleep(0)
        while self._asked:
            self._nobody.clear()
            await self._nobody.wait()
