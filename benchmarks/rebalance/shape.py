"""How big a run is, and which timeouts its members have."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One group on three brokers."""

    pods: int = 25
    members: int = 4
    """Consumers in each pod, which is one process."""
    partitions: int = 100
    per_second: float = 10.0
    """Records produced to each partition."""
    session_ms: int = 60_000
    heartbeat_ms: int = 3_000
    rebalance_ms: int = 60_000
    commit_ms: int = 5_000
    slots: int = 20

    @property
    def consumers(self) -> int:
        """Of all pods together."""
        return self.pods * self.members

    def pod(self, number: int) -> str:
        """The name of a pod; numbers beyond the last begin again with the first."""
        return f"pod-{number % self.pods:02}"

    def client_ids(self, pod: str) -> frozenset[str]:
        """Of the consumers in this pod."""
        return frozenset(f"{pod}-{number}" for number in range(self.members))
