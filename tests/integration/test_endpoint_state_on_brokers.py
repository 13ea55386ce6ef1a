"""An endpoint that wants no more, and the operator's way with it: the command on real brokers."""

import asyncio
import base64
import io
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Protocol

import pytest

from tests.harness.environment import COMMAND, without_settings
from tests.harness.stored_records import stored_records
from webhook_worker.cli import main

SECRET = "whsec_" + base64.b64encode(b"the integration tests' key").decode()


class Brokers(Protocol):
    """What the test needs to know of a cluster."""

    @property
    def bootstrap_servers(self) -> str: ...


class Receiver:
    """Answers each path with a status of its own, 200 if nothing else is said."""

    def __init__(self) -> None:
        self.statuses: dict[str, int] = {}
        self.asked: Counter[str] = Counter()
        self.changed = asyncio.Event()
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Receiver"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                path = head.split(" ", 2)[1].strip("/")
                await reader.readexactly(int(head.partition("content-length: ")[2].split("\r")[0]))
                self.asked[path] += 1
                self.changed.set()
                status = self.statuses.get(path, 200)
                writer.write(b"HTTP/1.1 %d Said\r\nContent-Length: 6\r\n\r\nhello\n" % status)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


class Fleet:
    """One worker, its topics, and the command for operators."""

    def __init__(self, servers: str, directory: Path) -> None:
        self.servers = servers
        self.topic = f"state.{uuid.uuid4().hex[:12]}"
        self.directory = directory
        self.environ = without_settings() | {
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "KAFKA_GROUP_ID": self.topic,
            "WORKER_METRICS_PORT": "0",
            "WEBHOOK_TOPIC": self.topic,
            "WEBHOOK_RETRY_SCHEDULE": "1s",
            "WEBHOOK_DEAD_LETTER_TOPIC": f"{self.topic}.dead",
            "WEBHOOK_ENDPOINTS": f"kafka:{self.topic}.endpoints",
            "WEBHOOK_OPERATIONAL_EVENTS_TOPIC": f"{self.topic}.operations",
            "WEBHOOK_ATTEMPT_LOG_TOPIC": f"{self.topic}.attempts",
            "WEBHOOK_EGRESS_ALLOW": "127.0.0.0/8",
        }

    async def command(self, *arguments: str, expect: int = 0) -> list[str]:
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            status = await asyncio.to_thread(main, arguments, self.environ)
        assert status == expect, said.getvalue()
        return said.getvalue().splitlines()

    def endpoint_file(self, port: int, *ids: str) -> str:
        entries = [
            {
                "id": each,
                "customer_id": "acme",
                "url": f"http://127.0.0.1:{port}/{each}",
                "secrets_file": "secrets",
            }
            for each in ids
        ]
        (self.directory / "secrets").write_text(SECRET)
        path = self.directory / "endpoints.json"
        path.write_text(json.dumps({"endpoints": entries}))
        return str(path)

    async def event(self) -> None:
        await self.command("send", "--customer", "acme", "--type", "order.paid")

    async def values(self, name: str, partitions: int = 1) -> list[dict[str, object]]:
        """What a topic holds."""
        records = await stored_records(self.servers, f"{self.topic}.{name}", partitions)
        return [json.loads(record.value) for record in records if record.value is not None]

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        with (self.directory / "log").open("wb") as log:
            worker = await asyncio.create_subprocess_exec(
                COMMAND, "run", env=self.environ, stderr=log
            )
        try:
            yield
            worker.terminate()
            async with asyncio.timeout(40):
                assert await worker.wait() == 0
        finally:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()


async def until(receiver: Receiver, **counts: int) -> None:
    """So often each path has been asked."""
    async with asyncio.timeout(40):
        while receiver.asked != counts:
            receiver.changed.clear()
            await receiver.changed.wait()


@pytest.fixture
async def fleet(cluster: Brokers, tmp_path: Path) -> Fleet:
    fleet = Fleet(cluster.bootstrap_servers, tmp_path)
    created = await fleet.command(
        "topics", "create", "--partitions", "2", "--retry-partitions", "2"
    )
    assert f"{fleet.topic}.endpoint-state: created" in created
    return fleet


async def test_an_endpoint_that_answers_410_is_off_until_an_operator_wants_it_again(
    fleet: Fleet,
) -> None:
    async with Receiver().serving() as receiver:
        receiver.statuses["b"] = 410
        file = fleet.endpoint_file(receiver.port, "a", "b")
        assert await fleet.command("endpoints", "put", file) == ["a: added", "b: added"]
        async with fleet.working():
            await fleet.event()
            await until(receiver, a=1, b=1)
            while not await fleet.values("endpoint-state"):
                pass
            first, second = await fleet.command("endpoints", "list")
            assert first.split()[:3] == ["a", "acme", "enabled"]
            assert second.split()[:3] == ["b", "acme", "disabled"]
            assert "gone: status 410" in second

            receiver.statuses.clear()
            await fleet.event()
            await until(receiver, a=2, b=1)
            assert await fleet.command("endpoints", "test", "b") != []
            assert receiver.asked["b"] == 2
            enabled, hint = await fleet.command("endpoints", "enable", "b")
            assert enabled.startswith("b: enabled; it had been disabled since ")
            replay = hint.partition("webhook-worker ")[2].split()
            await fleet.command(*replay, "--yes")
            await until(receiver, a=2, b=3)
            assert await fleet.command("endpoints", "list", "--state", "disabled") == []

            elsewhere = f"{fleet.topic}.nowhere"
            fleet.environ["WEBHOOK_OPERATIONAL_EVENTS_TOPIC"] = elsewhere
            (missing,) = await fleet.command("endpoints", "disable", "a", expect=1)
            assert f"missing topic {elsewhere}; create with: " in missing
            fleet.environ["WEBHOOK_OPERATIONAL_EVENTS_TOPIC"] = f"{fleet.topic}.operations"
            assert await fleet.command("endpoints", "list", "--state", "disabled") == []
            (wrong,) = await fleet.command("endpoints", "test", "a", "--type", "", expect=2)
            assert "type must be a string of 1 to 256 characters" in wrong
            await fleet.command("endpoints", "disable", "a", "--why", "they asked for it")
            assert await fleet.command("endpoints", "delete", "b") == ["b: deleted"]
            (only,) = await fleet.command("endpoints", "list", "--json")
            shown = json.loads(only)
            assert (shown["id"], shown["state"]) == ("a", "disabled")
            assert shown["why"] == "operator: they asked for it"
    told = await fleet.values("operations")
    assert [each["type"] for each in told] == [
        "endpoint.disabled",
        "endpoint.enabled",
        "endpoint.disabled",
    ]
    attempts = await fleet.values("attempts", 2)
    counted = Counter((each["endpoint"], each["status"]) for each in attempts)
    assert counted == {("a", 200): 2, ("b", 410): 1, ("b", 200): 1}
