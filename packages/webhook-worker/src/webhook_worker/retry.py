"""Decides how long a delivery waits for its next attempt."""

from app_worker.delays import DelaySchedule

LONGEST_POSTPONED_SECONDS = 7_200.0
"""What is postponed because of others waits no longer each time: the trouble may soon be over."""
MOST_POSTPONED = 50
"""So often in a row a delivery is postponed: about four days with the schedule by default."""

MOST_SCATTERED = 10
"""So often in a row a delay is chosen by chance. What waits together is spread by then, and waits
for the longest delay, so that a backlog of days is not postponed too often."""


def postponed_delay(
    schedule: DelaySchedule,
    attempts: int,
    postponed: int,
    seconds: float,
    chance: float | None = None,
) -> str | None:
    """The delay for a delivery that is parked for the so-manieth time without an attempt.

    It grows with each time, so that what cannot be delivered does not come back all the time, and
    is ``seconds`` at least, if the schedule has so long a delay. None if it was too often.

    With a ``chance``, from 0 to 1 (excluded), it may be any delay up to that. What waits for a rate
    limit would else come back in waves, between which the endpoint gets nothing.
    """
    if postponed > MOST_POSTPONED:
        return None
    delays = schedule.delays
    short = [each for each in delays if schedule.seconds(each) <= LONGEST_POSTPONED_SECONDS]
    short = short or [min(delays, key=schedule.seconds)]
    short = short[: max(attempts, postponed)]
    if chance is not None and postponed <= MOST_SCATTERED:
        enough = [each for each in short if schedule.seconds(each) >= seconds]
        if enough:
            return enough[int(chance * len(enough))]
    delay = short[-1]
    if schedule.seconds(delay) >= seconds:
        return delay
    return _long_enough(schedule, seconds)


def next_delay(schedule: DelaySchedule, attempts: int, retry_after: float | None) -> str | None:
    """The delay to wait after so many attempts, as the schedule writes it; None if it is exhausted.

    A receiver may ask for a longer wait (``retry_after``, in seconds), never for a shorter one: the
    shortest delay of the schedule that is long enough is taken, or the longest if none is.
    """
    scheduled = schedule.after(attempts)
    if scheduled is None or retry_after is None or retry_after <= schedule.seconds(scheduled):
        return scheduled
    return _long_enough(schedule, retry_after)


def _long_enough(schedule: DelaySchedule, seconds: float) -> str:
    enough = [delay for delay in schedule.delays if schedule.seconds(delay) >= seconds]
    if enough:
        return min(enough, key=schedule.seconds)
    return max(schedule.delays, key=schedule.seconds)
