"""What the controller asks of a handler: a record in, its outcomes back, one per delivery."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from app_worker.record import Record


@dataclass(frozen=True, slots=True)
class Done:
    """The delivery is finished; nothing more is owed."""

    delivery: str | None = None


@dataclass(frozen=True, slots=True)
class Park:
    """The delivery is to be tried again later, from a delay topic."""

    delivery: str | None
    attempts: int
    """Attempts made so far, this one included."""
    delay: str
    """A delay of the schedule, as written there ("5m"): it names the delay topic."""
    reason: str
    detail: str = ""
    """What came back, in a few words for a person. No payload, no secret."""
    postponed: int = 0
    """How often in a row, this time included, no attempt was made that counts; 0 after one."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The delivery, or the whole record, is given up and kept with its reason as a dead letter."""

    delivery: str | None
    attempts: int
    reason: str
    """A code from a closed list, fit for a metric's label."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Enqueue:
    """The delivery goes on in the ordered topic, behind the earlier ones of its key.

    Whoever returns it must not have waited before, and returns nothing else beside it: it is stored
    in the order of the log, and then the handler is called again for what is left, with the names
    in ``Record.enqueued``.
    """

    delivery: str


@dataclass(frozen=True, slots=True)
class Block:
    """The delivery is to be tried again later, and all behind it of its key wait meanwhile.

    Only for a record of the ordered topic. It stays open, so nothing is stored.
    """

    delivery: str | None
    attempts: int
    """Attempts made so far, this one included; known to this process alone."""
    seconds: float
    """Until it may be tried again; up to a fifth is added by chance."""
    postponed: int = 0
    """How often in a row, this time included, no attempt was made that counts; 0 after one."""


Outcome = Done | Park | DeadLetter | Enqueue | Block


class Handler(Protocol):
    """Turns a record into the outcomes of its deliveries.

    The record is complete when every outcome is safely stored, so an empty sequence means: nothing
    was owed. An exception is not an outcome: the record is parked through the schedule, then
    dead-lettered.
    """

    async def handle(self, record: Record) -> Sequence[Outcome]:
        """Handle one record. Called concurrently, also for records of one partition.

        One task may handle several records, one after the other. What is left behind in its
        context variables is not there for the next one.
        """
        ...


@runtime_checkable
class SetsAside(Protocol):
    """A handler that allows a record to be set aside when its whole partition waits for it alone.

    Optional: a handler without it is waited for until its time is over.
    """

    def set_aside(self, record: Record) -> Sequence[Outcome]:
        """Return the outcomes of a record that ``handle`` was cancelled for.

        Deliveries that it has finished are ``Done``, the others parked as a rule.
        """
        ...
