"""What a rebalance listener may offer beyond aiokafka's three callbacks."""

from collections.abc import Collection
from typing import Protocol, runtime_checkable

from aiokafka import TopicPartition


@runtime_checkable
class KeepsPartitions(Protocol):
    """A listener that can take back a revoke while ``on_partitions_revoked`` still waits.

    In a group that changes quickly the next plan may leave a partition to its owner, who drains it
    for the plan before. Without this the owner finishes the drain, and begins anew.
    """

    def on_partitions_kept(self, kept: set[TopicPartition]) -> Collection[TopicPartition]:
        """Go on with these as if they had not been revoked; return those for which that is done.

        ``on_partitions_revoked`` has been called with them, and is waiting. It is not to give up
        what is returned here: that was never released, by the same assignment it may be committed,
        and its next record is handed over next. What is not returned is released when
        ``on_partitions_revoked`` is through, and then assigned anew. To return at once.
        """
        ...
