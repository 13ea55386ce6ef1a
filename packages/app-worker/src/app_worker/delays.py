"""The schedule of delays between attempts, and the delay topics that follow from it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])")

MOST_JITTER = 0.2
"""The part of a delay by which it may grow. A delay topic is a queue: more would block its head."""


def parse_duration(text: str) -> float:
    """Return the seconds that a duration such as ``5s``, ``30m``, ``2h`` or ``1d`` means.

    Raises ValueError with a sentence about what is allowed.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is no duration: write a whole number of at least 1 "
            "and one of s, m, h, d, such as 30s or 2h"
        )
    return int(match[1]) * _SECONDS[match[2]]


def spread(seconds: float, jitter: float) -> float:
    """Seconds to wait instead of ``seconds``: never less. ``jitter`` is from 0 to 1.

    What failed at one moment does not come back at one moment.
    """
    return seconds * (1 + MOST_JITTER * jitter)


@dataclass(frozen=True, slots=True)
class DelaySchedule:
    """The delays between the attempts of one delivery, in order; one delay topic for each delay."""

    topic: str
    """The topic that fresh records come from; the delay topics' names begin with it."""
    delays: tuple[str, ...]
    """As written in the configuration; a delay may occur more than once."""

    def __post_init__(self) -> None:
        for delay in self.delays:
            parse_duration(delay)

    @classmethod
    def parse(cls, topic: str, text: str) -> "DelaySchedule":
        """Read a comma list such as ``5s,5m,30m``. Raises ValueError with a sentence."""
        return cls(topic, tuple(part.strip() for part in text.split(",")))

    @property
    def pattern(self) -> str:
        """A regular expression for every delay topic, also of delays no longer in the schedule."""
        return rf"{re.escape(self.topic)}\.retry\.{_DURATION.pattern}\Z"

    def topic_for(self, delay: str) -> str:
        """The topic in which records wait for ``delay``."""
        return f"{self.topic}.retry.{delay}"

    def topics(self) -> tuple[str, ...]:
        """The delay topics of this schedule, each once, in its order."""
        return tuple(dict.fromkeys(map(self.topic_for, self.delays)))

    def among(self, topics: Iterable[str]) -> tuple[str, ...]:
        """The delay topics among ``topics``, sorted, also of delays no longer in the schedule."""
        return tuple(sorted(topic for topic in topics if re.fullmatch(self.pattern, topic)))

    def seconds(self, delay: str) -> float:
        """Seconds that ``delay`` lasts. Raises ValueError if it is not one of the schedule."""
        if delay not in self.delays:
            raise ValueError(f"{delay!r} is not in the schedule {','.join(self.delays)}")
        return parse_duration(delay)

    def after(self, attempts: int) -> str | None:
        """The delay to wait after so many attempts (at least 1); None when none is left."""
        if attempts < 1:
            raise ValueError(f"attempts is {attempts}: a delay follows at least one attempt")
        return self.delays[attempts - 1] if attempts <= len(self.delays) else None
