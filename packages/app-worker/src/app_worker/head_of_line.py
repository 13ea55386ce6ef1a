"""Decides whether a partition waits for its oldest open record alone."""

from app_worker.lanes import Lane, Running

STUCK_SECONDS = 5.0
"""How long a record is in work before it may be called stuck."""
LEAST_RECORDS = 50
"""So many were started from it on, or it holds up nothing worth telling of."""
COMPLETE_SHARE = 0.98
"""The part of these that are complete: else the partition is slow, and not its head."""


def stuck_head(lane: Lane, now: float) -> Running | None:
    """Return the record that keeps the rest of its partition from being committed, if one does.

    Everything behind it goes on meanwhile, until the lane's span is used up.
    """
    head = lane.oldest
    if head is None or now - head.since < STUCK_SECONDS:
        return None
    held = 0 if lane.held is None else lane.held.fetched
    started = lane.tracker.span - lane.buffered - held
    complete = started - len(lane.running)
    stuck = started >= LEAST_RECORDS and complete >= COMPLETE_SHARE * started
    return head if stuck else None
