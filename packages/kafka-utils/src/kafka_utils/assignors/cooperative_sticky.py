"""The assignor ``cooperative-sticky``: balanced and sticky, and nothing moves while it is held."""

from collections.abc import Collection, Mapping
from typing import ClassVar

from aiokafka import TopicPartition

from kafka_utils.assignors.base import Assignor, Plan
from kafka_utils.assignors.consumer_protocol import (
    Subscription,
    encode_generation,
    encode_subscription,
)


class CooperativeStickyAssignor(Assignor):
    """Java's ``cooperative-sticky`` (KIP-429), for groups that may have Java members too.

    A partition that is to move is given to nobody at first. Its owner learns that it has lost it,
    releases it and joins again; then it is free, and the next plan gives it to its new owner.

    A member that means to leave asks to be relieved: it gets nothing, and the others get what it
    has in the next round.
    """

    name: ClassVar[str] = "cooperative-sticky"
    cooperative: ClassVar[bool] = True

    def subscription(
        self,
        topics: Collection[str],
        owned: Collection[TopicPartition],
        generation: int,
        rack: str | None,
        *,
        relief: bool = False,
    ) -> bytes:
        """Return the subscription, with the generation in both places where leaders look for it.

        Java's leaders before Kafka 3.5 look into ``user_data`` only (KAFKA-13715).
        """
        return encode_subscription(
            Subscription(
                topics=tuple(topics),
                owned=frozenset(owned),
                generation=generation,
                rack=rack,
                user_data=encode_generation(generation, relief=relief),
            )
        )

    def plan(
        self, partition_counts: Mapping[str, int], members: Mapping[str, Subscription]
    ) -> Plan:
        """Balance the group, then withhold from new owners what others still hold."""
        # Only a group's leader has need of it.
        from kafka_utils.assignors.cooperative_plan import draw_up

        return draw_up(partition_counts, members)
