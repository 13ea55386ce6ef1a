"""A sample receiver: answers webhooks well, badly or slowly, and keeps a ledger of them."""

import argparse
import asyncio
import json
import math
import random
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TextIO

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from deploy.demo.receipts import Receipt

Secrets = Mapping[str, Sequence[str]]
"""The secrets of each endpoint, by the endpoint's name."""


@dataclass(frozen=True, slots=True)
class Slowness:
    """How long ``/slow/...`` takes, in seconds: half up to ``typical``, a few ``longest``."""

    typical: float = 0.3
    longest: float = 1.5

    def seconds(self, chance: float) -> float:
        """The delay for a chance in [0, 1): a heavy tail, as customers' endpoints have."""
        return min(self.longest, self.typical / math.sqrt(2 * (1 - chance)))


def verified(secrets: Sequence[str], body: bytes, headers: Mapping[str, str]) -> bool:
    """Whether one of the secrets signed this; the public Standard Webhooks library judges."""
    for secret in secrets:
        try:
            Webhook(secret).verify(body, dict(headers), json_parse=False)
        except (WebhookVerificationError, ValueError):
            continue
        return True
    return False


class Receiver:
    """Serves ``/ok/NAME``, ``/fail/NAME`` and ``/slow/NAME`` on a free loopback port."""

    def __init__(self, secrets: Secrets, ledger: Path, slowness: Slowness | None = None) -> None:
        self._secrets = secrets
        self._ledger_path = ledger
        self._slowness = slowness or Slowness()
        self._chance = random.Random(0)
        self._ledger: TextIO | None = None
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Open the ledger and listen; ``port`` is known afterwards."""
        self._ledger = self._ledger_path.open("a", buffering=1)
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_post("/{manner:ok|fail|slow}/{name}", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening, finish the open requests (2 s at most) and close the ledger."""
        if self._runner:
            await self._runner.cleanup()
        if self._ledger:
            self._ledger.close()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        arrived, began = time.time_ns(), time.monotonic()
        manner, name = request.match_info["manner"], request.match_info["name"]
        valid = verified(self._secrets.get(name, ()), body, request.headers)
        status = await self._answer(manner) if valid else HTTPStatus.UNAUTHORIZED
        webhook_id = request.headers.get("webhook-id", "")
        took = round(time.monotonic() - began, 4)
        self._write(Receipt(arrived, name, webhook_id, status.value, valid, took))
        return web.Response(status=status)

    async def _answer(self, manner: str) -> HTTPStatus:
        if manner == "fail":
            # It refuses every event. A circuit would open for one that is down, and its deliveries
            # would be put off for longer than a demo takes.
            return HTTPStatus.UNPROCESSABLE_ENTITY
        if manner == "slow":
            await asyncio.sleep(self._slowness.seconds(self._chance.random()))
        return HTTPStatus.OK

    def _write(self, receipt: Receipt) -> None:
        if self._ledger is None:
            raise RuntimeError("the receiver was not started")
        self._ledger.write(receipt.to_line())


async def _serve(secrets: Secrets, ledger: Path, slowness: Slowness) -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    receiver = Receiver(secrets, ledger, slowness)
    await receiver.start()
    print(receiver.port, flush=True)
    await stop.wait()
    await receiver.stop()


def main(arguments: Sequence[str]) -> None:
    """Serve until SIGTERM; the first line on standard output is the port."""
    usual = Slowness()
    parser = argparse.ArgumentParser(prog="python -m deploy.demo.receiver", description=__doc__)
    parser.add_argument(
        "--secrets", type=Path, required=True, help='a JSON file: {"NAME": ["whsec_...", ...]}'
    )
    parser.add_argument("--ledger", type=Path, required=True, help="a line for every request")
    parser.add_argument("--slow-typical", type=float, default=usual.typical, metavar="SECONDS")
    parser.add_argument("--slow-longest", type=float, default=usual.longest, metavar="SECONDS")
    chosen = parser.parse_args(arguments)
    secrets: Secrets = json.loads(chosen.secrets.read_text())
    slowness = Slowness(chosen.slow_typical, chosen.slow_longest)
    asyncio.run(_serve(secrets, chosen.ledger, slowness))


if __name__ == "__main__":
    main(sys.argv[1:])
