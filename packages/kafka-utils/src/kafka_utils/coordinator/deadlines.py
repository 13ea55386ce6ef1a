"""When a member speaks next, and when its silence has lasted too long; all times in seconds."""

from typing import Final, NamedTuple

QUICK_SECONDS: Final = (0.1, 0.2, 0.4, 0.8)
"""Between heartbeats while another round is known to be near: learning of it is all that a moved
partition waits for, and a doubled pause is never much longer than the wait so far."""

FIRST_BACKOFF_SECONDS: Final = 0.1
LONGEST_BACKOFF_SECONDS: Final = 5.0


class Pulse(NamedTuple):
    """The rhythm of a member's heartbeats."""

    interval: float
    session: float
    near: float
    """How long after a plan another round may be near: as long as a revoke may take."""

    def pause(self, beats: int, since_plan: float, *, another_round: bool) -> float:
        """Return how long to wait before the next heartbeat, the ``beats``-th since the plan."""
        if not another_round or since_plan > self.near:
            return self.interval
        return min(self.interval, QUICK_SECONDS[min(beats, len(QUICK_SECONDS) - 1)])

    def slept_through(self, last_word: float, last_look: float, now: float) -> bool:
        """Whether the process stood still for so long that its session is over.

        ``last_word`` is when the coordinator was last heard of, ``last_look`` when this was last
        asked, which happens at least once an interval. A coordinator that is merely silent expels
        nobody; a member that does not run is expelled, and does not know.
        """
        return now - last_look > 2 * self.interval and now - last_word > self.session


def backoff(failures: int, jitter: float) -> float:
    """Return the pause after so many failures in a row; ``jitter`` from 0 to 1 adds up to 20 %."""
    pause = FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 10)
    return min(pause, LONGEST_BACKOFF_SECONDS) * (1 + jitter / 5)


def join_timeout(request: float, rebalance: float) -> float:
    """Return how long a JoinGroup or SyncGroup may take.

    The coordinator answers when every member has joined or the rebalance timeout is over. Giving up
    before it does leaves a member behind that nobody is (KAFKA-7610).
    """
    return max(request, rebalance + 5.0)
