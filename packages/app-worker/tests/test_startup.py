import asyncio
import logging
from collections.abc import Sequence

import pytest
from aiokafka.errors import TopicAuthorizationFailedError

from app_worker import startup
from app_worker.startup import Seen, wait_for_topics
from kafka_utils import UnreachableError

COMMAND = "make-the-topics --now"


class Cluster:
    """Answers one after the other; the last one for ever."""

    def __init__(self, *answers: Exception | set[str]) -> None:
        self.answers = list(answers)
        self.asked_at: list[float] = []

    async def look(self) -> startup.Cluster:
        self.asked_at.append(asyncio.get_running_loop().time())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return startup.Cluster("id", dict.fromkeys(answer, 1))


async def wait(cluster: Cluster, needed: Sequence[str] = ("a", "b")) -> list[str]:
    reasons: list[str] = []
    await wait_for_topics(needed, COMMAND, cluster.look, reasons.append, Seen(), jitter=lambda: 0.0)
    return reasons


@pytest.mark.looptime
async def test_it_returns_at_once_when_all_topics_are_there() -> None:
    assert await wait(Cluster({"a", "b", "c"})) == []


async def test_what_was_seen_once_is_not_asked_for_again_unless_something_is_missing_there() -> (
    None
):
    cluster, seen = Cluster({"a", "b"}, {"a", "b", "c"}), Seen()
    for needed in (["a"], ["b", "a"], ["c"]):
        await wait_for_topics(needed, COMMAND, cluster.look, print, seen)
    assert len(cluster.asked_at) == 2


@pytest.mark.looptime
async def test_it_keeps_asking_with_growing_pauses_until_a_broker_answers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nobody = UnreachableError({"x:9092": "cannot be connected to (Connection refused)"})
    cluster = Cluster(*[nobody] * 7, {"a", "b"})
    with caplog.at_level(logging.WARNING):
        reasons = await wait(cluster)
    assert reasons[0] == (
        "no broker can be reached: x:9092 cannot be connected to (Connection refused)"
    )
    assert len(caplog.records) == 7
    assert cluster.asked_at == pytest.approx([0, 0.5, 1.5, 3.5, 7.5, 15.5, 25.5, 35.5])


@pytest.mark.looptime
async def test_missing_topics_are_named_with_the_command_that_creates_them() -> None:
    assert await wait(Cluster({"c"}, {"b"}, {"a", "b"})) == [
        f"missing topics a, b; create with: {COMMAND}",
        f"missing topic a; create with: {COMMAND}",
    ]


@pytest.mark.looptime
async def test_a_refusal_is_said_plainly_and_asked_again() -> None:
    (refused, silent) = await wait(
        Cluster(TopicAuthorizationFailedError("a"), TimeoutError(), {"a", "b"})
    )
    assert "TopicAuthorizationFailedError" in refused
    assert silent == "TimeoutError"


@pytest.mark.looptime
async def test_it_can_be_cancelled_while_it_waits() -> None:
    task = asyncio.create_task(wait(Cluster(set())))
    await asyncio.sleep(100)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
