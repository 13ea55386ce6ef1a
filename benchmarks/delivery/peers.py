"""What a user writes: aiokafka and aiohttp or httpx, so many in flight, a commit for each batch.

Nothing is signed, checked, isolated or counted, and what fails is lost.
"""

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import httpx
from aiokafka import AIOKafkaConsumer

BATCH = 1_000
TIMEOUT_SECONDS = 15.0
HEADERS = {"content-type": "application/json"}

Post = Callable[[str, bytes], Awaitable[None]]


@asynccontextmanager
async def by_aiohttp(tls: ssl.SSLContext | None) -> AsyncIterator[Post]:
    """One session, without a limit of its own."""
    connector = aiohttp.TCPConnector(limit=0, ssl=tls or True)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def post(url: str, body: bytes) -> None:
            async with session.post(url, data=body, headers=HEADERS) as answer:
                await answer.read()
                answer.raise_for_status()

        yield post


@asynccontextmanager
async def by_httpx(tls: ssl.SSLContext | None) -> AsyncIterator[Post]:
    """One client, as its documentation begins."""
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, verify=tls or True) as client:

        async def post(url: str, body: bytes) -> None:
            answer = await client.post(url, content=body, headers=HEADERS)
            answer.raise_for_status()

        yield post


POSTS = {"aiohttp": by_aiohttp, "httpx": by_httpx}


async def work(
    post: Post, consumer: AIOKafkaConsumer, scheme: str, port: str, in_flight: int
) -> None:
    """Deliver until it is killed."""
    places = asyncio.Semaphore(in_flight)

    async def deliver(value: bytes) -> None:
        try:
            await post(f"{scheme}://{json.loads(value)['customer_id']}:{port}/hook", value)
        finally:
            places.release()

    while True:
        fetched = await consumer.getmany(timeout_ms=200, max_records=BATCH)
        async with asyncio.TaskGroup() as deliveries:
            for messages in fetched.values():
                for message in messages:
                    await places.acquire()
                    deliveries.create_task(deliver(message.value or b""))
        if fetched:
            await consumer.commit()


async def main(
    kind: str, servers: str, topic: str, group: str, port: str, in_flight: str, authority: str
) -> None:
    """Put the parts together."""
    tls = ssl.create_default_context(cafile=authority) if authority else None
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    async with consumer, POSTS[kind](tls) as post:
        await work(post, consumer, "https" if tls else "http", port, int(in_flight))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
