"""An ordered endpoint fails for a while, workers are killed and join; the receiver's ledger."""

import asyncio
import base64
import json
import signal
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web

from deploy.local.brokers import Cluster
from kafka_utils import ProducerConfig, create_producer
from tests.conftest import ExistingCluster, Tell
from tests.harness.environment import COMMAND, without_settings
from tests.harness.stored_records import stored_records

KEYS, EVENTS_A_KEY, FAILING_KEYS = 24, 20, 6
PARTITIONS = 4
GROUPS = ("", ".retry", ".ordered")
PATIENCE_SECONDS = 60.0
ANSWER_SECONDS = 0.01
SECRET = "whsec_" + base64.b64encode(b"the tests of order per key").decode()


class Attempt(NamedTuple):
    """One request, as the receiver saw it; times are of the loop's clock."""

    key: int
    number: int
    began: float
    answered: float
    well: bool


@dataclass
class Receiver:
    """Refuses the events of the failing keys as long as it is told to."""

    attempts: dict[str, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    """By the path of the endpoint."""
    failing: bool = True
    port: int = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Receiver"]:
        application = web.Application()
        application.router.add_post("/{endpoint}", self._receive)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        clock = asyncio.get_running_loop().time
        began = clock()
        data = json.loads(await request.read())["data"]
        fails = self.failing and data["key"] < FAILING_KEYS and request.path != "/free"
        well = not fails
        await asyncio.sleep(ANSWER_SECONDS)
        attempt = Attempt(data["key"], data["number"], began, clock(), well)
        self.attempts[request.path].append(attempt)
        return web.Response(status=200 if well else 422)

    def delivered(self, path: str) -> set[tuple[int, int]]:
        return {(each.key, each.number) for each in self.attempts[path] if each.well}


def out_of_order(attempts: list[Attempt], *, well: bool = True) -> list[Attempt]:
    """Those that began before each earlier event of their key had been answered well once.

    Unless they are to be ``well``, an answer of any kind is enough.
    """
    first: dict[tuple[int, int], float] = {}
    for each in sorted(attempts, key=lambda each: each.answered):
        if each.well or not well:
            first.setdefault((each.key, each.number), each.answered)
    never = float("inf")
    return [
        each
        for each in attempts
        if any(first.get((each.key, n), never) > each.began for n in range(each.number))
    ]


class Scene:
    """Topics, endpoints, and workers of them."""

    def __init__(self, servers: str, port: int, directory: Path) -> None:
        self.servers = servers
        self.topic = f"order.{uuid.uuid4().hex[:8]}"
        self._directory = directory
        endpoints = directory / "endpoints.json"
        entries = [
            {"id": "lines", "ordered": "block"},
            {"id": "aside", "ordered": "park", "url": f"http://127.0.0.1:{port}/aside"},
            {"id": "free", "url": f"http://127.0.0.1:{port}/free"},
        ]
        common = {
            "customer_id": "acme",
            "url": f"http://127.0.0.1:{port}/lines",
            "secrets": [SECRET],
        }
        endpoints.write_text(json.dumps({"endpoints": [common | each for each in entries]}))
        self.environ = without_settings() | {
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "KAFKA_GROUP_ID": self.topic,
            "KAFKA_SESSION_TIMEOUT_MS": "6000",
            "KAFKA_HEARTBEAT_INTERVAL_MS": "500",
            "WORKER_METRICS_PORT": "0",
            "WEBHOOK_TOPIC": self.topic,
            "WEBHOOK_ORDERED_TOPIC": f"{self.topic}.ordered",
            "WEBHOOK_DEAD_LETTER_TOPIC": f"{self.topic}.dead",
            "WEBHOOK_ENDPOINTS": str(endpoints),
            "WEBHOOK_RETRY_SCHEDULE": ",".join(["1s"] * 100),
            "WEBHOOK_EGRESS_ALLOW": "127.0.0.0/8",
        }

    async def create(self) -> None:
        sizes = ("--partitions", str(PARTITIONS), "--retry-partitions", "2")
        creating = await asyncio.create_subprocess_exec(
            COMMAND, "topics", "create", *sizes, env=self.environ, stdout=asyncio.subprocess.DEVNULL
        )
        assert await creating.wait() == 0

    async def produce(self, numbers: range, pause: float = 0.0) -> None:
        """Events of all keys, one number after the other."""
        producer = create_producer(ProducerConfig(bootstrap_servers=tuple(self.servers.split(","))))
        await producer.start()
        try:
            for number in numbers:
                for key in range(KEYS):
                    event = {
                        "id": f"evt_{key}_{number}",
                        "type": "order.paid",
                        "customer_id": "acme",
                        "timestamp": "2026-01-01T00:00:00Z",
                        "data": {"key": key, "number": number},
                    }
                    await producer.send(self.topic, json.dumps(event).encode(), key=b"%d" % key)
                await asyncio.sleep(pause)
            await producer.flush()
        finally:
            await producer.stop()

    @asynccontextmanager
    async def worker(self) -> AsyncIterator["Worker"]:
        log = self._directory / f"{uuid.uuid4().hex}.log"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                COMMAND, "run", env=self.environ, stderr=errors
            )
        try:
            yield Worker(process, log)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@dataclass
