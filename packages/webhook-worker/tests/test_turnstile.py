"""So many at a time, and a turn for everyone else."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from webhook_worker.sending.turnstile import Turnstile


async def turn() -> None:
    """Let all go on that can."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_who_comes_first_goes_first() -> None:
    turnstile, went = Turnstile(1), []

    async def pass_through(name: str) -> None:
        await turnstile.wait()
        went.append(name)

    assert turnstile.pass_at_once()
    waiting = [asyncio.create_task(pass_through(name)) for name in "abc"]
    await turn()
    assert (turnstile.pass_at_once(), went) == (False, [])
    for expected in ("a", "ab", "abc"):
        turnstile.leave()
        # It belongs to who waited, and not to who comes now.
        assert not turnstile.pass_at_once()
        await turn()
        assert "".join(went) == expected
    await asyncio.gather(*waiting)
    turnstile.leave()
    assert turnstile.pass_at_once()


async def test_whose_turn_comes_in_the_moment_it_gives_up_leaves_it_to_the_next() -> None:
    turnstile = Turnstile(1)
    assert turnstile.pass_at_once()
    first, second = (asyncio.create_task(turnstile.wait()) for _ in range(2))
    await turn()
    turnstile.leave()
    first.cancel()
    await turn()
    assert (first.cancelled(), second.done()) == (True, True)
    turnstile.leave()
    assert turnstile.pass_at_once()


@given(st.integers(1, 3), st.lists(st.sampled_from(["enter", "leave", "cancel"])))
def test_never_are_more_in_than_may_be_and_nobody_waits_in_vain(
    most: int, steps: list[str]
) -> None:
    async def run() -> None:
        turnstile = Turnstile(most)
        inside, waiting = 0, list[asyncio.Task[None]]()
        for step in steps:
            if step == "enter":
                if turnstile.pass_at_once():
                    inside += 1
                else:
                    waiting.append(asyncio.create_task(turnstile.wait()))
            elif step == "leave" and inside:
                inside -= 1
                turnstile.leave()
            elif step == "cancel" and waiting:
                waiting[-1].cancel()
            await turn()
            inside += sum(each.done() and not each.cancelled() for each in waiting)
            waiting = [each for each in waiting if not each.done()]
            assert inside <= most
            assert inside == most or not waiting
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(run())
