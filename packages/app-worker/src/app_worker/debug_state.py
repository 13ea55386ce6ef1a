"""What /debug/state shows of a lane: figures only, for a person who asks why it does not move."""

from app_worker.lanes import Lane

PAUSES = {
    "given_up": "being given up",
    "place": "its place in the log",
    "first_records": "its first records",
    "span": "its oldest record: so many are complete behind it that nothing more is fetched",
    "map": "its oldest record: the map of what is complete behind it is full",
}
"""What a lane may wait for, so that nothing more of it is fetched or begun: a code, and a text."""


def lane_state(lane: Lane, now: float) -> dict[str, object]:
    """Return a lane's state as plain values; ``now`` is on the loop's clock, in seconds."""
    tracker, oldest, pause = lane.tracker, lane.oldest, pause_of(lane)
    return {
        "topic": lane.partition.topic,
        "partition": lane.partition.partition,
        "epoch": lane.epoch,
        "committed": None if lane.committed is None else lane.committed[0],
        "committable": tracker.committable,
        "position": tracker.position,
        "open": tracker.open_count,
        "in_work": len(lane.running),
        "held": 0 if lane.held is None else len(lane.held),
        "buffered": lane.buffered,
        "blocked_keys": lane.blocked_keys,
        "buffered_bytes": lane.buffered_bytes,
        "complete_out_of_order": tracker.span - tracker.open_count,
        "oldest_open_seconds": None if oldest is None else round(now - oldest.since, 3),
        "waits_for": None if pause is None else PAUSES[pause],
    }


def pause_of(lane: Lane) -> str | None:
    """Return the code of what a lane waits for; None if it goes on."""
    if lane.stopped:
        return "given_up"
    if lane.positioning:
        return "place"
    if not lane.recalled:
        return "first_records"
    if lane.tracker.span >= lane.most_span:
        return "span"
    head = lane.head()
    if head is not None and not lane.admits(head.record.offset):
        return "map"
    return None
