"""The whole way on real brokers: the installed command, from a record to a customer's endpoint."""

import asyncio
import base64
import json
import signal
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, Protocol

import pytest
from aiohttp import web
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from standardwebhooks import Webhook

from kafka_utils import ProducerConfig, create_producer
from tests.harness.environment import COMMAND, without_settings
from tests.harness.stored_records import stored_records

PATIENCE_SECONDS = 30
SECRET = "whsec_" + base64.b64encode(b"the integration tests' key").decode()
PARTITIONS, RETRY_PARTITIONS = 4, 2


class Brokers(Protocol):
    """What the tests need to know of a cluster."""

    @property
    def bootstrap_servers(self) -> str: ...


class Receiver:
    """Counts what verifies; answers by path: /ok 200, /fail 503, /held when ``release`` is set."""

    def __init__(self) -> None:
        self.port = 0
        self.delivered: Counter[tuple[str, str]] = Counter()
        """By path and webhook-id."""
        self.times: list[float] = []
        self.bodies: dict[str, Any] = {}
        self.forged = 0
        self.waiting = 0
        self.release = asyncio.Event()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Receiver"]:
        application = web.Application()
        application.router.add_post("/{manner}", self._receive)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            self.release.set()  # It would wait for those who wait.
            await runner.cleanup()

    def ids(self, manner: str) -> set[str]:
        return {event for path, event in self.delivered if path == manner}

    def times_delivered(self, manner: str) -> Counter[int]:
        return Counter(times for (path, _), times in self.delivered.items() if path == manner)

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.times.append(time.monotonic())
        try:
            Webhook(SECRET).verify(body, dict(request.headers))
        except Exception:
            self.forged += 1
            return web.Response(status=400)
        event = request.headers["webhook-id"]
        self.bodies[event] = json.loads(body)
        manner = request.match_info["manner"]
        if manner == "held":
            self.waiting += 1
            await self.release.wait()
        self.delivered[manner, event] += 1
        return web.Response(status=503 if manner == "fail" else 200)


