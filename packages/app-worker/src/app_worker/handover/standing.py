"""Where a worker stands with one partition, and what follows from an answer of the coordinator."""

from collections.abc import Collection
from enum import Enum


class Standing(Enum):
    """Of one assignment of one partition."""

    LOADING = "what the last commit says of it is not known yet"
    ACTIVE = "its records are begun"
    SENT = "nothing more is begun, and a map with what is in flight was sent"
    RELEASED = "it is another's"
    LOST = "it was another's before it could be released"


class Happened(Enum):
    """To a worker with one partition."""

    LOADED = "what the last commit says is known"
    REVOKED = "it is to be given up"
    FROZEN = "nothing more is begun, and the map is sent"
    DRAINED = "everything in flight was finished and committed instead"
    ACKNOWLEDGED = "the coordinator has the map"
    LOST = "it is another's"


_NEXT = {
    (Standing.LOADING, Happened.LOADED): Standing.ACTIVE,
    # Whoever has not read what was committed has nothing to say that would be better.
    (Standing.LOADING, Happened.REVOKED): Standing.RELEASED,
    (Standing.ACTIVE, Happened.REVOKED): Standing.ACTIVE,
    (Standing.ACTIVE, Happened.FROZEN): Standing.SENT,
    (Standing.ACTIVE, Happened.DRAINED): Standing.RELEASED,
    (Standing.SENT, Happened.ACKNOWLEDGED): Standing.RELEASED,
    (Standing.LOADING, Happened.LOST): Standing.LOST,
    (Standing.ACTIVE, Happened.LOST): Standing.LOST,
    (Standing.SENT, Happened.LOST): Standing.LOST,
    (Standing.RELEASED, Happened.LOST): Standing.RELEASED,
}


class Answer(Enum):
    """What became of a commit."""

    ACKNOWLEDGED = "the coordinator has it"
    RETRIABLE = "it has not, and may have it next time"
    UNKNOWN = "no answer came: it has it, or not, or will have"
    REFUSED = "it says that the partitions are others'"


class Step(Enum):
    """What a worker does next with the partitions that it gives up."""

    RELEASE = "join the group without them, or leave it"
    SEND_AGAIN = "send what is so now, with the same nonce"
    READ_BACK = "ask the coordinator what it has"
    DRAIN = "finish what is in flight, then send what is so then"
    LOSE = "forget them"


def after(standing: Standing, happened: Happened) -> Standing:
    """Return where a worker stands next. Raises ValueError for what cannot happen there."""
    try:
        return _NEXT[standing, happened]
    except KeyError:
        raise ValueError(f"{happened.name} cannot happen to what is {standing.name}") from None


def may_start(standing: Standing) -> bool:
    """Whether records of it may be begun."""
    return standing is Standing.ACTIVE


def may_commit(standing: Standing) -> bool:
    """Whether anything of it may be committed."""
    return standing in (Standing.ACTIVE, Standing.SENT)


def cancelled_by_loss(standing: Standing) -> bool:
    """Whether what is in flight ends when the partition is lost.

    Not once a map was sent: whoever reads it waits for the word.
    """
    return standing is Standing.ACTIVE


def after_commit(answer: Answer, *, in_time: bool) -> Step:
    """Return what follows from what became of the map's commit.

    ``in_time`` is whether there is still time before the group waits for this worker.
    """
    match answer:
        case Answer.ACKNOWLEDGED:
            return Step.RELEASE
        case Answer.REFUSED:
            return Step.LOSE
        case Answer.UNKNOWN if in_time:
            return Step.READ_BACK
        case Answer.RETRIABLE if in_time:
            return Step.SEND_AGAIN
        case _:
            return Step.DRAIN


def after_reading_back(
    committed: tuple[int, str] | None, sent: Collection[tuple[int, str]], *, in_time: bool
) -> Step:
    """Return what follows from what the coordinator has; None if it could not be asked.

    ``sent`` are the offsets and maps of this release, each of which says enough: words are written
    about whatever was held in any of them.
    """
    if committed is not None and committed in sent:
        return Step.RELEASE
    if not in_time:
        return Step.DRAIN
    return Step.READ_BACK if committed is None else Step.SEND_AGAIN
