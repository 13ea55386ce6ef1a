"""A group's description in words and tables for a person, and as JSON for a program."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka import TopicPartition

from kafka_utils.group import GroupDescription, MemberDescription, PartitionLag, total_lag

HEADINGS = ("CLIENT", "HOST", "INSTANCE", "LAG", "PARTITIONS", "OWNED", "MEMBER")
"""Of the table of members: PARTITIONS says how many, OWNED which."""
NUMBERS = ("LAG", "PARTITIONS")
"""The columns that stand to the right."""
NOTHING = "-"
NOT_TOLD = "not told"
NOBODY = "nobody"


def state_lines(group: GroupDescription) -> list[str]:
    """Say whether the group is stable, who coordinates it, and how work and lag are spread."""
    return [
        f"group: {group.group_id}",
        f"state: {_state(group)}",
        f"coordinator: {_coordinator(group)}",
        f"assignor: {_assignor(group)}",
        f"members: {_members(group)}",
        f"lag: {_lag(group.partitions)}",
        f"unowned: {_unowned(group)}",
    ]


def member_lines(group: GroupDescription) -> list[str]:
    """Return a table with a line for each member, and one for partitions without an owner."""
    rows = [_row(member) for member in group.members]
    if group.unowned:
        owned = ranges(here.partition for here in group.unowned)
        lag, count = str(total_lag(group.unowned)), str(len(group.unowned))
        owner = f"({NOBODY if group.owners_told else NOT_TOLD})"
        rows.append((owner, NOTHING, NOTHING, lag, count, owned, NOTHING))
    return _aligned([HEADINGS, *rows]) if rows else ["no members"]


def as_json(group: GroupDescription) -> dict[str, Any]:
    """Return everything that is known of the group, ready to become JSON."""
    broker = group.coordinator
    return {
        "group": group.group_id,
        "exists": group.exists,
        "state": group.state,
        "owners_told": group.owners_told,
        "coordinator": {
            "node_id": broker.node_id,
            "host": broker.host,
            "port": broker.port,
            "rack": broker.rack,
        },
        "leaders": {str(node_id): count for node_id, count in group.leaders.items()},
        "protocol_type": group.protocol_type,
        "assignor": group.assignor,
        "generation": group.generation,
        "lag": total_lag(group.partitions),
        "members": [
            {
                "member_id": member.member_id,
                "client_id": member.client_id,
                "host": member.host,
                "instance_id": member.instance_id,
                "topics": list(member.topics),
                "generation": member.generation,
                "lag": total_lag(member.partitions),
                "partitions": _offsets(member.partitions),
                "unreadable": member.unreadable,
            }
            for member in group.members
        ],
        "unowned": _offsets(group.unowned),
    }


def ranges(partitions: Iterable[TopicPartition]) -> str:
    """Return partitions in a short form, such as ``webhook 0-3,7``; nothing for none."""
    by_topic: defaultdict[str, list[list[int]]] = defaultdict(list)
    for topic, number in sorted(partitions):
        runs = by_topic[topic]
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(
        f"{topic} {','.join(str(a) if a == b else f'{a}-{b}' for a, b in runs)}"
        for topic, runs in by_topic.items()
    )


def _state(group: GroupDescription) -> str:
    if group.exists:
        return group.state
    if group.unowned:
        return f"{group.state}: no group of the classic protocol, though it has offsets"
    return f"{group.state}: there is no such group"


def _coordinator(group: GroupDescription) -> str:
    broker = group.coordinator
    rack = "" if broker.rack is None else f", rack {broker.rack}"
    leads = group.leaders.get(broker.node_id, 0)
    others = ", ".join(
        f"broker {node_id} leads {count}"
        for node_id, count in group.leaders.items()
        if node_id != broker.node_id
    )
    return (
        f"broker {broker.node_id} at {broker.host}:{broker.port}{rack}; it leads {leads} "
        f"of all {sum(group.leaders.values())} partitions" + (f", {others}" if others else "")
    )


def _assignor(group: GroupDescription) -> str:
    told = NOTHING if group.assignor is None else _printable(group.assignor)
    return told if group.generation is None else f"{told}, past generation {group.generation}"


def _members(group: GroupDescription) -> str:
    if not group.members:
        return "0"
    static = sum(member.instance_id is not None for member in group.members)
    sizes = [len(member.partitions) for member in group.members]
    each = (
        f"{min(sizes)} to {max(sizes)} partitions each"
        if group.owners_told
        else f"partitions {NOT_TOLD}"
    )
    return f"{len(sizes)}, {static} of them static; {each}"


def _unowned(group: GroupDescription) -> str:
    if not group.owners_told and group.unowned:
        return NOT_TOLD
    return ranges(here.partition for here in group.unowned) or "none"


def _lag(partitions: Sequence[PartitionLag]) -> str:
    total = f"{total_lag(partitions)} in {len(partitions)} partitions"
    unknown = sum(here.lag is None for here in partitions)
    behind = max((here for here in partitions if here.lag), key=_lag_of, default=None)
    most = f", most in {ranges([behind.partition])} ({behind.lag})" if behind else ""
    return f"{total}{most}" + (f"; unknown in {unknown}" if unknown else "")


def _lag_of(progress: PartitionLag) -> int:
    return progress.lag or 0


def _row(member: MemberDescription) -> tuple[str, ...]:
    owned = ranges(here.partition for here in member.partitions)
    if member.unreadable is not None:
        owned = f"{owned} (unreadable: {member.unreadable})".lstrip()
    return (
        member.client_id,
        member.host,
        member.instance_id or NOTHING,
        str(total_lag(member.partitions)),
        str(len(member.partitions)),
        owned or NOTHING,
        member.member_id,
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    shown = [list(map(_printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    columns = list(zip(HEADINGS, widths, strict=True))
    return [
        "  ".join(
            cell.rjust(width) if heading in NUMBERS else cell.ljust(width)
            for cell, (heading, width) in zip(row, columns, strict=True)
        ).rstrip()
        for row in shown
    ]


def _printable(text: str) -> str:
    # Clients name themselves: what they put into a name must not move the cursor.
    return text if text.isprintable() else ascii(text)


def _offsets(partitions: Iterable[PartitionLag]) -> list[dict[str, Any]]:
    return [
        {
            "topic": here.partition.topic,
            "partition": here.partition.partition,
            "committed": here.committed,
            "log_end": here.log_end,
            "lag": here.lag,
        }
        for here in partitions
    ]
