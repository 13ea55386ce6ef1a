"""FastStream and aiohttp as its documentation has it: a subscriber with a hundred workers.

Run as a file, by a Python that has FastStream: servers, topic, group, base URL.
"""

# mypy: disable-error-code=untyped-decorator

import asyncio
import sys
from typing import Any

import aiohttp
from faststream import FastStream
from faststream.kafka import KafkaBroker

TIMEOUT_SECONDS = 15.0
WORKERS = 100

servers, topic, group, base = sys.argv[1:]
broker = KafkaBroker(servers.split(","))
app = FastStream(broker)
sessions: list[aiohttp.ClientSession] = []


@app.on_startup
async def connect() -> None:
    """One session for all."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout))


@app.after_shutdown
async def close() -> None:
    """And its end."""
    await sessions.pop().close()


@broker.subscriber(topic, group_id=group, auto_offset_reset="earliest", max_workers=WORKERS)
async def deliver(event: dict[str, Any]) -> None:
    """One event."""
    async with sessions[0].post(f"{base}/{event['customer_id']}", json=event) as answer:
        await answer.read()


if __name__ == "__main__":
    asyncio.run(app.run())
