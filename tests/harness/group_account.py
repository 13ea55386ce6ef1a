"""What the lines of all members say together: who owned what when, and what was read by whom."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Line = Mapping[str, Any]

FOR_EVER = float("inf")


@dataclass(frozen=True, slots=True)
class Ownership:
    """One partition in one member's hands."""

    partition: int
    member: str
    since: float
    until: float


def ownerships(lines: Iterable[Line], ends: Mapping[str, float] | None = None) -> list[Ownership]:
    """Return who owned what when; ``ends`` says when members were killed or frozen."""
    since: dict[tuple[str, int], float] = {}
    owned = []
    for line in sorted(lines, key=lambda one: one["at"]):
        for partition in line["partitions"]:
            key = (line["member"], partition)
            if line["what"] == "assigned":
                since[key] = line["at"]
            elif line["what"] in ("revoked", "lost") and key in since:
                owned.append(Ownership(partition, key[0], since.pop(key), line["at"]))
    owned += [Ownership(part, member, at, FOR_EVER) for (member, part), at in since.items()]
    limits = ends or {}
    return [
        Ownership(one.partition, one.member, one.since, min(one.until, limits[one.member]))
        if one.since < limits.get(one.member, -1.0)
        else one
        for one in owned
    ]


def overlaps(owned: Iterable[Ownership]) -> list[tuple[Ownership, Ownership]]:
    """Return every two ownerships of one partition that have a moment in common."""
    by_partition: defaultdict[int, list[Ownership]] = defaultdict(list)
    for one in owned:
        by_partition[one.partition].append(one)
    found = []
    for several in by_partition.values():
        several.sort(key=lambda one: (one.since, one.until))
        found += [(a, b) for a, b in pairwise(several) if b.since < a.until]
    return found


def owners_at(owned: Iterable[Ownership], at: float) -> dict[int, str]:
    """Return who owned each partition at that time."""
    return {one.partition: one.member for one in owned if one.since <= at < one.until}


def reads(lines: Iterable[Line]) -> Iterator[tuple[int, int, float]]:
    """Yield partition, offset and time of every record that was read."""
    for line in lines:
        if line["what"] == "read":
            for offset in range(line["first"], line["last"] + 1):
                yield line["partitions"][0], offset, line["at"]


def repeated(lines: Iterable[Line]) -> dict[tuple[int, int], int]:
    """Return the records that were read more than once, and how often."""
    counts = Counter((partition, offset) for partition, offset, _ in reads(lines))
    return {place: count for place, count in counts.items() if count > 1}


def missing(lines: Iterable[Line], ends: Mapping[int, int]) -> dict[int, list[int]]:
    """Return what was never read of logs that end at these offsets."""
    seen = {(partition, offset) for partition, offset, _ in reads(lines)}
    gaps = {
        partition: [offset for offset in range(end) if (partition, offset) not in seen]
        for partition, end in ends.items()
    }
    return {partition: offsets for partition, offsets in gaps.items() if offsets}


def balanced(owners: Mapping[int, str], members: Iterable[str]) -> bool:
    """Whether no member has two partitions more than another."""
    counts = Counter(owners.values())
    shares = [counts[member] for member in members]
    return max(shares) - min(shares) <= 1