class Worker:
    """A process of the installed command."""

    process: asyncio.subprocess.Process
    log: Path

    async def until(self, reached: Callable[[], bool]) -> None:
        """Return when it is so; raise AssertionError with its log if that takes too long."""
        loop = asyncio.get_running_loop()
        late = loop.time() + PATIENCE_SECONDS
        while not reached():
            assert self.process.returncode is None, self.log.read_text()
            assert loop.time() < late, self.log.read_text()[-20_000:]
            await asyncio.sleep(0.02)

    def has_joined(self) -> bool:
        return self.log.read_text().count('"msg": "joined"') == len(GROUPS)

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), PATIENCE_SECONDS)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().serving() as serving:
        yield serving


async def test_each_key_is_in_order_through_failures_a_kill_and_a_rebalance(
    cluster: Cluster | ExistingCluster, receiver: Receiver, tmp_path: Path, tell: Tell
) -> None:
    scene = Scene(cluster.bootstrap_servers, receiver.port, tmp_path)
    await scene.create()
    half = range(EVENTS_A_KEY // 2)
    healthy = range(FAILING_KEYS, KEYS)
    of_first_half = {(key, number) for key in healthy for number in half}
    everything = {(key, number) for key in range(KEYS) for number in range(EVENTS_A_KEY)}
    await scene.produce(half)
    async with scene.worker() as first:
        await first.until(lambda: len(receiver.delivered("/lines")) > len(of_first_half) // 2)
        first.process.kill()
    async with scene.worker() as second:
        await second.until(lambda: receiver.delivered("/lines") >= of_first_half)
        blocked = receiver.delivered("/lines") - of_first_half
        # Partitions move while their events come and some of their keys are blocked.
        producing = asyncio.create_task(scene.produce(range(len(half), EVENTS_A_KEY), 0.3))
        async with scene.worker() as third:
            await third.until(lambda: third.has_joined() and producing.done())
            await producing
            receiver.failing = False
            await third.until(lambda: receiver.delivered("/lines") == everything)
            await third.until(lambda: receiver.delivered("/free") == everything)
            await third.until(lambda: receiver.delivered("/aside") == everything)
            codes = list(await asyncio.gather(second.stop(), third.stop()))
    dead = await stored_records(scene.servers, f"{scene.topic}.dead", 2)
    mine, aside = receiver.attempts["/lines"], receiver.attempts["/aside"]
    earliest: dict[tuple[int, int], Attempt] = {}
    for each in sorted(aside, key=lambda each: each.began):
        earliest.setdefault((each.key, each.number), each)
    first_attempts = list(earliest.values())
    ledger = {
        "events": len(everything),
        "out of order": len(out_of_order(mine)),
        "that stepped aside": sum(not each.well for each in first_attempts),
        "attempts": len(mine),
        "failed": sum(not each.well for each in mine),
        "repeated": sum(each.well for each in mine) - len(everything),
        "dead letters": len(dead),
        "exit codes": codes,
    }
    tell(ledger)
    assert not blocked, "the failing keys were to stand still"
    assert ledger["failed"]
    assert out_of_order(mine) == []
    assert dead == []
    assert codes == [0, 0]
    assert out_of_order(first_attempts, well=False) == []
    assert out_of_order(aside), "where failures step aside others pass, and that is found"
