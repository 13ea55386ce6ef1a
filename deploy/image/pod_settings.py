"""What a pod is told about itself, ``POD_*``; the rest of its environment is the workers'."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

MOST_PROCESSES = 64
DYNAMIC, STATIC = "dynamic", "static"


class PodProblems(ValueError):  # noqa: N818 - what it is
    """The pod cannot be started as it is; ``problems`` has a sentence for each mistake."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class PodSettings:
    """The size of a pod, its own directory, and how its workers are members of their groups."""

    processes: int
    directory: Path
    """The one place that is written to; it may be empty memory at each start."""
    membership: str = DYNAMIC
    name: str = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read them. Raises PodProblems with all mistakes."""
        problems: list[str] = []

        def wrong(name: str, allowed: str) -> None:
            shown = repr(environ[name]) if environ.get(name) else "not set"
            problems.append(f"{name} is {shown}, but must be {allowed}.")

        written = environ.get("POD_PROCESSES", "")
        processes = int(written) if written.isascii() and written.isdigit() else 0
        if processes not in range(1, MOST_PROCESSES + 1):
            wrong("POD_PROCESSES", f"a whole number from 1 to {MOST_PROCESSES}")
        directory = environ.get("POD_DIRECTORY", "")
        if not Path(directory).is_absolute():
            wrong("POD_DIRECTORY", "an absolute path")
        membership = environ.get("POD_MEMBERSHIP") or DYNAMIC
        if membership not in (DYNAMIC, STATIC):
            wrong("POD_MEMBERSHIP", f"{DYNAMIC} or {STATIC}")
        name = environ.get("POD_NAME", "")
        if membership == STATIC:
            if not name:
                wrong("POD_NAME", f"the pod's own name, since POD_MEMBERSHIP is {STATIC}")
            if environ.get("KAFKA_GROUP_INSTANCE_ID"):
                wrong("KAFKA_GROUP_INSTANCE_ID", f"unset, since POD_MEMBERSHIP is {STATIC}")
        if problems:
            raise PodProblems(tuple(problems))
        return cls(processes, Path(directory), membership, name)

    @property
    def for_workers(self) -> dict[str, str]:
        """What the workers' environment has besides."""
        usual = {"WORKER_READY_DIR": str(self.directory), "TMPDIR": str(self.directory)}
        instance = {"KAFKA_GROUP_INSTANCE_ID": self.name} if self.membership == STATIC else {}
        return usual | instance
