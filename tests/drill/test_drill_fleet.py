"""What a drill's fleet is seen to own while its brokers come and go."""

import asyncio
from contextlib import suppress
from typing import cast

import pytest

from deploy.demo.observe import ClusterView, Ownership
from deploy.drill.fleet import Fleet

STABLE = Ownership("Stable", frozenset(), {})


class View:
    """Answers one after the other."""

    def __init__(self, *answers: Exception | Ownership) -> None:
        self._answers = list(answers)

    async def ownership(self) -> Ownership:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.looptime
async def test_who_owns_what_is_noted_on_after_brokers_did_not_answer() -> None:
    view = View(
        STABLE, OSError("reset"), TimeoutError(), Ownership("Dead", frozenset(), {}), STABLE
    )
    fleet = Fleet([], 1, cast(ClusterView, view), "events", 1, owned=[])
    with suppress(TimeoutError, IndexError):
        async with asyncio.timeout(10):
            await fleet.watch()
    assert len(fleet.owned) == 2
