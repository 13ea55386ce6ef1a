"""Everything that is committed in a topic."""

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition


async def stored_records(
    servers: str, topic: str, partitions: int
) -> list[ConsumerRecord[bytes, bytes]]:
    """The records of so many partitions, from the beginning to where they end now."""
    everywhere = [TopicPartition(topic, number) for number in range(partitions)]
    found: list[ConsumerRecord[bytes, bytes]] = []
    async with AIOKafkaConsumer(
        bootstrap_servers=servers, enable_auto_commit=False, isolation_level="read_committed"
    ) as consumer:
        consumer.assign(everywhere)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(everywhere)
        while [here for here in everywhere if await consumer.position(here) < ends[here]]:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                found += batch
    return found
