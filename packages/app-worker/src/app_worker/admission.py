"""Decides what may be in flight, by count and bytes, and how fresh and parked records share it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice


class Source(StrEnum):
    """Where records come from."""

    FRESH = "fresh"
    PARKED = "parked"
    ORDERED = "ordered"


class Slot:
    """A place in flight that one record holds from its start to its completion."""

    __slots__ = ("since", "size", "source")

    def __init__(self, source: Source, size: int, since: float) -> None:
        self.source = source
        self.size = size
        self.since = since
        """On the clock of whoever asked for it, in seconds."""


class Admission:
    """The in-flight limits of a process, which all its controllers share.

    - At most ``max_records`` and ``max_bytes`` are in flight. A record larger than ``max_bytes`` is
      admitted alone.
    - Parked records are below fresh and ordered ones: while others wait too, a quarter of the
      places are for parked records, and each of the others may have the rest. While only one
      source waits, it may have all of them.
    - Who was refused first is next, so a large record is not overtaken for ever by small ones.
    - A record whose handling is over, and whose outcome is being stored, leaves its place to the
      next; so may ``max_records`` at a time. Its bytes count until it is complete.
    """

    def __init__(self, max_records: int, max_bytes: int) -> None:
        self.max_records = max_records
        self.max_bytes = max_bytes
        self.bytes_in_flight = 0
        self._slots: dict[Slot, None] = {}
        self._storing: dict[Slot, None] = {}
        self._in_flight = dict.fromkeys(Source, 0)
        parked = max(1, max_records // 4)
        rest = max(1, max_records - parked)
        self._share = {Source.PARKED: parked, Source.FRESH: rest, Source.ORDERED: rest}
        self._waiting: dict[Claimant, int] = {}
        # Those that were refused, the next one first, with the sizes that they asked for.

    @property
    def in_flight(self) -> int:
        """Records in flight, also those whose outcome is being stored."""
        return len(self._slots) + len(self._storing)

    @property
    def oldest_since(self) -> float | None:
        """When the oldest record in flight was admitted; None without any."""
        # They stand as they were admitted; what is being stored stands as its storing began.
        first = [slot.since for slot in islice(self._slots, 1)]
        return min((*first, *(slot.since for slot in self._storing)), default=None)

    def claimant(self, source: Source, wake: Callable[[], None]) -> "Claimant":
        """Somebody who asks for slots. ``wake`` is called when asking again may succeed.

        ``wake`` must not ask at once: it is called from the middle of others' calls.
        """
        return Claimant(self, source, wake)

    def admit(self, claimant: "Claimant", size: int, now: float) -> Slot | None:
        """See ``Claimant.admit``."""
        waiting = self._waiting
        alone = not waiting or (len(waiting) == 1 and claimant in waiting)
        if not (self._fits(size) and (alone or self._has_turn(claimant))):
            waiting[claimant] = size
            return None
        slot = Slot(claimant.source, size, now)
        self._slots[slot] = None
        self._in_flight[slot.source] += 1
        self.bytes_in_flight += size
        if claimant in waiting:
            # It may want more, but after the others.
            if not alone:
                del waiting[claimant]
            waiting[claimant] = 0
            if not alone:
                self._wake_next()
        return slot

    def store(self, slot: Slot) -> None:
        """What is left of a record is to be stored: its place is free, if not too many are."""
        if len(self._storing) < self.max_records:
            del self._slots[slot]
            self._in_flight[slot.source] -= 1
            self._storing[slot] = None
            if self._waiting:
                self._wake_next()

    def release(self, slot: Slot) -> None:
        """A record is complete, or was cancelled. To be called once for each slot."""
        if slot in self._slots:
            del self._slots[slot]
            self._in_flight[slot.source] -= 1
        else:
            del self._storing[slot]
        self.bytes_in_flight -= slot.size
        if self._waiting:
            self._wake_next()

    def withdraw(self, claimant: "Claimant") -> None:
        """See ``Claimant.withdraw``."""
        if self._waiting.pop(claimant, None) is not None:
            self._wake_next()

    def _fits(self, size: int) -> bool:
        slots = self._slots
        if not slots and not self._storing:
            return True
        return len(slots) < self.max_records and self.bytes_in_flight + size <= self.max_bytes

    def _has_turn(self, claimant: "Claimant") -> bool:
        """Whether it is next, among several that want something."""
        if not self._below_share(claimant):
            return False
        first = next((other for other in self._waiting if self._below_share(other)), claimant)
        return first is claimant

    def _below_share(self, claimant: "Claimant") -> bool:
        return self._in_flight[claimant.source] < self._share[claimant.source]

    def _wake_next(self) -> None:
        alone = len(self._waiting) == 1
        for claimant, size in self._waiting.items():
            if self._fits(size) and (alone or self._has_turn(claimant)):
                claimant.wake()
                return


@dataclass(frozen=True, slots=True, eq=False)
class Claimant:
    """One controller's way to ask for slots."""

    admission: Admission
    source: Source
    wake: Callable[[], None]

    def admit(self, size: int, now: float) -> Slot | None:
        """Return a slot, or None: then this claimant is waiting, and will be woken.

        To be asked until it returns None, or ``withdraw`` is called: so it is known who has more.
        """
        return self.admission.admit(self, size, now)

    def release(self, slot: Slot) -> None:
        """Give a slot back."""
        self.admission.release(slot)

    def withdraw(self) -> None:
        """Wait no longer: there is nothing to be admitted now."""
        self.admission.withdraw(self)
