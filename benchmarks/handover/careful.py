"""What a careful user writes: aiokafka, eager, and aiohttp; what is revoked is drained first."""

import asyncio
import json
import signal
import sys
from collections.abc import Collection

import aiohttp
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from benchmarks.handover.shape import ATTEMPT_SECONDS, IN_FLIGHT, url
from benchmarks.rebalance.shape import Shape

POLL_MS = 200
COMMIT_SECONDS = 1.0


class Careful(ConsumerRebalanceListener):
    """A hundred in flight; committed is what is done in order."""

    def __init__(self, consumer: AIOKafkaConsumer, session: aiohttp.ClientSession, port: int):
        self._consumer = consumer
        self._session = session
        self._port = port
        self._places = asyncio.Semaphore(IN_FLIGHT)
        self._open: dict[TopicPartition, dict[int, None]] = {}
        self._next: dict[TopicPartition, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._epoch = 0
        """How often everything was given up: what was fetched before is read again after it."""
        self._going_on = asyncio.Event()
        self._going_on.set()
        self._committing = asyncio.Lock()

    async def on_partitions_assigned(self, _: Collection[TopicPartition]) -> None:
        """As aiokafka calls it."""
        self._going_on.set()

    async def on_partitions_revoked(self, _: Collection[TopicPartition]) -> None:
        """As aiokafka calls it: of all partitions, in every rebalance."""
        await self.finish()

    async def finish(self) -> None:
        """Begin nothing more, end what is in flight, and commit it."""
        self._epoch += 1
        self._going_on.clear()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._commit()
        self._open.clear()
        self._next.clear()

    async def work(self) -> None:
        """Take records until cancelled."""
        while True:
            fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
            epoch = self._epoch
            for here, records in fetched.items():
                for record in records:
                    await self._places.acquire()
                    if epoch != self._epoch:
                        self._places.release()
                        break
                    self._open.setdefault(here, {})[record.offset] = None
                    self._next[here] = record.offset + 1
                    task = asyncio.create_task(self._deliver(here, record))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
            await self._going_on.wait()

    async def commit_regularly(self) -> None:
        """Commit until cancelled."""
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            await self._commit()

    async def _deliver(self, here: TopicPartition, record: ConsumerRecord[bytes, bytes]) -> None:
        event = json.loads(record.value or b"")
        try:
            body = json.dumps(event["data"]).encode()
            where = url(int(event["customer_id"]), self._port)
            async with self._session.post(where, data=body) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            print(f"not delivered: {error!r}", file=sys.stderr)
        finally:
            self._open[here].pop(record.offset, None)
            self._places.release()

    async def _commit(self) -> None:
        async with self._committing:
            offsets = {
                here: next(iter(self._open[here]), behind) for here, behind in self._next.items()
            }
            try:
                if offsets:
                    await self._consumer.commit(offsets)
            except KafkaError as error:
                print(f"not committed: {error!r}", file=sys.stderr)


async def run(servers: str, topic: str, group: str, client_id: str, port: str) -> None:
    """Deliver until SIGTERM; then finish, commit and leave."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    shape = Shape()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        group_id=group,
        client_id=client_id,
        session_timeout_ms=shape.session_ms,
        heartbeat_interval_ms=shape.heartbeat_ms,
        rebalance_timeout_ms=shape.rebalance_ms,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=ATTEMPT_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session, consumer:
        careful = Careful(consumer, session, int(port))
        consumer.subscribe([topic], listener=careful)
        loops = [asyncio.create_task(loop) for loop in (careful.work(), careful.commit_regularly())]
        end = asyncio.create_task(stopping.wait())
        ended, _ = await asyncio.wait({end, *loops}, return_when=asyncio.FIRST_COMPLETED)
        for task in (end, *loops):
            task.cancel()
        await asyncio.wait({end, *loops})
        await careful.finish()
        for task in ended:
            task.result()


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
