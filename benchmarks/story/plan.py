"""What every fleet of the story goes through, and how long each part takes."""

from dataclasses import dataclass

PARTITIONS = 100
LONG_SECONDS = 8.0
"""One answer in a hundred takes so long."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A size, and a pace by which every time is multiplied, time-outs of the clients too."""

    pods: int = 25
    processes: int = 4
    """In each pod."""
    rate: int = 150
    """Events a second; the story's fleet came to 135 in the end."""
    pace: float = 1.0

    @property
    def workers(self) -> int:
        """In all pods."""
        return self.pods * self.processes

    def seconds(self, usual: float) -> float:
        """At this pace."""
        return usual * self.pace

    def ms(self, usual: int) -> int:
        """A time-out, in milliseconds."""
        return round(usual * self.pace)

    @property
    def quiet(self) -> float:
        """Before anything is done."""
        return self.seconds(20)

    @property
    def away(self) -> float:
        """Between a pod's death and its start, as Kubernetes needs."""
        return self.seconds(5)

    @property
    def after_death(self) -> float:
        """Longer than the longest session."""
        return self.seconds(75)

    @property
    def frozen(self) -> float:
        """How long a pod is so slow that it does nothing: longer than the first session."""
        return self.seconds(40)

    @property
    def after_frost(self) -> float:
        """Until the end of the traffic."""
        return self.seconds(60)

    @property
    def rest(self) -> float:
        """What the last events may take to arrive."""
        return self.seconds(60)
