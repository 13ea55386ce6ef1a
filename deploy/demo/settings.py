"""What the demo can be told through the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Self

from deploy.local.jars import locked_versions


class DemoSettingsError(ValueError):
    """The environment asks for a demo that cannot be; one line for each mistake."""


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """The size of the play and where it takes place."""

    pods: int = 2
    processes: int = 4
    """Worker processes in each pod."""
    rate: int = 100
    """Events per second."""
    seconds: int = 20
    """How long events are sent at least; longer while the killed pod is not back."""
    keep: bool = False
    kafka_version: str | None = None
    bootstrap_servers: str | None = None
    """A cluster that exists already; None: the demo starts one of its own."""

    @property
    def workers(self) -> int:
        """Worker processes in all pods."""
        return self.pods * self.processes

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings, or raise DemoSettingsError with every mistake at once."""
        problems: list[str] = []
        usual = cls()

        number = partial(whole_number, environ, problems)
        servers = environ.get("KAFKA_BOOTSTRAP_SERVERS") or None
        settings = cls(
            pods=number("DEMO_PODS", usual.pods, range(2, 101)),
            processes=number("DEMO_PROCESSES", usual.processes, range(1, 17)),
            rate=number("DEMO_RATE", usual.rate, range(1, 100_001)),
            seconds=number("DEMO_SECONDS", usual.seconds, range(5, 86_401)),
            keep=environ.get("KEEP", "").strip() not in ("", "0"),
            kafka_version=None if servers else known_version(environ, problems),
            bootstrap_servers=servers,
        )
        if problems:
            raise DemoSettingsError("\n".join(problems))
        return settings


def whole_number(
    environ: Mapping[str, str], problems: list[str], name: str, default: int, allowed: range
) -> int:
    """The number that a variable says; if it says none that is allowed, that is a problem more."""
    written = environ.get(name, "").strip() or str(default)
    if written.isascii() and written.isdigit() and int(written) in allowed:
        return int(written)
    problems.append(
        f"{name}={written!r}: allowed is a whole number from {allowed[0]} to {allowed[-1]}"
    )
    return default


def known_version(environ: Mapping[str, str], problems: list[str]) -> str | None:
    """The version of Kafka that is asked for; if it cannot be had, that is a problem more."""
    version = environ.get("KAFKA_VERSION") or None
    if version and version not in locked_versions():
        problems.append(f"KAFKA_VERSION={version!r}: known are {', '.join(locked_versions())}")
    return version
