"""The sample receiver, over real connections."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from standardwebhooks import Webhook

from deploy.demo.receipts import Receipt, ReceiptTail
from deploy.demo.receiver import Receiver, Slowness

SECRET = "whsec_" + "a" * 43 + "="
OTHER = "whsec_" + "b" * 43 + "="
BODY = '{"type":"order.paid","timestamp":"2026-01-02T00:00:00Z","data":{"é":1}}'


def signed(secret: str, body: str = BODY, at: datetime | None = None) -> Mapping[str, str]:
    now = at or datetime.now(UTC)
    return {
        "webhook-id": "evt-1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("evt-1", now, body),
    }


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


@pytest.fixture
async def receiver(ledger: Path) -> AsyncIterator[Receiver]:
    receiver = Receiver({"one": [OTHER, SECRET]}, ledger, Slowness(typical=0.01, longest=0.05))
    await receiver.start()
    yield receiver
    await receiver.stop()


async def post(url: str, headers: Mapping[str, str], body: str = BODY) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body.encode(), headers=headers) as answer,
    ):
        return answer.status


@pytest.mark.parametrize(("path", "status"), [("ok", 200), ("fail", 422), ("slow", 200)])
async def test_the_path_says_how_a_signed_request_is_answered(
    receiver: Receiver, ledger: Path, path: str, status: int
) -> None:
    assert await post(f"{receiver.url}/{path}/one", signed(SECRET)) == status
    [receipt] = ReceiptTail(ledger).read_new()
    assert (receipt.endpoint, receipt.webhook_id, receipt.status) == ("one", "evt-1", status)
    assert receipt.valid
    assert receipt.accepted is (status == 200)
    assert path != "slow" or receipt.seconds >= 0.007


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({}, "one"),
        (signed("whsec_" + "c" * 43 + "="), "one"),
        (signed(SECRET), "unknown"),
        (signed(SECRET, BODY + " "), "one"),
        (signed(SECRET, at=datetime(2020, 1, 1, tzinfo=UTC)), "one"),
        ({**signed(SECRET), "webhook-signature": "no comma"}, "one"),
    ],
    ids=["nothing", "other secret", "other endpoint", "other body", "long ago", "malformed"],
)
async def test_what_does_not_verify_is_refused_and_noted(
    receiver: Receiver, ledger: Path, headers: Mapping[str, str], name: str
) -> None:
    assert await post(f"{receiver.url}/ok/{name}", headers) == 401
    [receipt] = ReceiptTail(ledger).read_new()
    assert (receipt.valid, receipt.accepted) == (False, False)


async def test_the_ledger_has_a_line_before_the_sender_has_its_answer(
    receiver: Receiver, ledger: Path
) -> None:
    tail = ReceiptTail(ledger)
    for _ in range(3):
        await post(f"{receiver.url}/ok/one", signed(SECRET))
        assert len(tail.read_new()) == 1


async def test_it_runs_as_a_process_that_says_its_port(tmp_path: Path, ledger: Path) -> None:
    secrets = tmp_path / "secrets.json"
    secrets.write_text(f'{{"one": ["{SECRET}"]}}')
    arguments = ("--secrets", str(secrets), "--ledger", str(ledger))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.demo.receiver",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout
    port = int(await process.stdout.readline())
    assert await post(f"http://127.0.0.1:{port}/ok/one", signed(SECRET)) == 200
    os.kill(process.pid, signal.SIGTERM)
    assert await process.wait() == 0
    assert len(ReceiptTail(ledger).read_new()) == 1


def test_a_half_written_line_waits_for_its_end(ledger: Path) -> None:
    line = Receipt(1, "one", "evt-1", 200, True, 0.5).to_line()
    ledger.write_text(line + line[:10])
    tail = ReceiptTail(ledger)
    assert tail.read_new() == [Receipt(1, "one", "evt-1", 200, True, 0.5)]
    assert tail.read_new() == []
    with ledger.open("a") as out:
        out.write(line[10:])
    assert len(tail.read_new()) == 1


@pytest.mark.parametrize(
    ("chance", "seconds"), [(0.0, 0.2121), (0.5, 0.3), (0.95, 0.9487), (0.999, 1.5)]
)
def test_slowness_has_a_tail_with_an_end(chance: float, seconds: float) -> None:
    assert Slowness(0.3, 1.5).seconds(chance) == pytest.approx(seconds, abs=1e-4)
