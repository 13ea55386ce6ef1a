"""Decides how long a delivery waits for its next attempt."""

from app_worker.delays import DelaySchedule

LONGEST_POSTPONED_SECONDS = 7_200.0
"""What is postponed because of others waits no longer each time: the trouble may soon be over."""
MOST_POSTPONED = 50
"""So often in a row a delivery is postponed: about four days with the schedule by default."""


def postponed_delay(
    schedule: DelaySchedule, attempts: int, postponed: int, seconds: float
) -> str | None:
    """The delay for a delivery that is parked for the so-manieth time without an attempt.

    It grows with each time, so that what cannot be delivered does not come back all the time, and
    is ``seconds`` at least, if the schedule has so long a delay. None if it was too often.
    """
    if postponed > MOST_POSTPONED:
        return None
    delays = schedule.delays
    short = [each for each in delays if schedule.seconds(each) <= LONGEST_POSTPONED_SECONDS]
    short = short or [min(delays, key=schedule.seconds)]
    delay = short[min(max(attempts, postponed), len(short)) - 1]
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
