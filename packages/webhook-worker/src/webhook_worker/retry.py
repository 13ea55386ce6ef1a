"""Decides how long a delivery waits for its next attempt."""

from app_worker.delays import DelaySchedule


def next_delay(schedule: DelaySchedule, attempts: int, retry_after: float | None) -> str | None:
    """The delay to wait after so many attempts, as the schedule writes it; None if it is exhausted.

    A receiver may ask for a longer wait (``retry_after``, in seconds), never for a shorter one: the
    shortest delay of the schedule that is long enough is taken, or the longest if none is.
    """
    scheduled = schedule.after(attempts)
    if scheduled is None or retry_after is None or retry_after <= schedule.seconds(scheduled):
        return scheduled
    enough = [delay for delay in schedule.delays if schedule.seconds(delay) >= retry_after]
    if enough:
        return min(enough, key=schedule.seconds)
    return max(schedule.delays, key=schedule.seconds)
