"""What a careful user writes: aiokafka and aiohttp, a hundred in flight, committed in order.

What fails is written to a topic for later and counts as done. Nothing is signed or checked.
"""

import asyncio
import json
import os
import sys

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.delivery.sink import address
from benchmarks.isolation.shape import IN_FLIGHT, LATER, TIMEOUT_SECONDS, TOPIC


async def work(
    servers: str, port: int, topic: str = TOPIC, host: str | None = None, group: str = "careful"
) -> None:
    """Deliver until it is killed; each customer has a host of its own unless one is named."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    places = asyncio.Semaphore(IN_FLIGHT)
    open_offsets: dict[TopicPartition, dict[int, None]] = {}
    tasks: set[asyncio.Task[None]] = set()
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with (
        consumer,
        producer,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session,
    ):

        async def deliver(here: TopicPartition, offset: int, value: bytes) -> None:
            event = json.loads(value)
            number = int(event["customer_id"])
            try:
                url = f"http://{host or address(number)}:{port}/{number}"
                body = json.dumps(event["data"]).encode()
                async with session.post(url, data=body) as answer:
                    await answer.read()
                    failed = answer.status >= 300  # noqa: PLR2004 - the classes of HTTP
            except (aiohttp.ClientError, TimeoutError):
                failed = True
            if failed:
                await producer.send_and_wait(LATER, value)
            del open_offsets[here][offset]
            places.release()

        async def commit() -> None:
            while True:
                await asyncio.sleep(1)
                offsets = {here: next(iter(left)) for here, left in open_offsets.items() if left}
                if offsets:
                    await consumer.commit(offsets)

        tasks.add(asyncio.create_task(commit()))
        while True:
            for here, messages in (await consumer.getmany(timeout_ms=200)).items():
                for message in messages:
                    await places.acquire()
                    open_offsets.setdefault(here, {})[message.offset] = None
                    task = asyncio.create_task(deliver(here, message.offset, message.value or b""))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    asyncio.run(work(os.environ["KAFKA_BOOTSTRAP_SERVERS"], int(sys.argv[1]), *sys.argv[2:]))
