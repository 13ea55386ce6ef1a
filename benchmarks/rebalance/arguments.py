"""What a pod and the traffic are told on their command lines, as `name=value` words."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """One set for every kind of client; each program takes what concerns it."""

    client: str
    servers: str
    group: str
    topic: str
    notes: str
    """The file that takes the notes."""
    pod: str
    members: int
    """Consumers in this process; each has the client id `pod-number`."""
    slots: int
    """How many records one consumer handles at once."""
    session_ms: int
    heartbeat_ms: int
    rebalance_ms: int
    commit_ms: int
    """Between two commits of a consumer."""
    idle: int = 0
    """1: be there, with a connection to a broker, and join nothing."""

    def words(self) -> list[str]:
        """The command line."""
        return [f"{field.name}={getattr(self, field.name)}" for field in fields(self)]

    @classmethod
    def parse(cls, words: Sequence[str]) -> Self:
        """Read the words again; raises ValueError or TypeError for others."""
        given = dict(word.split("=", 1) for word in words)
        kinds = {field.name: field.type for field in fields(cls)}
        values = {name: int(v) if kinds.get(name) is int else v for name, v in given.items()}
        return cls(**values)  # type: ignore[arg-type]
