"""What the drill can be told through the environment."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Self

from deploy.demo.settings import whole_number

STEPS = (
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
    static: bool = False
    """Whether the workers are static members."""
    kafka_version: str | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings, or raise DrillSettingsError with every mistake at once."""
        problems: list[str] = []
        usual = cls()

        number = partial(whole_number, environ, problems)
        membership = environ.get("MEMBERSHIP", "").strip() or "dynamic"
        if membership not in ("dynamic", "static"):
            problems.append(f"MEMBERSHIP={membership!r}: allowed are dynamic and static")
        wanted = [each.strip() for each in environ.get("STEP", "").split(",") if each.strip()]
        problems += _unknown(wanted)
        settings = cls(
            pods=number("DRILL_PODS", usual.pods, range(2, 101)),
            processes=number("DRILL_PROCESSES", usual.processes, range(1, 17)),
            rate=number("DRILL_RATE", usual.rate, range(1, 100_001)),
            quiet_seconds=number("DRILL_QUIET_SECONDS", usual.quiet_seconds, range(5, 3_601)),
            steps=tuple(step for step in STEPS if step in wanted) or STEPS,
            static=membership == "static",
            kafka_version=environ.get("KAFKA_VERSION") or None,
        )
        if problems:
            raise DrillSettingsError("\n".join(problems))
        return settings


def _unknown(steps: Iterable[str]) -> list[str]:
    known = ", ".join(STEPS)
    return [f"STEP={step!r}: known are {known}" for step in steps if step not in STEPS]