class Worker:
    """A process of ``webhook-worker run``, seen from outside."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def port(self) -> int:
        entries = map(json.loads, self.log.splitlines())
        return next((entry["port"] for entry in entries if entry["msg"] == "listening"), 0)

    async def get(self, path: str) -> str:
        def ask() -> str:
            address = f"http://127.0.0.1:{self.port}{path}"
            with urllib.request.urlopen(address, timeout=5) as answer:
                return str(answer.read().decode())

        try:
            return await asyncio.to_thread(ask)
        except OSError:
            return ""

    async def ready(self) -> bool:
        return bool(await self.get("/readyz"))

    async def metric(self, line: str) -> float:
        for text in (await self.get("/metrics")).splitlines():
            if text.startswith(f"{line} "):
                return float(text.rpartition(" ")[2])
        return 0.0

    async def has_parked(self) -> bool:
        return await self.metric('worker_parked_total{delay="1s"}') > 0

    async def knows_no_endpoint(self) -> bool:
        return await self.metric('webhook_endpoints{state="enabled"}') == 0

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), PATIENCE_SECONDS)


class Way:
    """One test's topics, settings, endpoints and commands."""

    def __init__(self, servers: str, directory: Path) -> None:
        self.servers = servers
        self.topic = f"path.{uuid.uuid4().hex[:12]}"
        self.dead_letters = f"{self.topic}.dead"
        self._directory = directory
        self.endpoints = directory / "endpoints.json"
        self.environ = without_settings() | {
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "KAFKA_GROUP_ID": self.topic,
            "KAFKA_SESSION_TIMEOUT_MS": "6000",
            "KAFKA_HEARTBEAT_INTERVAL_MS": "500",
            "WORKER_METRICS_PORT": "0",
            "WORKER_LOG_LEVEL": "debug",
            "WEBHOOK_TOPIC": self.topic,
            "WEBHOOK_ENDPOINTS": f"file://{self.endpoints}",
            "WEBHOOK_RETRY_SCHEDULE": "1s,2s",
            "WEBHOOK_DEAD_LETTER_TOPIC": self.dead_letters,
            "WEBHOOK_UNKNOWN_CUSTOMER": "dead-letter",
            "WEBHOOK_EGRESS_ALLOW": "127.0.0.0/8",
        }

    def write_endpoints(self, *endpoints: dict[str, object]) -> None:
        whole = [{"customer_id": "acme", "secrets": [SECRET]} | each for each in endpoints]
        new = self.endpoints.with_suffix(".new")
        new.write_text(json.dumps({"endpoints": whole}))
        new.replace(self.endpoints)

    async def command(self, *arguments: str) -> list[str]:
        process = await asyncio.create_subprocess_exec(
            COMMAND, *arguments, env=self.environ, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
        assert process.returncode == 0, out
        return out.decode().splitlines()

    async def create_topics(self) -> None:
        created = await self.command(
            *("topics", "create", "--partitions", str(PARTITIONS)),
            *("--retry-partitions", str(RETRY_PARTITIONS)),
        )
        # The source, two delays, the dead letters and which were replayed, the state of endpoints.
        assert len(created) == 7

    async def send(self, count: int, *more: str) -> set[str]:
        """Produce events by the command, all to one partition; their ids."""
        lines = await self.command(
            *("send", "--customer", "acme", "--type", "order.paid", "--count", str(count), *more)
        )
        return {line.split()[0] for line in lines}

    async def emit(self, count: int, *customers: str) -> set[str]:
        """Produce events without the command, which takes a second to start; their ids."""
        ids = [f"evt_{uuid.uuid4().hex}" for _ in range(count)]
        whose = cycle(customers or ["acme"])
        await self.produce(event(each, customer_id=next(whose)) for each in ids)
        return set(ids)

    async def produce(self, values: Iterable[bytes | None]) -> None:
        """Produce anything, over all partitions."""
        servers = tuple(self.servers.split(","))
        producer = create_producer(ProducerConfig(bootstrap_servers=servers))
        await producer.start()
        try:
            for number, value in enumerate(values):
                await producer.send(self.topic, value, key=b"k", partition=number % PARTITIONS)
            await producer.flush()
        finally:
            await producer.stop()

    async def put(self, topic: str, key: bytes, value: bytes | None) -> None:
        """Produce one record with a key."""
        producer = create_producer(ProducerConfig(bootstrap_servers=tuple(self.servers.split(","))))
        await producer.start()
        try:
            await producer.send_and_wait(topic, value, key=key)
        finally:
            await producer.stop()

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        log = self._directory / f"{uuid.uuid4().hex}.log"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                COMMAND, "run", env=self.environ, stderr=errors
            )
        worker = Worker(process, log)
        try:
            await eventually(worker.ready, lambda: worker.log)
            yield worker
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def uncommitted(self) -> int:
        """Records of all topics that are read that their group has not committed."""
        main = await self._uncommitted(self.topic, PARTITIONS, self.topic)
        group = f"{self.topic}.retry"
        delayed = [
            await self._uncommitted(f"{self.topic}.retry.{delay}", RETRY_PARTITIONS, group)
            for delay in ("1s", "2s")
        ]
        return main + sum(delayed)

    async def all_is_committed(self) -> bool:
        return await self.uncommitted() == 0

    async def _uncommitted(self, topic: str, count: int, group: str) -> int:
        partitions = [TopicPartition(topic, number) for number in range(count)]
        async with self._consumer(group) as consumer:
            ends = await consumer.end_offsets(partitions)
            committed = [await consumer.committed(partition) or 0 for partition in partitions]
        return int(sum(ends.values())) - sum(committed)

    async def stored(self, topic: str, count: int) -> list[ConsumerRecord[bytes, bytes]]:
        """Everything in a topic."""
        return await stored_records(self.servers, topic, count)

    async def given_up(self) -> list[dict[str, str]]:
        """The headers of the dead letters."""
        records = await self.stored(self.dead_letters, RETRY_PARTITIONS)
        return [{name: value.decode() for name, value in r.headers} for r in records]

    @asynccontextmanager
    async def _consumer(self, group: str) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.servers, group_id=group, enable_auto_commit=False
        )
        try:
            await consumer.start()
            yield consumer
        finally:
            await consumer.stop()


