"""What a commit says of a partition: what is done, and what is held, as it is at one moment."""

from typing import NamedTuple

from aiokafka import TopicPartition

from app_worker.handover.inherited import Inherited
from app_worker.handover.release import Release
from app_worker.offset_map import Runs, encode


class Said(NamedTuple):
    """One partition's part of a commit."""

    offset: int
    metadata: str


def say(
    place: bytes,
    partition: TopicPartition,
    committable: int,
    done: Runs,
    inherited: Inherited | None,
    release: Release | None,
    now: float,
) -> Said:
    """Return what is so now, to be sent now: what was so before is not to be sent any more.

    ``committable`` and ``done`` come from recorded outcomes alone. What is held, inherited holds
    with their own nonces, is not among them. ``release`` is the one that gives the partition up;
    None in a commit beforehand. What it owes and is over its time has been given up in this step:
    what is held for no time may be begun by the next owner at once.

    Raises MapTooLongError: then finish what is in flight until it fits.
    """
    own = release.holds(partition, now) if release is not None else ()
    kept = inherited.handed_on(now) if inherited is not None else ()
    holds = (*kept, *own)
    text = encode(place, committable, done, holds, whole=release is not None)
    return Said(committable, text)
