"""Which ends of workers are a loop that nobody but Kubernetes can make visible."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_ENDS = 3
WITHIN_SECONDS = 300.0
"""A worker that hangs is ended after half a minute at the earliest: three of these count too."""


@dataclass(frozen=True, slots=True)
class CrashLoop:
    """Remembers when workers ended by themselves; times are of one clock, in seconds."""

    _ends: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def ended(self, worker: str, now: float) -> "CrashLoop":
        """The same, and one more end of this worker."""
        recent = [end for end in self._ends.get(worker, ()) if end > now - WITHIN_SECONDS]
        return CrashLoop({**self._ends, worker: (*recent, now)})

    def holds(self, worker: str) -> bool:
        """Whether it has ended too often for being started once more."""
        return len(self._ends.get(worker, ())) >= MOST_ENDS
