"""Words of a hand-over on real brokers: written, read, and kept from harm."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient
from prometheus_client import CollectorRegistry

from app_worker import KafkaSettings, WorkerSettings
from app_worker.backoff import Backoff
from app_worker.environment import load
from app_worker.handover.needs import WhyNot, Words
from app_worker.handover.words import Kind, Word
from app_worker.handover_topic import kept
from app_worker.handover_topic import reader as reader_module
from app_worker.handover_topic.kept import Asked, kept_words
from app_worker.observability.metrics import WorkerMetrics
from deploy.local.brokers import Cluster
from kafka_utils import Admin, TopicSpec
from tests.conftest import VERSION, ExistingCluster

PATIENCE_SECONDS = 40
DAY_MS = 86_400_000
KEPT = {"cleanup.policy": "delete", "retention.ms": str(8 * DAY_MS)}
NONCE = 7


@dataclass
class Heard:
    """What a reader delivered."""

    words: list[tuple[int, Word]] = field(default_factory=list)
    read_to: dict[int, int] = field(default_factory=dict)

    def __call__(self, partition: int, words: Sequence[Word], read_to: int) -> None:
        self.words += [(partition, word) for word in words]
        self.read_to[partition] = read_to

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not reached():  # noqa: ASYNC110 - brokers have no event to wait for
                await asyncio.sleep(0.02)

    async def reads_to(self, partition: int, offset: int) -> None:
        await self.until(lambda: self.read_to.get(partition) == offset)


@dataclass
class Scene:
    servers: str
    topic: str
    metrics: WorkerMetrics

    @property
    def words_topic(self) -> str:
        return f"{self.topic}.handover"

    def admin(self) -> Admin:
        return Admin(tuple(self.servers.split(",")))

    async def create(self, partitions: int = 2, **configs: str) -> None:
        spec = TopicSpec(
            name=self.words_topic,
            partitions=partitions,
            replication=3,
            configs={**KEPT, "min.insync.replicas": "2"}
            | {name.replace("_", "."): value for name, value in configs.items()},
        )
        async with self.admin() as admin:
            await admin.create([spec])

    @asynccontextmanager
    async def words(self, **environ: str) -> AsyncIterator[Words]:
        environ = {"KAFKA_BOOTSTRAP_SERVERS": self.servers, "WORKER_HANDOVER": "on"} | environ
        asked = Asked(
            topic=self.topic,
            create_command="make-the-topics",
            kafka=load(KafkaSettings, environ),
            worker=load(WorkerSettings, environ),
        )
        async with kept_words(asked, self.metrics) as words:
            yield words

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def scene_of(servers: str) -> Scene:
    return Scene(servers, f"events.{uuid.uuid4().hex[:8]}", WorkerMetrics(CollectorRegistry()))


@pytest.fixture(autouse=True)
def it_is_looked_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "BACKOFF", Backoff(first=0.1, longest=0.1))


async def comes_on(words: Words) -> None:
    """A topic that was just made is not known to every broker yet."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while words.mode.why_not is not None:  # noqa: ASYNC110 - brokers have no event to wait for
            await asyncio.sleep(0.02)


@pytest.fixture
def scene(cluster: Cluster | ExistingCluster) -> Scene:
    return scene_of(cluster.bootstrap_servers)


def settled(scene: Scene, *offsets: int, nonce: int = NONCE) -> Word:
    pairs = tuple((0, offset) for offset in offsets)
    return Word(Kind.SETTLED, "g", nonce, scene.topic, pairs)


async def test_words_are_read_from_any_place_and_again_from_an_earlier_one(scene: Scene) -> None:
    await scene.create()
    heard = Heard()
    async with scene.words() as words:
        await comes_on(words)
        opened = await words.writer.open("g", NONCE, scene.topic)
        for offset in (5, 9):
            await words.writer.tell(opened.partition, settled(scene, offset))
        reader = words.reader(heard)
        reader.read_from({opened.partition: opened.offset + 2})
        await heard.reads_to(opened.partition, opened.offset + 3)
        assert [word.settled for _, word in heard.words] == [((0, 9),)]

        reader.read_from({opened.partition: opened.offset})
        await heard.until(lambda: len(heard.words) == 4)
        assert [word.kind for _, word in heard.words[1:]] == [
            Kind.OPENED,
            Kind.SETTLED,
            Kind.SETTLED,
        ]
        assert await reader.ends([opened.partition]) == {opened.partition: opened.offset + 3}

        reader.rest()
        await words.writer.tell(opened.partition, settled(scene, 11))
        other = 1 - opened.partition
        reader.read_from({other: 0})
        await heard.until(lambda: other in heard.read_to)
        assert heard.read_to[opened.partition] == opened.offset + 3
        await reader.close()


async def test_what_is_no_word_is_counted_and_passed_over(scene: Scene) -> None:
    await scene.create(partitions=1)
    heard = Heard()
    async with scene.words() as words:
        await comes_on(words)
        async with AIOKafkaProducer(bootstrap_servers=scene.servers) as foreign:
            for value in (b"hello", b'{"version": 2}', b'{"version": 1}', None):
                await foreign.send_and_wait(scene.words_topic, value, b"key", partition=0)
        place = await words.writer.open("g", NONCE, scene.topic)
        reader = words.reader(heard)
        reader.read_from({0: place.offset - 4})
        await heard.reads_to(0, place.offset + 1)
        await reader.close()
    assert [word.nonce for _, word in heard.words] == [NONCE]
    assert {
        reason: scene.counted("worker_unusable_words_total", reason=reason)
        for reason in ("foreign", "version", "damaged")
    } == {"foreign": 2, "version": 1, "damaged": 1}


