"""What the drill can be told through the environment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from deploy.demo.settings import known_version, whole_number

STEPS = (
    "cold-start",
    "quiet",
    "kill",
    "rolling",
    "freeze",
    "bad-release",
    "broker-restart",
    "coordinator-kill",
    "assignor",
)
"""In the order in which they are played; each can be played alone."""
MEMBERSHIPS = ("dynamic", "handover", "drain", "static")
"""Dynamic members as they are by default; with and without hand-over, whatever that is; static."""


class DrillSettingsError(ValueError):
    """The environment asks for a drill that cannot be; one line for each mistake."""


@dataclass(frozen=True, slots=True)
class DrillSettings:
    """The size of the fleet and what it goes through."""

    pods: int = 25
    processes: int = 4
    """Worker processes in each pod."""
    rate: int = 1_000
    """Events per second."""
    quiet_seconds: int = 30
    """How long nothing is done to the fleet, for comparison."""
    steps: tuple[str, ...] = STEPS
    memberships: tuple[str, ...] = ("dynamic",)
    """What members the workers are; a fleet of each goes through all steps."""
    kafka_version: str | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings, or raise DrillSettingsError with every mistake at once."""
        problems: list[str] = []
        usual = cls()

        number = partial(whole_number, environ, problems)
        members = _chosen(environ, problems, "MEMBERSHIP", MEMBERSHIPS)
        steps = _chosen(environ, problems, "STEP", STEPS)
        settings = cls(
            pods=number("DRILL_PODS", usual.pods, range(2, 101)),
            processes=number("DRILL_PROCESSES", usual.processes, range(1, 17)),
            rate=number("DRILL_RATE", usual.rate, range(1, 100_001)),
            quiet_seconds=number("DRILL_QUIET_SECONDS", usual.quiet_seconds, range(5, 3_601)),
            steps=steps or STEPS,
            memberships=members or usual.memberships,
            kafka_version=known_version(environ, problems),
        )
        if problems:
            raise DrillSettingsError("\n".join(problems))
        return settings


def _chosen(
    environ: Mapping[str, str], problems: list[str], name: str, known: Sequence[str]
) -> tuple[str, ...]:
    """Those of the known words that a variable lists, in their own order."""
    wanted = [each.strip() for each in environ.get(name, "").split(",") if each.strip()]
    problems += [
        f"{name}={word!r}: known are {', '.join(known)}" for word in wanted if word not in known
    ]
    return tuple(word for word in known if word in wanted)
