"""Says LeaveGroup, again where it got lost: else the group waits for the member a whole session."""

import asyncio
import logging
import random

from aiokafka.errors import KafkaError

from kafka_utils.coordinator.deadlines import backoff
from kafka_utils.coordinator.membership import Request, Trigger, judge
from kafka_utils.coordinator.messages import Identity, Transport

LEAVE_TRIES = 4

_log = logging.getLogger(__name__)


async def say_leave(transport: Transport, group: str, identity: Identity) -> None:
    """Hand a member id back; what goes wrong to the end is logged."""
    for tries in range(1, LEAVE_TRIES + 1):
        try:
            await transport.find()
            await transport.leave(identity)
        except KafkaError as error:
            verdict = judge(Request.JOIN, error)
            if verdict.coordinator_moved:
                transport.forget(f"LeaveGroup: {type(error).__name__}")
            if verdict.trigger is not Trigger.CUT_OFF or tries == LEAVE_TRIES:
                _log.warning("group %r was not left in order: %r", group, error)
                return
            await asyncio.sleep(backoff(tries, random.random()))
        else:
            return
