"""Finds out, by a word that is written and read, whether a hand-over topic can be used."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from app_worker.clients import stop_client
from app_worker.handover.needs import Place, WhyNot, Writer
from app_worker.handover_topic.policy import (
    OF_BROKER,
    OF_TOPIC,
    offsets_retention_ms,
    what_is_wrong,
)
from app_worker.handover_topic.reader import POLL_MS, Consumer
from app_worker.startup import what_is_missing
from kafka_utils import Admin, KafkaUtilsError

PROBE_SECONDS = 10.0


class Verdict(NamedTuple):
    """Whether it can be used; if not, why, and what to do about it, as a sentence."""

    why_not: WhyNot | None = None
    sentence: str = ""


class _Refused(Exception):  # noqa: N818 - it carries a verdict out of the steps
    def __init__(self, right: str, topic: str) -> None:
        self.verdict = refused(right, topic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What it takes to try one hand-over topic."""

    topic: str
    create_command: str
    """That makes the topic."""
    group: str
    of_topic: str
    """Whose records the words are about."""
    admin: Callable[[], Admin]
    writer: Writer
    create_consumer: Callable[[], Consumer]

    async def verdict(self) -> Verdict:
        """Look at the topic and its settings, then write a word and read it."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                async with self.admin() as admin:
                    seen = await look(admin, self.topic, self.create_command)
                if seen.why_not is not None:
                    return seen
                await self._read(await self._write())
        except _Refused as refusal:
            return refusal.verdict
        except TimeoutError:
            return Verdict(WhyNot.PROBE_FAILED, self._failed(f"not done in {PROBE_SECONDS:g} s"))
        except (KafkaError, KafkaUtilsError, OSError) as error:
            return Verdict(WhyNot.PROBE_FAILED, self._failed(str(error) or type(error).__name__))
        return Verdict()

    async def _write(self) -> Place:
        try:
            return await self.writer.open(self.group, random.getrandbits(64), self.of_topic)
        except (TopicAuthorizationFailedError, ClusterAuthorizationFailedError):
            # The latter comes to who may write to no topic at all, as an idempotent producer.
            raise _Refused("Write", self.topic) from None

    async def _read(self, place: Place) -> None:
        here = TopicPartition(self.topic, place.partition)
        consumer = self.create_consumer()
        try:
            await consumer.start()
            consumer.assign([here])
            consumer.seek(here, place.offset)
            while not (await consumer.getmany(timeout_ms=POLL_MS)).get(here):
                pass
        except TopicAuthorizationFailedError:
            raise _Refused("Read", self.topic) from None
        finally:
            await stop_client(consumer)

    def _failed(self, how: str) -> str:
        return f"a word could not be written to topic {self.topic} and read: {how}"


def refused(right: str, topic: str) -> Verdict:
    """The brokers do not allow what is needed."""
    return Verdict(WhyNot.REFUSED, f"the brokers refuse it: no right {right} on topic {topic}")


async def look(admin: Admin, topic: str, create_command: str) -> Verdict:
    """Look whether the topic is there, and set as it has to be; write nothing.

    Raises KafkaError.
    """
    missing = Verdict(WhyNot.TOPIC_MISSING, what_is_missing([topic], [], create_command))
    try:
        config = await admin.topic_config(topic, OF_TOPIC)
    except TopicAuthorizationFailedError:
        there = topic in await admin.list_topics()
        return refused("DescribeConfigs", topic) if there else missing
    if config is None:
        return missing
    wrong = what_is_wrong(config, offsets_retention_ms(await _of_a_broker(admin)))
    return Verdict(WhyNot.TOPIC_MISCONFIGURED, f"topic {topic} {wrong}") if wrong else Verdict()


async def _of_a_broker(admin: Admin) -> Mapping[str, str]:
    """A broker's settings; none where it is not allowed to ask, which a worker need not be."""
    try:
        return await admin.broker_config(OF_BROKER)
    except ClusterAuthorizationFailedError:
        return {}
