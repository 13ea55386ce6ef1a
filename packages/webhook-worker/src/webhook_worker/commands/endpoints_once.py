"""Endpoints and what is known of them: read once from where the settings say, and written."""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Protocol, runtime_checkable

from app_worker.clients import stop_client
from app_worker.startup import what_is_missing
from kafka_utils import ConsumerConfig, create_producer
from webhook_worker.commands.loading import Source
from webhook_worker.compacted_topic import Table, enter
from webhook_worker.dead_letters.reading import everything_in
from webhook_worker.directory import BrokenEndpoint, Directory
from webhook_worker.directory.file import FileDirectory
from webhook_worker.directory.plugged import load_plugged
from webhook_worker.directory.table import EndpointTable
from webhook_worker.endpoint import Endpoint
from webhook_worker.endpoint_state.state import EndpointState
from webhook_worker.endpoint_state.table import StateTable
from webhook_worker.errors import DirectoryError
from webhook_worker.outbox import Letter
from webhook_worker.plan import CREATE_COMMAND
from webhook_worker.settings import AllSettings, PluggedSource

MOST_AT_ONCE = 500
"""Records on their way to the brokers."""
PATIENCE = (0, 0.2, 0.5, 1.0)
"""Seconds before each look for a topic; after the last it is missing."""


@runtime_checkable
class Listed(Protocol):
    """A directory that can name all its endpoints; one from a package need not."""

    @property
    def endpoints(self) -> Iterable[Endpoint]:
        """All usable ones, disabled ones too."""
        ...

    @property
    def broken(self) -> Iterable[BrokenEndpoint]:
        """All entries that are wrong."""
        ...


async def directory_of(settings: AllSettings, source: Source, stack: AsyncExitStack) -> Directory:
    """The endpoints as they are now. Raises DirectoryError and KafkaError."""
    if isinstance(source, FileDirectory):
        return source.snapshot
    if isinstance(source, PluggedSource):
        opened = load_plugged(source.name)(source.location)
        return await stack.enter_async_context(opened)
    table = EndpointTable()
    await read_into(table, settings, source.name)
    return table


async def states_of(settings: AllSettings) -> dict[str, EndpointState]:
    """What the fleet knows of them. Raises DirectoryError and KafkaError."""
    table = StateTable()
    await read_into(table, settings, settings.webhook.topic_names.endpoint_state)
    return table.states


async def find(settings: AllSettings, source: Source, endpoint_id: str) -> Endpoint | None:
    """The endpoint with this id; if there is none, that is said. Raises as directory_of."""
    async with AsyncExitStack() as stack:
        directory = await directory_of(settings, source, stack)
        endpoint = directory.get(endpoint_id)
        if endpoint is None:
            broken = directory.is_broken(endpoint_id)
            where = source.path if isinstance(source, FileDirectory) else source
            said = "its entry is wrong" if broken else f"there is none of that id in {where}"
            print(f"{endpoint_id}: {said}", file=sys.stderr)
        return endpoint


async def read_into(table: Table, settings: AllSettings, topic: str) -> None:
    """Take in all that the topic holds. Raises DirectoryError if it is missing, and KafkaError."""
    await _demand(settings, topic)
    reading: ConsumerConfig = settings.kafka.consumer_config(revoke_timeout_ms=1)
    async for record in everything_in(reading, topic):
        enter(table, record)


async def write(settings: AllSettings, letters: Sequence[Letter]) -> None:
    """Return when the brokers have acknowledged all of them, one topic's before the next one's.

    Raises DirectoryError, before any is written, if a topic is missing; and KafkaError.
    """
    topics = dict.fromkeys(letter.topic for letter in letters)
    await _demand(settings, *topics)
    producer = create_producer(settings.kafka.producer_config())
    try:
        await producer.start()
        for topic in topics:
            meant = [letter for letter in letters if letter.topic == topic]
            for first in range(0, len(meant), MOST_AT_ONCE):
                some = meant[first : first + MOST_AT_ONCE]
                await asyncio.gather(
                    *(producer.send_and_wait(topic, each.value, each.key) for each in some)
                )
    finally:
        await stop_client(producer)


async def _demand(settings: AllSettings, *topics: str) -> None:
    """A broker hears of a new topic a little later than the one that has created it."""
    missing = ""
    async with settings.kafka.admin() as admin:
        for seconds in PATIENCE:
            await asyncio.sleep(seconds)
            missing = what_is_missing(topics, await admin.list_topics(), CREATE_COMMAND)
            if not missing:
                return
    raise DirectoryError(", ".join(topics), missing)
