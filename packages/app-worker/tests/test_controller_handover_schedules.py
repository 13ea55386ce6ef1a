"""Generated schedules of real controllers that hand partitions to each other, in virtual time.

The model in ``handover_model`` checks the rules; this checks what carries them out.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from scripted.bench import A, B, Bench
from scripted.words import ScriptedTopic, UnwritableError

from app_worker.controller import Subscription
from app_worker.record import Record

pytestmark = pytest.mark.looptime

SCHEDULES = 400 if os.environ.get("HANDOVER_SCHEDULES") == "long" else 25
PARTITIONS = (A, B)
RECORDS = 40
MOVES = 8


class Fleet:
    """Three workers, two partitions, and what happens to them."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.topic = ScriptedTopic()
        self.workers: list[Bench] = []
        self.runs: dict[Bench, asyncio.Task[None]] = {}
        self.owner: dict[TopicPartition, Bench] = {}
        self.ended: list[Bench] = []
        self.seconds = {
            (here.partition, offset): self.chance.choice([0.0, 0.0, 0.1, 0.5, 3.0, 9.0])
            for here in PARTITIONS
            for offset in range(RECORDS)
        }

    def begin(self) -> Bench:
        beside = self.workers[0] if self.workers else None
        bench = Bench(words=self.topic.words(), beside=beside)
        bench.handler.seconds = self._seconds_of
        self.workers.append(bench)
        subscription = Subscription(topics=("t",))
        self.runs[bench] = asyncio.create_task(bench.controller.run(subscription))
        return bench

    def _seconds_of(self, record: Record) -> float:
        return self.seconds[record.partition, record.offset]

    @property
    def alive(self) -> list[Bench]:
        return [bench for bench in self.workers if bench not in self.ended]

    async def give(self, here: TopicPartition, but: Bench | None = None) -> None:
        others = [bench for bench in self.alive if bench is not but] or self.alive
        self.owner[here] = self.chance.choice(others)
        await self.owner[here].consumer.assign(here)

    async def produce(self) -> None:
        consumer = self.workers[0].consumer
        for offset in range(RECORDS):
            for here in PARTITIONS:
                consumer.append(here, offset)
                for bench in self.alive:
                    bench.consumer._changed.set()
            await asyncio.sleep(self.chance.uniform(0, 0.6))

    async def move(self, here: TopicPartition) -> None:
        """Again and again: its owner is to give it up, and another one gets it."""
        for _ in range(MOVES):
            await asyncio.sleep(self.chance.uniform(0.0, 3.0))
            owner = self.owner[here]
            await owner.consumer.revoke(here)
            if owner not in self.ended:
                await self.give(here, owner)

    async def end_one(self) -> None:
        """One that is told to end, and another one in its place."""
        await asyncio.sleep(self.chance.uniform(1.0, 10.0))
        leaving = self.chance.choice(self.alive)
        self.begin()
        await asyncio.sleep(0.1)
        self.ended.append(leaving)
        leaving.controller.stop()
        while leaving.consumer.positions or not leaving.consumer.closed:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for here in [here for here, owner in self.owner.items() if owner is leaving]:
            await self.give(here)

    async def kill_one(self) -> None:
        """One that dies, and another one in its place."""
        await asyncio.sleep(self.chance.uniform(1.0, 10.0))
        dying = self.chance.choice(self.alive)
        self.begin()
        await asyncio.sleep(0.1)
        self.ended.append(dying)
        self.runs[dying].cancel()
        await asyncio.wait([self.runs[dying]])
        dying.consumer.positions.clear()
        await asyncio.sleep(self.chance.uniform(0.0, 3.0))
        for here in [here for here, owner in self.owner.items() if owner is dying]:
            await self.give(here)

    async def disturb(self) -> None:
        """Brokers refuse, do not answer, or are slow, for a while."""
        for _ in range(6):
            await asyncio.sleep(self.chance.uniform(0.0, 4.0))
            bench = self.chance.choice(self.alive)
            trouble = self.chance.choice(["commit", "answer", "open", "tell", "read"])
            seconds = self.chance.uniform(0.0, 3.0)
            if trouble == "commit":
                bench.consumer.refuse_commit = refuse
            bench.consumer.unanswered = trouble == "answer"
            self.topic.refuse_open = UnwritableError("no") if trouble == "open" else None
            self.topic.refuse_tell = UnwritableError("no") if trouble == "tell" else None
            self.topic.silent = trouble == "read"
            await asyncio.sleep(seconds)
            bench.consumer.refuse_commit, bench.consumer.unanswered = None, False
            self.topic.refuse_open = self.topic.refuse_tell = None
            self.topic.silent = False
            for reader in self.topic.readers:
                reader.wake()

    @property
    def is_complete(self) -> bool:
        group = self.workers[0].consumer.group
        return all(group.get(here) == RECORDS for here in PARTITIONS)

    @property
    def began(self) -> Counter[tuple[int, int]]:
        return Counter(place for bench in self.workers for place in bench.handler.began)

    @property
    def finished(self) -> Counter[tuple[int, int]]:
        return Counter(place for bench in self.workers for place in bench.handler.finished)


async def refuse() -> None:
    raise KafkaConnectionError("gone")


async def play(seed: int, *happenings: Callable[[Fleet], Awaitable[None]]) -> Fleet:
    fleet = Fleet(seed)
    for _ in range(3):
        fleet.begin()
    await asyncio.sleep(0)
    for here in PARTITIONS:
        fleet.workers[0].consumer.group[here] = 0
        await fleet.give(here)
    await asyncio.gather(
        fleet.produce(),
        *(fleet.move(here) for here in PARTITIONS),
        *(happening(fleet) for happening in happenings),
    )
    async with asyncio.timeout(200):
        while not fleet.is_complete:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    for bench in fleet.alive:
        bench.controller.stop()
    await asyncio.gather(*fleet.runs.values(), return_exceptions=True)
    return fleet


ALL = {(here.partition, offset) for here in PARTITIONS for offset in range(RECORDS)}


@pytest.mark.parametrize("seed", range(SCHEDULES))
async def test_without_a_death_every_record_is_begun_once(seed: int) -> None:
    fleet = await play(seed, Fleet.disturb, Fleet.end_one)
    assert fleet.began == Counter(ALL)
    assert fleet.finished == Counter(ALL)


@pytest.mark.parametrize("seed", range(SCHEDULES))
async def test_whoever_dies_every_record_is_finished(seed: int) -> None:
    fleet = await play(seed, Fleet.disturb, Fleet.kill_one)
    assert fleet.finished.keys() == ALL
    (dead,) = fleet.ended
    repeated = {place for place, times in fleet.began.items() if times > 1}
    assert repeated <= set(dead.handler.began), "and nobody else's is repeated"
