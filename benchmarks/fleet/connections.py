"""What processes have sent to each broker and got from it, as the kernel counts it for sockets.

``ss`` of iproute2 tells it exactly in bytes. A request is in one segment as a rule, so that the
segments with data are about the requests, in the story's words the packets.
"""

import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

_PID = re.compile(r"pid=(\d+)")
_FIGURE = re.compile(r"\b(bytes_sent|bytes_received|data_segs_out):(\d+)")


class Traffic(NamedTuple):
    """Of one broker, or between two moments."""

    sent: int = 0
    """Bytes that it was sent."""
    received: int = 0
    """Bytes that came from it."""
    requests: int = 0
    """Segments with data that it was sent."""

    def plus(self, other: "Traffic") -> "Traffic":
        """Of both together."""
        return Traffic(*(a + b for a, b in zip(self, other, strict=True)))

    def minus(self, earlier: "Traffic") -> "Traffic":
        """Since then."""
        return Traffic(*(a - b for a, b in zip(self, earlier, strict=True)))


class Connection(NamedTuple):
    """From a process to a broker."""

    pid: int
    local: str
    port: int
    """Of the broker."""
    traffic: Traffic


def parse(listing: str) -> list[Connection]:
    """What ``ss -tinHp`` lists; what belongs to no process that we may see is left out."""
    found = []
    lines = iter(listing.splitlines())
    for line in lines:
        figures = dict(_FIGURE.findall(next(lines, "")))
        owner = _PID.search(line)
        if owner is None:
            continue
        _, _, _, local, remote, *_ = line.split()
        traffic = Traffic(
            int(figures.get("bytes_sent", 0)),
            int(figures.get("bytes_received", 0)),
            int(figures.get("data_segs_out", 0)),
        )
        port = int(remote.rpartition(":")[2])
        found.append(Connection(int(owner[1]), local, port, traffic))
    return found


@dataclass(frozen=True, slots=True)
class Totals:
    """What was counted until a moment, by broker's port; connections closed before it too."""

    by_port: Mapping[int, Traffic]

    @classmethod
    def of(cls, connections: Iterable[Connection]) -> Self:
        """Add them up."""
        sums: dict[int, Traffic] = {}
        for each in connections:
            sums[each.port] = sums.get(each.port, Traffic()).plus(each.traffic)
        return cls(sums)

    def since(self, earlier: "Totals", ports: Iterable[int]) -> dict[int, Traffic]:
        """Of each of these brokers."""
        nothing = Traffic()
        return {
            port: self.by_port.get(port, nothing).minus(earlier.by_port.get(port, nothing))
            for port in ports
        }


class Counting:
    """Looks now and then; what a connection carried after the last look at it is missed."""

    def __init__(self, ports: Collection[int]) -> None:
        self._filter = " or ".join(f"dport = :{port}" for port in ports)
        self._seen: dict[tuple[int, str, int], Connection] = {}

    @property
    def possible(self) -> bool:
        """Whether this machine has ``ss``."""
        return shutil.which("ss") is not None

    def look(self, pids: Collection[int]) -> Totals:
        """All that these processes have exchanged so far."""
        words = ["ss", "-tinHp", self._filter]
        listing = subprocess.run(words, capture_output=True, text=True, check=True).stdout  # noqa: S603
        wanted = set(pids)
        for each in parse(listing):
            if each.pid in wanted:
                self._seen[each.pid, each.local, each.port] = each
        return Totals.of(each for key, each in self._seen.items() if key[0] in wanted)