async def test_a_place_that_retention_has_passed_is_read_from_where_the_log_begins_now(
    scene: Scene,
) -> None:
    await scene.create(partitions=1, retention_ms="-1")
    heard = Heard()
    async with scene.words() as words:
        await comes_on(words)
        first = await words.writer.open("g", NONCE, scene.topic)
        await words.writer.tell(0, settled(scene, 5))
        last = first.offset + 2
        await delete_before(scene, last)
        reader = words.reader(heard)
        reader.read_from({0: first.offset})
        await heard.reads_to(0, last)
        assert heard.words == []

        # Beyond the end there are no words either: the topic was made anew.
        reader.rest()
        reader.read_from({0: last + 1_000})
        await words.writer.tell(0, settled(scene, 6))
        await heard.reads_to(0, last + 1)
        await reader.close()
    assert [word.settled for _, word in heard.words] == [((0, 6),)]


async def delete_before(scene: Scene, offset: int) -> None:
    """As retention does, but at once."""
    admin = AdminClient({"bootstrap.servers": scene.servers, "log_level": 0})
    [done] = admin.delete_records([Place(scene.words_topic, 0, offset)]).values()
    await asyncio.to_thread(done.result, PATIENCE_SECONDS)


async def test_words_go_on_when_their_partitions_leader_is_killed(own_cluster: Cluster) -> None:
    scene = scene_of(own_cluster.bootstrap_servers)
    await scene.create(partitions=1)
    heard = Heard()
    async with scene.words() as words:
        await comes_on(words)
        opened = await words.writer.open("g", NONCE, scene.topic)
        reader = words.reader(heard)
        reader.read_from({opened.partition: opened.offset})
        await heard.until(lambda: len(heard.words) >= 1)
        async with scene.admin() as admin:
            described = await admin.describe_topics([scene.words_topic])
        leader = described.leader_of_each()[TopicPartition(scene.words_topic, opened.partition)]
        assert leader is not None
        own_cluster.kill(leader - 1)
        await told(lambda: words.writer.tell(opened.partition, settled(scene, 5)))
        await heard.until(lambda: any(word.settled for _, word in heard.words))
        [end] = (await reader.ends([opened.partition])).values()
        await heard.reads_to(opened.partition, end)
        await reader.close()


async def told(tell: Callable[[], Awaitable[None]]) -> None:
    """As a former owner does: ask again until the word stands there, or the time is over."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(OSError):
                return await tell()


@pytest.mark.parametrize(
    ("configs", "environ", "why_not"),
    [
        ({}, {"WORKER_HANDOVER": "off"}, WhyNot.SETTING),
        ({"cleanup_policy": "compact"}, {}, WhyNot.TOPIC_MISCONFIGURED),
        ({"retention_ms": str(7 * DAY_MS)}, {}, WhyNot.TOPIC_MISCONFIGURED),
        ({}, {"KAFKA_GROUP_INSTANCE_ID": "pod-1"}, WhyNot.STATIC_MEMBER),
        ({}, {"WORKER_HANDLER_TIMEOUT_SECONDS": "600"}, WhyNot.NO_DEADLINE),
    ],
)
async def test_what_stands_in_the_way_is_told_by_the_mode_a_metric_and_the_log(
    scene: Scene,
    configs: dict[str, str],
    environ: dict[str, str],
    why_not: WhyNot,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "app_worker")
    await scene.create(partitions=1, **configs)
    if "WORKER_HANDLER_TIMEOUT_SECONDS" in environ:
        environ = {"WORKER_DRAIN_TIMEOUT_SECONDS": "700"} | environ
    async with scene.words(**environ) as words, asyncio.timeout(PATIENCE_SECONDS):
        while words.mode.why_not is not why_not:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
    mode = "revoke_only" if why_not is WhyNot.STATIC_MEMBER else "off"
    assert scene.counted("worker_handover_mode", mode=mode, reason=why_not) == 1
    said = [each for each in caplog.records if "partitions are" in each.message][-1]
    assert said.__dict__["reason"] == why_not


async def test_a_topic_that_is_missing_is_used_once_it_was_made(scene: Scene) -> None:
    async with scene.words() as words:
        assert words.mode.why_not is WhyNot.TOPIC_MISSING
        await scene.create()
        await comes_on(words)
    assert scene.counted("worker_handover_mode", mode="on", reason="") == 1
    assert scene.counted("worker_handover_mode", mode="off", reason="topic_missing") == 0


async def test_brokers_that_make_what_they_are_asked_for_are_not_asked_for_the_topic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "ENDS_SECONDS", 1.0)
    makes = {"auto.create.topics.enable": "true"}
    with Cluster(VERSION, directory=tmp_path / "kafka", brokers=1, extra=makes) as willing:
        scene = scene_of(willing.bootstrap_servers)
        async with scene.words() as words:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await words.writer.open("g", NONCE, scene.topic)
            reader = words.reader(Heard())
            reader.read_from({0: 0})
            with pytest.raises((KafkaError, OSError)):
                await reader.ends([0])
            await reader.close()
        async with scene.admin() as admin:
            assert scene.words_topic not in await admin.list_topics()
            async with AIOKafkaProducer(bootstrap_servers=scene.servers) as usual:
                await usual.partitions_for(scene.words_topic)
            assert scene.words_topic in await admin.list_topics()
