"""What /debug/state shows of a lane: figures only, for a person who asks why it does not move."""

from app_worker.lanes import LANE_SPAN_RECORDS, Lane


def lane_state(lane: Lane, now: float) -> dict[str, object]:
    """Return a lane's state as plain values; ``now`` is on the loop's clock, in seconds."""
    tracker, oldest = lane.tracker, lane.oldest
    return {
        "topic": lane.partition.topic,
        "partition": lane.partition.partition,
        "epoch": lane.epoch,
        "committed": None if lane.committed is None else lane.committed[0],
        "committable": tracker.committable,
        "position": tracker.position,
        "open": tracker.open_count,
        "in_work": len(lane.running),
        "buffered": lane.buffered,
        "buffered_bytes": lane.buffered_bytes,
        "complete_out_of_order": tracker.span - tracker.open_count,
        "oldest_open_seconds": None if oldest is None else round(now - oldest.since, 3),
        "waits_for": _waits_for(lane),
    }


def _waits_for(lane: Lane) -> str | None:
    if lane.stopped:
        return "being given up"
    if lane.positioning:
        return "its place in the log"
    if not lane.recalled:
        return "its first records"
    if lane.tracker.span >= LANE_SPAN_RECORDS:
        return "its oldest record: so many are complete behind it that nothing more is fetched"
    head = lane.head()
    if head is not None and not lane.admits(head.record.offset):
        return "its oldest record: the map of what is complete behind it is full"
    return None
