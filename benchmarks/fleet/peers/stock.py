"""What a user writes with aiokafka, in the settings of the day: a poll, its events, a commit.

Nothing is signed, checked or isolated, and what fails is counted as done. The events of a poll go
out at once and the next poll waits for the slowest. Runs with any version of aiokafka from 0.8 on.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

TIMEOUT_SECONDS = 15.0
POLL_MS = 200
HEADERS = {"content-type": "application/json"}

Post = Callable[[str, bytes], Awaitable[object]]


async def by_aiohttp(stack: AsyncExitStack) -> tuple[Post, type[Exception]]:
    """One session, without a limit of its own."""
    import aiohttp

    session = await stack.enter_async_context(
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
        )
    )

    async def post(url: str, body: bytes) -> None:
        async with session.post(url, data=body, headers=HEADERS) as answer:
            await answer.read()

    return post, aiohttp.ClientError


async def by_httpx(stack: AsyncExitStack) -> tuple[Post, type[Exception]]:
    """One client, as its documentation begins."""
    import httpx

    client = await stack.enter_async_context(httpx.AsyncClient(timeout=TIMEOUT_SECONDS))

    async def post(url: str, body: bytes) -> None:
        await client.post(url, content=body, headers=HEADERS)

    return post, httpx.HTTPError


POSTS = {"aiohttp": by_aiohttp, "httpx": by_httpx}


async def work(
    consumer: AIOKafkaConsumer, post: Post, failure: type[Exception], base: str, most: int
) -> None:
    """Deliver until cancelled."""

    async def deliver(value: bytes) -> None:
        customer = json.loads(value)["customer_id"]
        try:
            await post(f"{base}/{customer}", value)
        except (failure, TimeoutError) as error:
            print(f"not delivered: {error!r}", file=sys.stderr)

    while True:
        fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=most)
        values = [each.value or b"" for messages in fetched.values() for each in messages]
        if values:
            await asyncio.gather(*map(deliver, values))
            try:
                await consumer.commit()
            except KafkaError as error:
                print(f"not committed: {error!r}", file=sys.stderr)


def chosen(told: dict[str, str]) -> dict[str, Any]:
    """What is not aiokafka's default, which is round-robin in all its versions."""
    times: dict[str, Any] = {name: int(told[name]) for name in told if name.endswith("_ms")}
    if told["assignor"] == "roundrobin":
        return times
    from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

    return {**times, "partition_assignment_strategy": (StickyPartitionAssignor,)}


async def main(told: dict[str, str]) -> None:
    """Put the parts together, until SIGTERM."""
    consumer = AIOKafkaConsumer(
        told["topic"],
        bootstrap_servers=told["servers"],
        group_id=told["group"],
        client_id=told["client_id"],
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **chosen(told),
    )
    async with AsyncExitStack() as stack:
        await consumer.start()
        stack.push_async_callback(consumer.stop)
        post, failure = await POSTS[told["http"]](stack)
        working = asyncio.ensure_future(
            work(consumer, post, failure, told["base"], int(told["most"]))
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
        try:
            await working
        except asyncio.CancelledError:
            return


if __name__ == "__main__":
    asyncio.run(main(dict(word.split("=", 1) for word in sys.argv[1:])))
