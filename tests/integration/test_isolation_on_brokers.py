"""Endpoints that hang leave the others alone: the installed command on real brokers."""

import asyncio
import base64
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from kafka_utils import ProducerConfig, create_producer
from tests.harness.environment import COMMAND, without_settings

SECRET = "whsec_" + base64.b64encode(b"the integration tests' key").decode()
ENDPOINTS, HANGING = 50, 10
EVENTS = 4_000
HEALTHY = EVENTS // ENDPOINTS * (ENDPOINTS - HANGING)
PLACES = 100
TIMEOUT_SECONDS = 15.0
BOUND_SECONDS = 30.0
"""Generous: places that wait out the time-outs would be taken for
(4,000 / 5 - 100) x 15 s / 100 = 105 s."""


class Brokers(Protocol):
    """What the test needs to know of a cluster."""

    @property
    def bootstrap_servers(self) -> str: ...


class Customers:
    """Answer at once, but for the first ten, which never do."""

    def __init__(self) -> None:
        self.answered: Counter[int] = Counter()
        self.asked: Counter[int] = Counter()
        self.port = 0
        self.begun = asyncio.Event()
        self.all_answered = asyncio.Event()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Customers"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                endpoint = int(head.split(" ", 2)[1].strip("/"))
                self.asked[endpoint] += 1
                self.begun.set()
                await reader.readexactly(int(head.partition("content-length: ")[2].split("\r")[0]))
                if endpoint >= HANGING:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    self.answered[endpoint] += 1
                    if self.answered.total() == HEALTHY:
                        self.all_answered.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def test_a_fifth_of_the_endpoints_hangs_and_the_others_get_all_they_are_due(
    cluster: Brokers, tmp_path: Path
) -> None:
    topic = f"isolation.{uuid.uuid4().hex[:12]}"
    async with Customers().serving() as customers:
        environ = _environ(cluster.bootstrap_servers, topic, customers.port, tmp_path)
        creating = await asyncio.create_subprocess_exec(
            COMMAND, "topics", "create", env=environ, stdout=asyncio.subprocess.DEVNULL
        )
        assert await creating.wait() == 0
        await _produce(cluster.bootstrap_servers, topic)
        with (tmp_path / "log").open("wb") as log:
            worker = await asyncio.create_subprocess_exec(COMMAND, "run", env=environ, stderr=log)
        try:
            async with asyncio.timeout(20):
                await customers.begun.wait()
            began = time.monotonic()
            async with asyncio.timeout(BOUND_SECONDS):
                await customers.all_answered.wait()
            took = time.monotonic() - began
            hung = [customers.asked[endpoint] for endpoint in range(HANGING)]
            print(f"{HEALTHY} healthy deliveries in {took:.1f} s; attempts that hung: {hung}")
        finally:
            worker.kill()
            await worker.wait()
    assert set(customers.answered.values()) == {EVENTS // ENDPOINTS}
    assert min(hung) >= 1
    assert max(hung) <= PLACES // HANGING


def _environ(servers: str, topic: str, port: int, directory: Path) -> dict[str, str]:
    entries = [
        {
            "id": f"e{number}",
            "customer_id": str(number),
            "url": f"http://127.0.0.1:{port}/{number}",
            "secrets": [SECRET],
        }
        for number in range(ENDPOINTS)
    ]
    endpoints = directory / "endpoints.json"
    endpoints.write_text(json.dumps({"endpoints": entries}))
    return without_settings() | {
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        "KAFKA_GROUP_ID": topic,
        "WORKER_METRICS_PORT": "0",
        "WORKER_MAX_IN_FLIGHT": str(PLACES),
        "WEBHOOK_TOPIC": topic,
        "WEBHOOK_DEAD_LETTER_TOPIC": f"{topic}.dead",
        "WEBHOOK_ENDPOINTS": str(endpoints),
        "WEBHOOK_EGRESS_ALLOW": "127.0.0.0/8",
        "WEBHOOK_ATTEMPT_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
    }


async def _produce(servers: str, topic: str) -> None:
    producer = create_producer(ProducerConfig(bootstrap_servers=tuple(servers.split(","))))
    await producer.start()
    try:
        for number in range(EVENTS):
            event = {
                "id": f"evt_{number}",
                "type": "order.paid",
                "customer_id": str(number % ENDPOINTS),
                "timestamp": "2026-01-01T00:00:00Z",
                "data": {"number": number},
            }
            await producer.send(topic, json.dumps(event).encode(), key=b"%d" % (number // 3))
        await producer.flush()
    finally:
        await producer.stop()