async def eventually(
    reached: Callable[[], bool | Awaitable[bool]], otherwise: Callable[[], object] = str
) -> None:
    """Wait until it is so; fail with ``otherwise`` when that takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        verdict = reached()
        if verdict if isinstance(verdict, bool) else await verdict:
            return
        assert time.monotonic() < deadline, otherwise()
        await asyncio.sleep(0.1)


@pytest.fixture
async def way(cluster: Brokers, tmp_path: Path) -> Way:
    ours = Way(cluster.bootstrap_servers, tmp_path)
    await ours.create_topics()
    return ours


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().serving() as ours:
        yield ours


def endpoint(receiver: Receiver, manner: str, **more: object) -> dict[str, object]:
    return {"id": manner, "url": f"http://127.0.0.1:{receiver.port}/{manner}"} | more


def held_ones(receiver: Receiver, count: int) -> list[dict[str, object]]:
    """Endpoints of as many customers, each of which gets two attempts while it does not answer."""
    held = endpoint(receiver, "held")
    return [held | {"id": f"held-{n}", "customer_id": f"held-{n}"} for n in range(count)]


def event(event_id: str, **more: object) -> bytes:
    members = {
        "id": event_id,
        "type": "order.paid",
        "customer_id": "acme",
        "timestamp": "2026-01-01T00:00:00Z",
        "data": {"n": 1},
    }
    return json.dumps(members | more).encode()


async def test_every_event_arrives_once_verifies_and_is_committed(
    way: Way, receiver: Receiver
) -> None:
    way.write_endpoints(
        endpoint(receiver, "ok"),
        {"id": "ok2", "url": f"http://localhost:{receiver.port}/ok2"},
        endpoint(receiver, "other", event_types=["order.sent"]),
        endpoint(receiver, "off", enabled=False),
    )
    sent = await way.send(100, "--data", '{"total": 1.50}')
    spread = await way.emit(200)
    async with way.worker() as worker, way.worker():
        await eventually(lambda: receiver.ids("ok") == receiver.ids("ok2") == sent | spread)
        await eventually(way.all_is_committed)
        assert await worker.metric('webhook_endpoints{state="disabled"}') == 1
        assert await worker.metric('webhook_attempts_total{outcome="2xx"}') > 0
        assert await worker.stop() == 0
    assert receiver.forged == 0
    assert set(receiver.delivered.values()) == {1}
    assert receiver.bodies[min(sent)]["data"] == {"total": 1.5}
    assert not receiver.ids("other") | receiver.ids("off")


async def test_an_endpoint_that_fails_is_parked_through_the_schedule_and_given_up(
    way: Way, receiver: Receiver
) -> None:
    way.write_endpoints(endpoint(receiver, "fail"), endpoint(receiver, "ok"))
    (sent,) = await way.send(1)
    async with way.worker() as worker:
        await eventually(lambda: receiver.delivered["fail", sent] == 3)
        await eventually(way.all_is_committed, lambda: worker.log)
    assert receiver.delivered["ok", sent] == 1
    first, second, third = receiver.times[0], *receiver.times[-2:]
    assert 1 <= second - first < 5
    assert 2 <= third - second < 6
    (dead,) = await way.given_up()
    assert dead["worker-reason"] == "exhausted"
    assert dead["worker-delivery"] == "fail"
    assert dead["worker-attempts"] == "3"
    assert dead["worker-detail"] == "status 503"
    assert dead["worker-origin"].startswith(f"{way.topic}:")


async def test_a_record_that_is_no_event_is_a_dead_letter_with_its_reason(
    way: Way, receiver: Receiver
) -> None:
    way.write_endpoints(endpoint(receiver, "ok"))
    bad: dict[str, bytes | None] = {
        "not_utf8": b'{"id": "\xff"}',
        "not_json": b"{nothing",
        "bad_shape": b'{"id": "a"}',
        "too_large": event("large", data="x" * 1_000_000),
        "tombstone": None,
        "bad_id": event("a.b"),
        "unknown_customer": event("lost", customer_id="nobody"),
    }
    await way.produce([*bad.values(), *(event(f"good-{number}") for number in range(20))])
    async with way.worker() as worker:
        await eventually(lambda: len(receiver.ids("ok")) == 20)
        await eventually(way.all_is_committed, lambda: worker.log)
    dead = await way.stored(way.dead_letters, RETRY_PARTITIONS)
    by_reason = {dict(record.headers)["worker-reason"].decode(): record for record in dead}
    assert len(dead) == len(bad)
    assert by_reason.keys() == bad.keys()
    assert by_reason["not_json"].value == b"{nothing"
    assert by_reason["not_json"].key == b"k"


async def test_sigterm_finishes_what_is_in_flight_and_nothing_is_delivered_twice(
    way: Way, receiver: Receiver
) -> None:
    held = held_ones(receiver, 25)
    way.write_endpoints(*held)
    sent = await way.emit(50, *(str(each["customer_id"]) for each in held))
    async with way.worker() as worker:
        await eventually(lambda: receiver.waiting == 50, lambda: worker.log)
        worker.process.send_signal(signal.SIGTERM)
        await eventually(lambda: "stopping" in worker.log)
        receiver.release.set()
        assert await asyncio.wait_for(worker.process.wait(), PATIENCE_SECONDS) == 0
    assert await way.all_is_committed()
    more = await way.emit(1, "held-0")
    async with way.worker():
        await eventually(lambda: receiver.ids("held") == sent | more)
    assert receiver.times_delivered("held") == {1: 51}


async def test_kill_loses_nothing(way: Way, receiver: Receiver) -> None:
    held = held_ones(receiver, 30)
    way.write_endpoints(*held, endpoint(receiver, "fail"))
    failing = await way.emit(1)
    sent = await way.emit(60, *(str(each["customer_id"]) for each in held))
    async with way.worker() as worker:
        await eventually(lambda: receiver.waiting == 60, lambda: worker.log)
        worker.process.kill()
        await worker.process.wait()
    receiver.release.set()
    async with way.worker() as worker:
        await eventually(lambda: receiver.ids("held") == sent, lambda: worker.log)
        await eventually(way.all_is_committed, lambda: worker.log)
    given_up = {(dead["worker-delivery"], dead["worker-reason"]) for dead in await way.given_up()}
    assert given_up == {("fail", "exhausted")}
    assert receiver.ids("fail") == failing


async def test_endpoints_of_a_topic_come_change_break_and_go_while_the_worker_runs(
    way: Way, receiver: Receiver
) -> None:
    topic = f"{way.topic}.endpoints"
    way.environ["WEBHOOK_ENDPOINTS"] = f"kafka:{topic}"
    assert f"{topic}: created" in await way.command("topics", "create")
    entry = {"customer_id": "acme", "secrets": [SECRET]} | endpoint(receiver, "ok")

    def text(**more: object) -> bytes:
        return json.dumps(entry | more).encode()

    await way.put(topic, b"gone", text(id="gone", url=f"http://127.0.0.1:{receiver.port}/gone"))
    await way.put(topic, b"gone", None)
    await way.put(topic, b"ok", text())
    sent = await way.emit(20)
    async with way.worker() as worker:
        await eventually(lambda: receiver.ids("ok") == sent, lambda: worker.log)
        assert await worker.metric("webhook_endpoints_current_timestamp_seconds") > 0
        assert await worker.metric('webhook_endpoints{state="enabled"}') == 1
        await way.put(topic, b"ok", text(url="nowhere"))
        await eventually(lambda: "its entry is wrong" in worker.log, lambda: worker.log)
        waiting = await way.emit(1)
        await eventually(worker.has_parked, lambda: worker.log)
        await way.put(topic, b"ok", text(url=f"http://127.0.0.1:{receiver.port}/moved"))
        await eventually(lambda: receiver.ids("moved") == waiting, lambda: worker.log)
        await way.put(topic, b"ok", None)
        await eventually(worker.knows_no_endpoint, lambda: worker.log)
        await way.emit(1)
        await eventually(way.all_is_committed, lambda: worker.log)
        assert SECRET not in worker.log
    (dead,) = await way.given_up()
    assert dead["worker-reason"] == "unknown_customer"
    assert set(receiver.delivered.values()) == {1}
    assert not receiver.ids("gone")


async def test_a_changed_file_of_endpoints_is_in_effect_without_a_restart(
    way: Way, receiver: Receiver
) -> None:
    way.write_endpoints(endpoint(receiver, "fail"), endpoint(receiver, "broken", url="nowhere"))
    async with way.worker() as worker:
        (first,) = await way.emit(1)
        await eventually(lambda: receiver.delivered["fail", first] >= 1)
        way.write_endpoints(endpoint(receiver, "ok"), endpoint(receiver, "broken"))
        await eventually(lambda: worker.log.count("endpoints loaded") == 2, lambda: worker.log)
        (second,) = await way.emit(1)
        await eventually(lambda: second in receiver.ids("ok") & receiver.ids("broken"))
        await eventually(lambda: first in receiver.ids("broken"))
        await eventually(way.all_is_committed, lambda: worker.log)
        way.endpoints.write_text("endpoints: [")
        await eventually(lambda: "cannot be read again" in worker.log)
        assert await worker.metric("webhook_endpoint_reload_failures_total") == 1
        (third,) = await way.emit(1)
        await eventually(lambda: third in receiver.ids("ok"))
    dead = await way.given_up()
    assert {(each["worker-delivery"], each["worker-reason"]) for each in dead} <= {
        ("fail", "endpoint_gone"),
        ("fail", "exhausted"),
    }
    assert len(dead) == 1
