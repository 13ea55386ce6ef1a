"""Dead letters on real brokers: listed, shown, and replayed once each, whatever happens."""

import asyncio
import json
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import pytest
from aiokafka import ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from prometheus_client import CollectorRegistry

from app_worker.delays import DelaySchedule
from app_worker.handler import DeadLetter
from app_worker.observability.metrics import WorkerMetrics
from app_worker.parked_headers import unpark
from app_worker.parking import Parking
from app_worker.record import Origin, Record
from app_worker.renewable_producer import RenewableProducer
from kafka_utils import ProducerConfig, create_producer
from tests.harness.environment import COMMAND, without_settings
from tests.harness.stored_records import stored_records

PARTITIONS = 3


class Brokers(Protocol):
    """What the tests need to know of a cluster."""

    @property
    def bootstrap_servers(self) -> str: ...


class Desk:
    """Topics of a test, dead letters in them, and the command."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.topic = f"desk.{uuid.uuid4().hex[:12]}"
        self.environ = without_settings() | {
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "KAFKA_GROUP_ID": self.topic,
            "WEBHOOK_TOPIC": self.topic,
            "WEBHOOK_RETRY_SCHEDULE": "1s,2s",
            "WEBHOOK_DEAD_LETTER_TOPIC": f"{self.topic}.dead",
        }

    async def begin(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            COMMAND,
            *arguments,
            env=self.environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def command(self, *arguments: str, expect: int = 0) -> tuple[list[str], str]:
        process = await self.begin(*arguments)
        out, err = await asyncio.wait_for(process.communicate(), 40)
        assert process.returncode == expect, (out, err)
        return out.decode().splitlines(), err.decode()

    async def bury(self, *letters: DeadLetter, data: dict[str, str] | None = None) -> None:
        """As a worker does."""
        servers = tuple(self.servers.split(","))
        producer = RenewableProducer(
            lambda: create_producer(ProducerConfig(bootstrap_servers=servers))
        )
        schedule = DelaySchedule.parse(self.topic, "1s,2s")
        metrics = WorkerMetrics(CollectorRegistry())
        parking = Parking(producer, schedule, f"{self.topic}.dead", metrics)
        await producer.start()
        try:
            await asyncio.gather(
                *(parking.store(self.record(n, data), each) for n, each in enumerate(letters))
            )
        finally:
            await producer.stop()

    def record(self, number: int, data: dict[str, str] | None) -> Record:
        event = {"id": f"evt_{number}", "type": "t", "customer_id": "acme", "data": data or {}}
        value = json.dumps(event | {"timestamp": "2026-01-01T00:00:00Z"}).encode()
        origin = Origin(self.topic, 0, number)
        headers = [("traceparent", b"00-1-2-01")]
        return Record(self.topic, 0, number, b"%d" % number, value, headers, 1_700_000, origin)

    async def limit_first_delay(self, most_bytes: str) -> None:
        """The first delay topic takes no larger batches of records."""
        resource = ConfigResource(
            ConfigResourceType.TOPIC, f"{self.topic}.retry.1s", {"max.message.bytes": most_bytes}
        )
        async with self.admin() as admin:
            await admin.alter_configs([resource])

    async def forget_dead_letters(self) -> None:
        """As who deletes their topic and creates it again."""
        async with self.admin() as admin, asyncio.timeout(30):
            await admin.delete_topics([f"{self.topic}.dead"])
            while f"{self.topic}.dead" in await admin.list_topics():  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.1)
        async with asyncio.timeout(30):
            while f"{self.topic}.dead: created" not in await self.create():  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.1)

    async def create(self) -> list[str]:
        created, _ = await self.command(
            *("topics", "create", "--partitions", "1", "--retry-partitions", str(PARTITIONS))
        )
        return created

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        client = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await client.start()
        try:
            yield client
        finally:
            await client.close()

    async def waiting(self) -> list[ConsumerRecord[bytes, bytes]]:
        """What a worker would read in the first delay topic."""
        return await stored_records(self.servers, f"{self.topic}.retry.1s", PARTITIONS)

    async def replayed(self) -> Counter[str]:
        """How often each event waits for a worker."""
        return Counter(json.loads(each.value or b"")["id"] for each in await self.waiting())


@pytest.fixture
async def desk(cluster: Brokers) -> Desk:
    made = Desk(cluster.bootstrap_servers)
    assert f"{made.topic}.dead.replayed: created" in await made.create()
    return made


async def test_they_are_listed_shown_and_replayed_once(desk: Desk) -> None:
    await desk.bury(
        DeadLetter("acme-1", 9, "exhausted", "status 500: \x1b[2Jupstream"),
        DeadLetter("acme-2", 1, "gone", "status 410"),
        DeadLetter(None, 0, "not_json", "no value at 1"),
        DeadLetter("acme-1", 9, "exhausted", "timeout"),
    )
    lines, _ = await desk.command("dead-letters", "list")
    assert [line.split() for line in lines[-4:]] == [
        ["2", "exhausted"],
        ["1", "gone"],
        ["1", "not_json"],
        ["4", "in", "all"],
    ]
    assert "\x1b" not in "".join(lines)
    (gone,) = [line for line in lines if " gone  acme-2  evt_1  status 410" in line]

    shown, _ = await desk.command("dead-letters", "show", gone.split()[0])
    said = json.loads("".join(shown))
    assert said["endpoint"] == "acme-2"
    assert said["origin"] == f"{desk.topic}:0:1"
    assert "payload" not in said
    shown, _ = await desk.command("dead-letters", "show", gone.split()[0], "--payload")
    assert json.loads(json.loads("".join(shown))["payload"])["id"] == "evt_1"

    _, err = await desk.command("dead-letters", "replay", "--yes", expect=2)
    assert "say which" in err
    said_only, err = await desk.command("dead-letters", "replay", "--all")
    assert [line.split(maxsplit=1) for line in said_only] == [
        ["3", "would be replayed"],
        ["0", "replayed before"],
        ["1", "left: no event"],
    ]
    assert "--yes" in err
    assert not await desk.waiting()

    done, _ = await desk.command("dead-letters", "replay", "--endpoint", "acme-1", "--yes")
    assert done[0].split(maxsplit=1) == ["2", "replayed"]
    again, _ = await desk.command("dead-letters", "replay", "--all", "--yes")
    assert [line.split(maxsplit=1)[0] for line in again] == ["1", "2", "1"]
    assert await desk.replayed() == {"evt_0": 1, "evt_1": 1, "evt_3": 1}
    back = [unpark(each) for each in await desk.waiting()]
    assert {each.delivery for each in back} == {"acme-1", "acme-2"}
    for each in back:
        assert each.attempts == 0
        assert each.headers == (("traceparent", b"00-1-2-01"),)
        assert each.timestamp_ms == 1_700_000
        assert each.origin.topic == desk.topic


async def test_killed_in_the_middle_and_begun_again_each_is_replayed_once(desk: Desk) -> None:
    count = 200
    await desk.bury(*(DeadLetter("acme-1", 9, "exhausted") for _ in range(count)))
    for _ in range(2):
        process = await desk.begin("dead-letters", "replay", "--all", "--yes", "--rate", "40")
        before = len(await desk.replayed())
        async with asyncio.timeout(30):
            while len(await desk.replayed()) < before + 40:
                assert process.returncode is None
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert len(await desk.replayed()) < count
    done, _ = await desk.command("dead-letters", "replay", "--all", "--yes")
    assert int(done[0].split()[0]) + int(done[1].split()[0]) == count
    assert await desk.replayed() == {f"evt_{number}": 1 for number in range(count)}


async def test_of_two_at_a_time_the_first_stops_and_each_is_replayed_once(desk: Desk) -> None:
    count = 200
    await desk.bury(*(DeadLetter("acme-1", 9, "exhausted") for _ in range(count)))
    first = await desk.begin("dead-letters", "replay", "--all", "--yes", "--rate", "20")
    async with asyncio.timeout(30):
        while not await desk.replayed():
            assert first.returncode is None
    second, _ = await desk.command("dead-letters", "replay", "--all", "--yes")
    _, err = await asyncio.wait_for(first.communicate(), 30)
    assert first.returncode == 1
    assert "another replay of these dead letters has begun" in err.decode()
    assert int(second[0].split()[0]) + int(second[1].split()[0]) == count
    assert await desk.replayed() == {f"evt_{number}": 1 for number in range(count)}


async def test_what_the_brokers_refuse_is_named_stays_and_can_be_left_out(desk: Desk) -> None:
    await desk.bury(DeadLetter("acme-1", 9, "exhausted"), DeadLetter("acme-2", 9, "exhausted"))
    await desk.bury(DeadLetter("large", 9, "exhausted"), data={"text": "a" * 2_000})
    lines, _ = await desk.command("dead-letters", "list")
    (place,) = [line.split()[0] for line in lines if "large" in line]
    await desk.limit_first_delay("1000")
    done, err = await desk.command("dead-letters", "replay", "--all", "--yes", expect=1)
    assert done[0].split() == ["0", "replayed"]
    assert f"{desk.topic}.retry.1s did not take the letter at {place} (" in err
    assert "MessageSizeTooLargeError" in err
    assert not await desk.waiting()
    done, _ = await desk.command("dead-letters", "replay", "--all", "--yes", "--except", place)
    assert [line.split(maxsplit=1) for line in done] == [
        ["2", "replayed"],
        ["0", "replayed before"],
    ]
    await desk.limit_first_delay("100000")
    done, _ = await desk.command("dead-letters", "replay", "--all", "--yes")
    assert [line.split(maxsplit=1) for line in done] == [
        ["1", "replayed"],
        ["2", "replayed before"],
    ]
    assert (await desk.replayed()).total() == 3


async def test_what_lies_where_a_replayed_letter_lay_before_the_topic_was_made_anew_is_replayed(
    desk: Desk,
) -> None:
    await desk.bury(DeadLetter("acme-1", 9, "exhausted"))
    await desk.command("dead-letters", "replay", "--all", "--yes")
    await desk.forget_dead_letters()
    await desk.bury(DeadLetter("acme-2", 9, "exhausted"))
    done, _ = await desk.command("dead-letters", "replay", "--all", "--yes")
    assert [line.split(maxsplit=1) for line in done] == [
        ["1", "replayed"],
        ["0", "replayed before"],
    ]


async def test_what_is_missing_is_said(desk: Desk) -> None:
    desk.environ["WEBHOOK_DEAD_LETTER_TOPIC"] = f"{desk.topic}.other"
    for command in (["list"], ["show", "0:1"], ["replay", "--all"]):
        _, err = await desk.command("dead-letters", *command, expect=1)
        assert f"missing topic {desk.topic}.other" in err.replace("topics", "topic")
        assert "webhook-worker topics create" in err
    desk.environ["WEBHOOK_DEAD_LETTER_TOPIC"] = f"{desk.topic}.dead"
    _, err = await desk.command("dead-letters", "show", "0:1", expect=1)
    assert "there is no record at 0:1" in err
    _, err = await desk.command("dead-letters", "show", "9:1", expect=1)
    assert "there is no record at 9:1" in err
